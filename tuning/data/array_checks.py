"""Check the arrays of the training, the validation and the test before anything trains on them."""

import sys
import warnings
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError

from .batches import is_arrays
from .fit_arguments import FitArguments, evaluation
from .validation import check_not_masked, first_gap

_PARTS = ("x", "y", "sample_weight")
# The training data are arguments of their own.
_ARGUMENTS = {"validation": "validation_data", "test": "test_data"}


def check_data(data: FitArguments) -> None:
    """Check the training and validation arrays, as `check_arrays` does."""
    check_arrays("training", data)
    if data.validation is not None:
        check_arrays("validation", data.validation)


def checked_test(data: Any) -> FitArguments | None:
    """Return the arguments for test data in the form of `validation_data`, checked; None for None."""
    test = None if data is None else evaluation(data)
    if test is not None:
        check_arrays("test", test)
    return test


def check_arrays(part: str, data: FitArguments) -> None:
    """Check the arrays of one part of the data; everything else is left to `fit`.

    Args:
        part: "training", "validation" or "test".
        data: The inputs, labels and sample weights.

    Raises:
        InitxError: If an array has masked values, strings, no rows or no dimension, or the arrays differ in
            length.
    """
    if data.x is None or not is_arrays(data.x):
        return
    leaves = [
        (name, f"`{name}{''.join(f'[{key!r}]' for key in path)}`", values)
        for name in _PARTS
        for path, values in keras.tree.flatten_with_path(data.values.get(name))
        if hasattr(values, "shape")
    ]
    of = f" of `{_ARGUMENTS[part]}`" if part in _ARGUMENTS else ""
    _, first, reference = leaves[0]
    for name, label, values in leaves:
        argument = _ARGUMENTS.get(part, name)
        check_not_masked(argument, values)
        if isinstance(values, np.ndarray) and values.dtype.kind in "USO":
            remedy = "Pass a tf.data.Dataset or, on TensorFlow, tf.constant(array)."
            if name == "y":
                remedy = "Convert classes to numbers, for example with np.unique(y, return_inverse=True)."
            problem = f"{label}{of} must be numbers, got dtype {values.dtype}"
            raise InitxError(argument, values.dtype, "numbers", remedy, problem)
        if not len(values.shape):
            problem = f"{label}{of} must be an array with one entry for each row, got {values!r}"
            remedy = f"Convert a list with np.array({name})."
            raise InitxError(argument, values, "an array", remedy, problem)
        if not values.shape[0]:
            problem = f"{label}{of} must have at least one row"
            raise InitxError(argument, "no rows", "at least one row", "", problem)
        if values.shape[0] != reference.shape[0]:
            got = f"{reference.shape[0]} and {values.shape[0]}"
            problem = f"{first} and {label}{of} must have the same number of rows, got {got}"
            argument = "x" if name == "y" and part == "training" else argument
            raise InitxError(argument, got, "the same number of rows", "", problem)
    for _, label, values in leaves:
        # Only a warning, since a model may handle such values.
        array = np.asarray(values)
        if array.dtype.kind == "f" and (index := first_gap(array)) is not None:
            warnings.warn(
                f"{label}{of} contains {array[index]} at index {index}. Most models then have a loss that is "
                "not finite.",
                stacklevel=_level_of_caller(),
            )


def _level_of_caller() -> int:
    """Return the `stacklevel` at which a warning of the calling function points into the user's code."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("keras_initx."):
        frame, level = frame.f_back, level + 1
    return level
