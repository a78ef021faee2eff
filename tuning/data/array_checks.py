"""Check the arrays of the training, the validation and the test before anything trains on them."""

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
        InitxError: If an array has masked values, strings or no rows, or the arrays differ in length.
    """
    if data.x is None or not is_arrays(data.x):
        return
    leaves = [
        (name, path, values)
        for name in _PARTS
        for path, values in keras.tree.flatten_with_path(data.values.get(name))
        if hasattr(values, "shape")
    ]
    rows = leaves[0][2].shape[0]
    counts = {name: values.shape[0] for name, _, values in leaves}
    for name, path, values in leaves:
        argument = _ARGUMENTS.get(part, name)
        check_not_masked(argument, values)
        if isinstance(values, np.ndarray) and values.dtype.kind in "USO":
            key = f" at {'/'.join(map(str, path))!r}" if path else ""
            remedy = "Pass a tf.data.Dataset, or on TensorFlow tf.constant(array) for strings."
            if name == "y":
                remedy = "Convert classes to numbers, for example with np.unique(y, return_inverse=True)."
            raise InitxError(argument, f"{part} {name}{key} of dtype {values.dtype}", "numbers", remedy)
        if values.shape[0] != rows or not rows:
            got = " and ".join(f"{count} rows of {name}" for name, count in counts.items())
            allowed = f"{part} arrays of equal length, with at least one row"
            raise InitxError("x" if name == "y" and part == "training" else argument, got, allowed)
    for name, _, values in leaves:
        # Only a warning, since a model may handle such values.
        array = np.asarray(values)
        if array.dtype.kind == "f" and (index := first_gap(array)) is not None:
            argument = _ARGUMENTS.get(part, "x")
            warnings.warn(
                f"`{argument}` contains {array[index]} in the {part} {name}, at index {index}. Most models "
                "then have a loss that is not finite.",
                stacklevel=5,
            )
