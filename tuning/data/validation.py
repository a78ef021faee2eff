"""Check the arrays of a classification or a regression and convert them to plain types."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import LabelEncoder

from keras_initx.errors import InitxError, unknown_name

Features = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]

# A class of five rows puts three, one and one of them into the three parts.
MIN_CLASS_ROWS = 5


def checked_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, suffix: str = ""
) -> tuple[Features, npt.NDArray[np.generic]]:
    """Return features as float32 and labels as one plain array.

    Args:
        x: The features.
        y: The labels.
        suffix: Errors name the arrays "x" and "y" with this suffix.

    Raises:
        InitxError: One of them cannot be used, or their numbers of rows differ.
    """
    features, labels = _features("x" + suffix, x), _labels("y" + suffix, y)
    if len(features) != len(labels):
        argument, allowed = "y" + suffix, f"one label for each of the {len(features)} rows"
        remedy = "Check that features and labels come from the same rows."
        problem = f"`{argument}` must have {allowed}, got {len(labels)}"
        raise InitxError(argument, len(labels), allowed, remedy, problem)
    return features, labels


def check_not_masked(argument: str, values: npt.ArrayLike) -> None:
    """Raise an `InitxError` for an array with masked values: NumPy would use the values below the mask."""
    if np.ma.is_masked(values):
        count = int(np.ma.count_masked(values))
        problem = f"`{argument}` must have no masked values, got an array with {count} of them"
        remedy = "Fill them in with values.filled(number), or drop their rows."
        raise InitxError(argument, f"{count} masked values", "without masked values", remedy, problem)


def _array(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    check_not_masked(argument, values)
    try:
        return np.asarray(values)
    except ValueError as error:
        problem = f"`{argument}` has rows of different shapes"
        remedy = "Pad or cut them to one shape."
        raise InitxError(
            argument, "rows of different shapes", "rows of one shape", remedy, problem
        ) from error


def _features(argument: str, values: npt.ArrayLike) -> Features:
    array = _array(argument, values)
    if array.dtype.kind not in "biuf":
        problem = f"`{argument}` must contain real numbers, got dtype {array.dtype}"
        remedy = "Encode or drop everything else."
        raise InitxError(argument, array.dtype, "real numbers", remedy, problem)
    if array.ndim < 2 or 0 in array.shape:
        allowed = "of shape (rows, features) or (rows, height, width, ...) without a dimension of 0"
        problem = f"`{argument}` must be {allowed}, got {array.shape}"
        remedy = "Reshape a single feature with x.reshape(-1, 1)."
        raise InitxError(argument, array.shape, allowed, remedy, problem)
    with np.errstate(over="ignore"):
        features = array.astype(np.float32)
    if (index := first_gap(features)) is not None:
        problem = f"`{argument}` must be finite in float32, got {array[index]} at index {index}"
        remedy = "Drop the row or fill in the value."
        raise InitxError(argument, array[index], "finite in float32", remedy, problem)
    return features


def first_gap(values: np.ndarray) -> tuple[int, ...] | None:
    """Return the index of the first value that is not finite, or None if all are.

    >>> first_gap(np.array([[1.0, 2.0], [np.nan, 3.0]]))
    (1, 0)
    """
    finite = np.isfinite(values)
    if finite.all():
        return None
    return tuple(int(i) for i in np.unravel_index(np.argmin(finite), finite.shape))


def _labels(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    labels = _array(argument, values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "biuf" and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim != 1:
        allowed = "of shape (rows,) or (rows, 1), or one-hot rows with a single 1"
        problem = f"`{argument}` must be {allowed}, got {labels.shape}"
        remedy = "Pass one class label for each row."
        raise InitxError(argument, labels.shape, allowed, remedy, problem)
    if labels.dtype.kind == "O":
        labels = _from_objects(labels)
    if labels.dtype.kind not in "biufU":
        problem = f"`{argument}` must contain numbers or strings, got dtype {labels.dtype}"
        remedy = "Convert it with y.astype(str)."
        raise InitxError(argument, labels.dtype, "numbers or strings", remedy, problem)
    usable = np.char.strip(labels) != "" if labels.dtype.kind == "U" else np.isfinite(labels)
    if not usable.all():
        index = int(np.argmin(usable))
        received = labels[index] or "an empty string"
        problem = f"`{argument}` must have a label for every row, got {received} at index {index}"
        remedy = "Drop the rows without a label."
        raise InitxError(argument, labels[index], "a label for every row", remedy, problem)
    return labels


def _is_one_hot(labels: npt.NDArray[Any]) -> bool:
    return labels.size > 0 and bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _from_objects(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give labels from a data frame a plain type if they are all strings or all numbers."""
    values = labels.tolist()
    # NumPy would turn a missing value among strings into the label "None" or "nan".
    gaps = [value is None or value != value for value in values]
    if any(gaps):
        return np.where(gaps, np.nan, 0.0)
    if all(isinstance(value, str) for value in values) or all(isinstance(value, Real) for value in values):
        return np.array(values)
    return labels


