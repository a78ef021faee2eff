"""The optimizer as a hyperparameter: another one, with the settings that all optimizers have in common."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras

from .._variables import SHARED, inner_optimizer
from .initializers import OWN, checked_names


def known_optimizers() -> dict[str, type]:
    """Return the optimizers of Keras by the names that `compile` takes."""
    classes = {name.lower(): cls for name, cls in vars(keras.optimizers).items() if inspect.isclass(cls)}
    return {name: cls for name, cls in sorted(classes.items()) if _is_plain(cls)}


def _is_plain(cls: type) -> bool:
    """Return whether a class is an optimizer that needs no argument: neither the base class nor a wrapper."""
    if not issubclass(cls, keras.optimizers.Optimizer) or cls is keras.optimizers.Optimizer:
        return False
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        for p in inspect.signature(cls).parameters.values()
    )


def check_optimizers(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of optimizers as a tuple; None stays None.

    Raises:
        InitxError: There is none, one is unknown, or one occurs twice.
    """
    return None if names is None else checked_names("optimizers", names, (OWN, *known_optimizers()))


def set_optimizer(model: keras.Model, name: str | None) -> None:
    """Give a compiled model the optimizer of that name.

    It has the learning rate, the weight decay, the clipping and the other settings that the model's own
    optimizer shares with every other one; what belongs to it alone has Keras's defaults. "own" and None
    change nothing.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), "mse")
    >>> set_optimizer(model, "sgd")
    >>> type(model.optimizer).__name__, model.optimizer.clipnorm
    ('SGD', 1.0)
    """
    if name in (None, OWN):
        return
    own = inner_optimizer(model.optimizer)
    settings: dict[str, Any] = own.get_config()
    cls: Any = known_optimizers()[str(name)]
    # None stands for a default, which for AdamW is a decay.
    shared = {key: settings[key] for key in SHARED if settings.get(key) is not None}
    optimizer = cls.from_config({**cls().get_config(), **shared})
    if own is not model.optimizer:
        names = ("initial_scale", "dynamic_growth_steps")
        scaling = {key: value for key, value in model.optimizer.get_config().items() if key in names}
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, **scaling)
    model.optimizer = optimizer
    compiled = model.get_compile_config
    # Otherwise a saved model would name the optimizer that it was compiled with, and not load.
    model.get_compile_config = lambda: {
        **compiled(),
        "optimizer": keras.optimizers.serialize(model.optimizer),
    }
