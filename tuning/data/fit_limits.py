"""Check the numbers among the arguments of `fit` before anything trains or is written."""

import math
from collections.abc import Mapping
from typing import Any

from keras_initx.errors import InitxError, check_positive, is_number

_COUNTS = ("epochs", "batch_size", "steps_per_epoch", "validation_steps", "validation_batch_size")


def check_limits(fit: Mapping[str, Any]) -> None:
    """Raise an `InitxError` for a number, or a callback, that `fit` could not use.

    Keras would raise in every trial, or train nothing and report no metric.

    Args:
        fit: The arguments of `fit` by name; a missing one has the default of Keras.

    Example:

    >>> check_limits({"epochs": 5, "initial_epoch": 5})
    Traceback (most recent call last):
    keras_initx.errors.InitxError: `initial_epoch` must be an integer from 0 to 4, below `epochs`, got 5.
    """
    for name in _COUNTS:
        if fit.get(name) is not None:
            check_positive(name, fit[name])
    epochs, first = fit.get("epochs", 1), fit.get("initial_epoch", 0)
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first < epochs:
        raise InitxError("initial_epoch", first, f"an integer from 0 to {epochs - 1}, below `epochs`")
    split, every = fit.get("validation_split") or 0.0, fit.get("validation_freq", 1)
    if not is_number(split) or not 0 <= split < 1:
        raise InitxError("validation_split", split, "a share of the rows, from 0 to below 1")
    validates = bool(split) or fit.get("validation_data") is not None
    if is_number(every):
        check_positive("validation_freq", every)
        if validates and epochs // every == first // every:
            allowed = f"a divisor of one of the epochs {first + 1} to {epochs}, after which `fit` validates"
            raise InitxError("validation_freq", every, allowed)
    elif isinstance(every, bool):
        raise InitxError("validation_freq", every, "an integer >= 1, or a list of epochs")
    weights, labels = fit.get("class_weight"), fit.get("y")
    if weights and isinstance(labels, list | tuple | dict) and len(labels) > 1:
        problem = f"`class_weight` takes one array of labels, and `y` has {len(labels)} parts"
        remedy = "Pass `sample_weight` with an array for each output."
        raise InitxError("class_weight", weights, "None for several outputs", remedy, problem)
    for label, weight in (weights if isinstance(weights, Mapping) else {}).items():
        if not is_number(weight) or not math.isfinite(weight):
            raise InitxError("class_weight", weight, f"a finite weight for class {label!r}")
    callbacks = fit.get("callbacks") or ()
    for callback in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        if not hasattr(callback, "set_model"):
            raise InitxError("callbacks", callback, "objects of keras.callbacks.Callback")
