"""Bind every layer-aware initializer to the layer that it draws for.

Keras calls an initializer with a shape and a dtype, so the initializer cannot see its layer. All layers
create their weights with the public method `keras.Layer.add_weight`, which this module wraps once, at import.
The wrapper replaces an initializer that has a `bound_to` method with
`initializer.bound_to(layer, weight_name)`; everything else passes through unchanged. The wrapper also stores
the initializer on the weight, which Keras does not, so that `reinitialize(model)` can draw the weight again.
"""

import functools
from typing import Any

import keras

from keras_initx.initializers.registry import NAMES

_MARK = "_keras_initx_binding"
INITIALIZER_MARK = "_keras_initx_initializer"
# Set to True on a weight whose current values do not come from its own initializer.
OVERRIDDEN_MARK = "_keras_initx_otherwise"
# Whether the layer added the weight as trainable: a gamma that is not trainable any more is frozen, moving
# statistics are not.
_TRAINABLE_MARK = "_keras_initx_trainable"


def install() -> None:
    """Wrap `keras.Layer.add_weight`; a second call does nothing."""
    original = keras.Layer.add_weight
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def add_weight(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        # Keras accepts the initializer as a keyword or as the second positional argument, after the shape.
        initializer = None
        if "initializer" in kwargs:
            initializer = kwargs["initializer"] = bind(kwargs["initializer"], layer, kwargs.get("name"))
        elif len(args) > 1:
            initializer = bind(args[1], layer, kwargs.get("name"))
            args = (args[0], initializer, *args[2:])
        variable = original(layer, *args, **kwargs)
        record_initializer(variable, initializer)
        # The fourth positional argument. The variable itself is not trainable either in a frozen layer.
        setattr(variable, _TRAINABLE_MARK, kwargs.get("trainable", args[3] if len(args) > 3 else True))
        return variable

    setattr(add_weight, _MARK, True)
    keras.Layer.add_weight = add_weight


def record_initializer(variable: keras.Variable, initializer: Any) -> None:
    """Store on a weight the initializer that drew it: an object, a name, or None for Keras's default."""
    setattr(variable, INITIALIZER_MARK, "glorot_uniform" if initializer is None else initializer)
    setattr(variable, OVERRIDDEN_MARK, False)


def initializer_of(variable: keras.Variable) -> Any:
    """Return the initializer that drew a weight; None if the wrapper did not create the weight."""
    initializer = getattr(variable, INITIALIZER_MARK, None)
    return keras.initializers.get(initializer) if isinstance(initializer, str) else initializer


def was_trainable(variable: keras.Variable) -> bool:
    """Return whether its layer added a weight as trainable; False if the wrapper did not create it."""
    return bool(getattr(variable, _TRAINABLE_MARK, False))


def is_overridden(variable: keras.Variable) -> bool:
    """Return whether `initialize` replaced the values that the weight's own initializer drew."""
    return bool(getattr(variable, OVERRIDDEN_MARK, False))


def bind(initializer: Any, layer: keras.Layer, weight: str | None) -> Any:
    """Return `initializer` bound to a weight of `layer`; unchanged if it has no `bound_to` method."""
    if isinstance(initializer, str) and initializer in NAMES:
        initializer = NAMES[initializer]()
    # Test for the method instead of the class: after a reload of this package two classes share one name.
    bound_to = getattr(initializer, "bound_to", None)
    # An initializer is already bound if another library wrapped our wrapper and a second import wrapped both.
    if bound_to is None or getattr(initializer, "is_bound", False):
        return initializer
    return bound_to(layer, weight)
