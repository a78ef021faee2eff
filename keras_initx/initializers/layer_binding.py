"""Hands every layer-aware initializer the layer that it draws for.

Keras calls an initializer with a shape and a dtype; it cannot see its layer. All weights of all layers
are made through the public method `keras.Layer.add_weight`, which is wrapped here once, at import. The
wrapper replaces an initializer that has a `bound_to` method by `initializer.bound_to(layer, weight_name)`;
everything else passes through untouched. And it notes on each weight the initializer that it was made with,
which Keras forgets, so that `reinitialize(model)` can draw it again.
"""

import functools
from typing import Any

import keras

from keras_initx.initializers.registry import NAMES

_MARK = "_keras_initx_binding"
INITIALIZER_MARK = "_keras_initx_initializer"
# Set on a weight whose values no initializer of its own drew.
OVERRIDDEN_MARK = "_keras_initx_otherwise"


def install() -> None:
    """Wraps `keras.Layer.add_weight`; a second call does nothing."""
    original = keras.Layer.add_weight
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def add_weight(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        # Keras takes the initializer as a keyword, or second, after the shape.
        if "initializer" in kwargs:
            kwargs["initializer"] = bind(kwargs["initializer"], layer, kwargs.get("name"))
        elif len(args) > 1:
            args = (args[0], bind(args[1], layer, kwargs.get("name")), *args[2:])
        variable = original(layer, *args, **kwargs)
        given = kwargs["initializer"] if "initializer" in kwargs else args[1] if len(args) > 1 else None
        record_initializer(variable, given)
        return variable

    setattr(add_weight, _MARK, True)
    keras.Layer.add_weight = add_weight


def record_initializer(variable: keras.Variable, initializer: Any) -> None:
    """Notes on a weight what it was drawn from: an initializer, its name, or None for Keras's default."""
    setattr(variable, INITIALIZER_MARK, "glorot_uniform" if initializer is None else initializer)
    setattr(variable, OVERRIDDEN_MARK, False)


def initializer_of(variable: keras.Variable) -> Any:
    """The initializer that a weight was made with; None where it was not made through the wrapper."""
    noted = getattr(variable, INITIALIZER_MARK, None)
    return keras.initializers.get(noted) if isinstance(noted, str) else noted


def is_overridden(variable: keras.Variable) -> bool:
    """Whether `initialize` gave a weight its values, after its own initializer did."""
    return bool(getattr(variable, OVERRIDDEN_MARK, False))


def bind(initializer: Any, layer: keras.Layer, weight: str | None) -> Any:
    """`initializer` bound to a weight of `layer`, or as it is where it does not ask for a layer."""
    if isinstance(initializer, str) and initializer in NAMES:
        initializer = NAMES[initializer]()
    # By method and not by class: after a reload of this package there are two classes of one name.
    bound_to = getattr(initializer, "bound_to", None)
    # Bound already: another library wrapped our wrapper, and a second import could not see it inside.
    if bound_to is None or getattr(initializer, "is_bound", False):
        return initializer
    return bound_to(layer, weight)