TASKS = ("auto", "classification", "regression")
# More whole numbers than this, or more numbers with fractions, are measurements and not classes.
_MOST_INTEGER_CLASSES = 50
_MOST_FRACTION_CLASSES = 10


def task_of(labels: npt.NDArray[Any], task: str) -> str:
    """Return whether labels are for "classification" or "regression".

    Args:
        labels: The labels.
        task: One of `TASKS`. "auto" is regression for more than 50 different whole numbers, and for more than
            10 different numbers with fractions among them.

    Raises:
        InitxError: The task is unknown, or a regression has labels that are not numbers.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if labels.dtype.kind not in "biuf":
        if task == "regression":
            import pandas as pd

            is_other = pd.to_numeric(pd.Series(labels), errors="coerce").isna()
            index = int(np.argmax(is_other))
            value = str(labels[index])
            problem = f"`y` must be numbers for a regression, got {value!r} at index {index}"
            remedy = "Predict their classes." if is_other.all() else "Correct it, or drop its row."
            if not is_other.any():
                remedy = "Convert it with y.astype(float)."
            raise InitxError("y", value, "numbers", remedy, problem)
        return "classification"
    if task != "auto":
        return task
    whole = labels.dtype.kind != "f" or bool((labels == np.floor(labels)).all())
    most = _MOST_INTEGER_CLASSES if whole else _MOST_FRACTION_CLASSES
    return "regression" if len(np.unique(labels)) > most else "classification"


def check_targets(targets: npt.NDArray[Any]) -> None:
    """Raise an `InitxError` for targets of a regression that are constant, or too few to split into three."""
    infinite = ~np.isfinite(targets.astype(np.float32))
    if infinite.any():
        value = targets[int(np.argmax(infinite))]
        raise InitxError("y", value, "finite in float32", "Correct it, or drop its row.")
    if len(targets) < MIN_CLASS_ROWS:
        allowed = f"at least {MIN_CLASS_ROWS} rows, so that each part of the split gets some"
        raise InitxError("y", len(targets), allowed, "", f"`y` must have {allowed}, got {len(targets)}")
    if (targets == targets[0]).all():
        problem = f"`y` must have at least two different values, got only {targets[0]:g}"
        raise InitxError("y", targets[0], "two values", "Check that this is the target.", problem)


def check_discrete(labels: npt.NDArray[Any]) -> None:
    """Raise an `InitxError` for a target that is a measurement and not a class."""
    if labels.dtype.kind != "f" or (labels == np.floor(labels)).all():
        return
    distinct = len(np.unique(labels))
    # Classes that are fractions, such as 0.5 and 1.5, occur more often than measurements do.
    if distinct > max(10, 0.2 * len(labels)):
        problem = f"`y` must contain class labels, got {distinct} different fractions in {len(labels)} rows"
        remedy = "Bin the target into classes, or pass `task=regression`."
        raise InitxError("y", distinct, "class labels", remedy, problem)


def encoded(argument: str, labels: npt.NDArray[Any], encoder: LabelEncoder) -> Indices:
    """Return the class indices of labels; raise an `InitxError` for a label that the encoder lacks."""
    known = encoder.classes_.tolist()
    unknown = set(labels.tolist()).difference(known)
    if unknown:
        label, allowed = min(unknown, key=str), f"the classes {', '.join(map(str, known))}"
        problem = f"`{argument}` must contain only {allowed}, got {label!r}"
        remedy = "Correct the labels, or leave out `classes` and include rows of every class in `y`."
        raise InitxError(argument, label, allowed, remedy, problem)
    return encoder.transform(labels).astype(np.int32)


def check_class_sizes(indices: Indices, classes: Sequence[str]) -> None:
    """Raise an `InitxError` for a single class, or for one too small for a stratified split into three."""
    if len(classes) < 2:
        problem = f"`y` must have at least two classes, got only {classes[0]!r}"
        raise InitxError("y", classes[0], "at least two classes", "Check that this is the label.", problem)
    counts = np.bincount(indices, minlength=len(classes))
    smallest = int(np.argmin(counts))
    if counts[smallest] < MIN_CLASS_ROWS:
        allowed = f"at least {MIN_CLASS_ROWS} rows of every class, so that each part of the split gets some"
        received = f"class {classes[smallest]!r} with {counts[smallest]} of {len(indices)} rows"
        remedy = "Add rows, merge the class with another or drop it."
        raise InitxError("y", received, allowed, remedy, f"`y` must have {allowed}, got {received}")


def label_text(label: object) -> str:
    """Return a label as its file spells it."""
    # A column of whole numbers is read as floats, although the file has no fractions.
    return str(int(label)) if isinstance(label, np.floating) and label.is_integer() else str(label)
