"""Check the numbers among the arguments of `fit` before anything trains or is written."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError, check_positive

_COUNTS = ("batch_size", "steps_per_epoch", "validation_steps", "validation_batch_size")


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
        # Keras takes 0 validation steps for None.
        is_left_out = fit.get(name) is None or (name == "validation_steps" and _is_count(fit[name], 0))
        if not is_left_out:
            check_positive(name, fit[name])
    epochs, first = check_positive("epochs", fit.get("epochs", 1)), fit.get("initial_epoch", 0)
    if not _is_count(first, 0) or first >= epochs:
        raise InitxError("initial_epoch", first, f"an integer from 0 to {epochs - 1}, below `epochs`")
    split, every = fit.get("validation_split"), fit.get("validation_freq")
    if split is not None and not (_is_scalar(split, "iuf") and 0 <= split < 1):
        raise InitxError("validation_split", split, "a share of the rows, from 0 to below 1")
    epochs_of = every if isinstance(every, list | tuple) else [1 if every is None else every]
    if not all(_is_count(epoch, 1) for epoch in epochs_of):
        raise InitxError("validation_freq", every, "an integer >= 1, or a list of epochs")
    weights = fit.get("class_weight")
    for label, weight in (weights if isinstance(weights, Mapping) else {}).items():
        if not _is_scalar(weight, "biuf") or not math.isfinite(weight):
            raise InitxError("class_weight", weight, f"a finite weight for class {label!r}")
    # As Keras reads them, which takes lists and dictionaries within lists.
    for callback in keras.tree.flatten(fit.get("callbacks") or ()):
        if not hasattr(callback, "set_model"):
            raise InitxError("callbacks", callback, "objects of keras.callbacks.Callback")


def _is_count(value: object, lowest: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= lowest


def _is_scalar(value: object, kinds: str) -> bool:
    """Return whether a number, or an array without dimensions, is of one of these kinds of NumPy."""
    is_single = np.isscalar(value) or getattr(value, "shape", None) == ()
    return is_single and np.asarray(value).dtype.kind in kinds
