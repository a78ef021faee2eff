"""The data that a search trains on: loaded, checked and split into train, validation and test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder

from keras_initx.errors import InitxError, unknown_name

from . import readers

Features = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int32]

DATASETS: Mapping[str, Callable[[], Any]] = {
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}
"""The data sets that scikit-learn ships, by name: none is downloaded."""

# A class of five puts three, one and one rows into the three parts.
MIN_CLASS_ROWS = 5


# Arrays have no single truth value, so a generated `==` would raise.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw features and class indices in three parts.

    Args:
        name: How reports call the data.
        x_train: Raw feature values, float32 of shape (rows, ...): the model standardizes them itself.
        y_train: Class indices, int32 of shape (rows,).
        x_validation, y_validation: The same, for choosing among trials.
        x_test, y_test: The same, for the final figure.
        classes: The label of each class index.
    """

    name: str
    x_train: Features
    y_train: Indices
    x_validation: Features
    y_validation: Indices
    x_test: Features
    y_test: Indices
    classes: tuple[str, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.x_train.shape[1:]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def describe(self) -> str:
        """Say in one line what the data are.

        Example:

        >>> load_dataset("wine").describe()
        'wine: 178 rows of 13 features, 3 classes (106 train / 36 validation / 36 test)'
        """
        parts = [len(self.y_train), len(self.y_validation), len(self.y_test)]
        if len(self.input_shape) > 1:
            rows = f"{sum(parts)} images of {'x'.join(map(str, self.input_shape))}"
        else:
            rows = f"{sum(parts)} rows of {self.input_shape[0]} feature{'s' * (self.input_shape[0] != 1)}"
        train, validation, test = parts
        sizes = f"{train} train / {validation} validation / {test} test"
        return f"{self.name}: {rows}, {self.n_classes} classes ({sizes})"


def load_dataset(name: str) -> Dataset:
    """Load one of `DATASETS`.

    Raises:
        InitxError: Where there is no data set of that name.

    Example:

    >>> load_dataset("digits").input_shape
    (8, 8)
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS, "Use --csv or --npz for your own data.")
    bunch = DATASETS[name]()
    return from_arrays(bunch.get("images", bunch.data), bunch.target, name=name, classes=bunch.target_names)


def load_csv(path: readers.Path, target: str) -> Dataset:
    """Load a CSV file with a header row, numeric feature columns and a label column.

    Args:
        path: A UTF-8 file with commas between the cells.
        target: The name of the label column: numbers, of which 1 and 1.0 are the same, or strings.

    Raises:
        InitxError: Where the file, a column or a cell cannot be used.
    """
    x, y = readers.read_csv(path, target)
    with _reported_as({"x": ("--csv", str(path)), "y": ("--target", target)}):
        return from_arrays(x, y, name=Path(path).stem)


def load_npz(path: readers.Path) -> Dataset:
    """Load an npz file with the arrays `x` and `y`, or `x_train` and `y_train`.

    Args:
        path: A file as numpy.savez writes it; `x_test` and `y_test` in it are kept as the test part.

    Raises:
        InitxError: Where the file or an array cannot be used.
    """
    arrays = readers.read_npz(path)
    x, y = list(arrays)[:2]
    names = {"x": x, "y": y, "x_test": "x_test", "y_test": "y_test"}
    with _reported_as({argument: ("--npz", array) for argument, array in names.items()}):
        return from_arrays(
            arrays[x],
            arrays[y],
            name=Path(path).stem,
            x_test=arrays.get("x_test"),
            y_test=arrays.get("y_test"),
        )


def from_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    name: str = "arrays",
    classes: Sequence[object] | None = None,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Dataset:
    """Split arrays into 60% train, 20% validation and 20% test, with the class shares kept.

    Args:
        x: Numbers of shape (rows, ...).
        y: Labels of shape (rows,) or (rows, 1), numbers or strings; or one-hot of shape (rows, classes).
        name: How reports call the data.
        classes: The label of each class, where `y` holds indices into it; by default the sorted labels.
        x_test: A test part to keep as it is; `x` is then split 75% to 25% into train and validation.
        y_test: The labels of `x_test`.
        seed: Picks the split: the same data and seed give the same one.

    Raises:
        InitxError: Where the arrays do not fit each other, or are no data for classification.

    Example:

    >>> data = from_arrays([[value] for value in range(20)], ["cat", "dog"] * 10)
    >>> data.classes, data.x_train.shape, data.x_validation.shape, data.x_test.shape
    (('cat', 'dog'), (12, 1), (4, 1), (4, 1))
    """
    if not 0 <= seed < 2**32:
        raise InitxError("seed", seed, "0 to 4294967295")
    features, labels = _checked_pair(x, y)
    _check_discrete(labels)
    encoder = LabelEncoder().fit(labels if classes is None else np.arange(len(classes)))
    names = tuple(map(_text, encoder.classes_ if classes is None else classes))
    indices = _encoded("y", labels, encoder)
    _check_class_sizes(indices, names)

    rows = np.arange(len(indices))
    if x_test is None and y_test is None:
        train, held_out = train_test_split(rows, train_size=0.6, stratify=indices, random_state=seed)
        validation, test = train_test_split(
            held_out, test_size=0.5, stratify=indices[held_out], random_state=seed
        )
        test_features, test_indices = features[test], indices[test]
    else:
        if x_test is None or y_test is None:
            missing = "x_test" if x_test is None else "y_test"
            raise InitxError(missing, None, "x_test and y_test together", "Pass both or neither.")
        test_features, test_labels = _checked_pair(x_test, y_test, "_test")
        if test_features.shape[1:] != features.shape[1:]:
            raise InitxError(
                "x_test",
                f"rows of shape {test_features.shape[1:]}",
                f"rows of shape {features.shape[1:]}, as in the training data",
                "Prepare both alike.",
            )
        test_indices = _encoded("y_test", test_labels, encoder)
        train, validation = train_test_split(rows, train_size=0.75, stratify=indices, random_state=seed)
    return Dataset(
        name,
        features[train],
        indices[train],
        features[validation],
        indices[validation],
        test_features,
        test_indices,
        names,
    )


@contextmanager
def _reported_as(options: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Name the command-line option, and what in its file is wrong, in errors about an argument."""
    try:
        yield
    except InitxError as error:
        option, part = options[error.argument]
        raise InitxError(option, f"{part}: {error.received}", error.allowed, error.remedy) from None


def _checked_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, suffix: str = ""
) -> tuple[Features, npt.NDArray[np.generic]]:
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
    finite = np.isfinite(features)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(np.argmin(finite), finite.shape))
        raise InitxError(
            argument,
            f"{array[index]} at index {index}",
            "finite numbers in the range of float32",
            "Drop the row or fill in the value.",
        )
    return features


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


def _check_discrete(labels: npt.NDArray[Any]) -> None:
    if labels.dtype.kind != "f" or (labels == np.floor(labels)).all():
        return
    distinct = len(np.unique(labels))
    if distinct > 50 and distinct > 0.2 * len(labels):
        raise InitxError(
            "y",
            f"{distinct} different fractions in {len(labels)} rows",
            "class labels, since this is classification only",
            "Bin the target into classes.",
        )


def _encoded(argument: str, labels: npt.NDArray[Any], encoder: LabelEncoder) -> Indices:
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


def _check_class_sizes(indices: Indices, classes: Sequence[str]) -> None:
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


def _text(label: object) -> str:
    # A column of whole numbers is read as floats, yet its labels were written without a fraction.
    return str(int(label)) if isinstance(label, np.floating) and label.is_integer() else str(label)
