"""What a user's arrays must be to train a classifier on: checked, and brought to plain types."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import LabelEncoder

from keras_initx.errors import InitxError

Features = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]

# A class of five puts three, one and one rows into the three parts.
MIN_CLASS_ROWS = 5


def checked_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, suffix: str = ""
) -> tuple[Features, npt.NDArray[np.generic]]:
    """Features as float32 and labels as one plain array, if both can be used and have as many rows."""
    features, labels = _features("x" + suffix, x), _labels("y" + suffix, y)
    if len(features) != len(labels):
        raise InitxError(
            "y" + suffix,
            f"{len(labels)} labels",
            f"one label for each of the {len(features)} rows",
            "Check that features and labels come from the same rows.",
        )
    return features, labels


def _array(argument: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InitxError(
            argument, "rows of different shapes", "rows of one shape", "Pad or cut them."
        ) from error


def _features(argument: str, values: npt.ArrayLike) -> Features:
    array = _array(argument, values)
    if array.dtype.kind not in "biuf":
        raise InitxError(
            argument, f"an array of type {array.dtype}", "real numbers", "Encode or drop what is no number."
        )
    if array.ndim < 2 or 0 in array.shape:
        raise InitxError(
            argument,
            f"shape {array.shape}",
            "shape (rows, features) or (rows, height, width, ...), none of them 0",
            "Reshape one feature with x.reshape(-1, 1).",
        )
    with np.errstate(over="ignore"):
        features = array.astype(np.float32)
    if (index := first_gap(features)) is not None:
        raise InitxError(
            argument,
            f"{array[index]} at index {index}",
            "finite numbers in the range of float32",
            "Drop the row or fill in the value.",
        )
    return features


def first_gap(values: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first value that is not finite; None where all are.

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
        raise InitxError(
            argument,
            f"shape {labels.shape}",
            "shape (rows,) or (rows, 1), or one-hot rows with a single 1",
            "Give one class label for each row.",
        )
    if labels.dtype.kind == "O":
        labels = _from_objects(labels)
    if labels.dtype.kind not in "biufU":
        raise InitxError(
            argument,
            f"an array of type {labels.dtype}",
            "numbers or strings",
            "Convert with y.astype(str).",
        )
    usable = np.char.strip(labels) != "" if labels.dtype.kind == "U" else np.isfinite(labels)
    if not usable.all():
        index = int(np.argmin(usable))
        raise InitxError(
            argument,
            f"{labels[index] or 'an empty string'} at index {index}",
            "a label for every row",
            "Drop the rows without one.",
        )
    return labels


def _is_one_hot(labels: npt.NDArray[Any]) -> bool:
    return labels.size > 0 and bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _from_objects(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give labels from a data frame a plain type, where they are all strings or all numbers."""
    values = labels.tolist()
    # NumPy would turn a missing value among strings into the label "None" or "nan".
    gaps = [value is None or value != value for value in values]
    if any(gaps):
        return np.where(gaps, np.nan, 0.0)
    if all(isinstance(value, str) for value in values) or all(isinstance(value, Real) for value in values):
        return np.array(values)
    return labels


def check_discrete(labels: npt.NDArray[Any]) -> None:
    """Refuses a target that is a measurement and not a class."""
    if labels.dtype.kind != "f" or (labels == np.floor(labels)).all():
        return
    distinct = len(np.unique(labels))
    if distinct > 50 and distinct > 0.2 * len(labels):
        raise InitxError(
            "y",
            f"{distinct} different fractions in {len(labels)} rows",
            "class labels, since this is classification only",
            "Bin the target into classes. A regression goes to search() with data that you have split: "
            "((x, y), (x_validation, y_validation)).",
        )


def encoded(argument: str, labels: npt.NDArray[Any], encoder: LabelEncoder) -> Indices:
    """Class indices of labels, all of which the encoder must know."""
    known = encoder.classes_.tolist()
    unknown = set(labels.tolist()).difference(known)
    if unknown:
        raise InitxError(
            argument,
            min(unknown, key=str),
            f"the classes {', '.join(map(str, known))}",
            "Correct the labels, or leave `classes` out and have rows of every class in `y`.",
        )
    return encoder.transform(labels).astype(np.int32)


def check_class_sizes(indices: Indices, classes: Sequence[str]) -> None:
    """Refuses one class, and a class too small for a stratified split into three."""
    if len(classes) < 2:
        raise InitxError(
            "y", f"the single class {classes[0]!r}", "at least two classes", "Check that this is the label."
        )
    counts = np.bincount(indices, minlength=len(classes))
    smallest = int(np.argmin(counts))
    if counts[smallest] < MIN_CLASS_ROWS:
        raise InitxError(
            "y",
            f"class {classes[smallest]!r} with {counts[smallest]} of {len(indices)} rows",
            f"at least {MIN_CLASS_ROWS} rows of every class, so that each part of the split has some",
            "Add rows, merge the class with another or drop it.",
        )


def label_text(label: object) -> str:
    """A label as it was written."""
    # A column of whole numbers is read as floats, yet its labels were written without a fraction.
    return str(int(label)) if isinstance(label, np.floating) and label.is_integer() else str(label)
