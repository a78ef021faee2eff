"""The data that a search trains on: loaded, checked and split into train, validation and test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder

from keras_initx.errors import InitxError, unknown_name

from . import files, validation

Features = validation.Features
Indices = validation.Indices

DATASETS: Mapping[str, Callable[[], Any]] = {
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}
"""The data sets that scikit-learn ships, by name: none is downloaded."""


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


def load_csv(path: files.Path, target: str) -> Dataset:
    """Load a CSV file with a header row, numeric feature columns and a label column.

    Args:
        path: A UTF-8 file with commas between the cells.
        target: The name of the label column: numbers, of which 1 and 1.0 are the same, or strings.

    Raises:
        InitxError: Where the file, a column or a cell cannot be used.
    """
    x, y = files.read_csv(path, target)
    with _reported_as({"x": ("--csv", str(path)), "y": ("--target", target)}):
        return from_arrays(x, y, name=Path(path).stem)


def load_npz(path: files.Path) -> Dataset:
    """Load an npz file with the arrays `x` and `y`, or `x_train` and `y_train`.

    Args:
        path: A file as numpy.savez writes it; `x_test` and `y_test` in it are kept as the test part.

    Raises:
        InitxError: Where the file or an array cannot be used.
    """
    found = files.read_npz(path)
    x, y = list(found)[:2]
    names = {"x": x, "y": y, "x_test": "x_test", "y_test": "y_test"}
    with _reported_as({argument: ("--npz", array) for argument, array in names.items()}):
        return from_arrays(
            found[x],
            found[y],
            name=Path(path).stem,
            x_test=found.get("x_test"),
            y_test=found.get("y_test"),
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
    features, labels = validation.checked_pair(x, y)
    validation.check_discrete(labels)
    encoder = LabelEncoder().fit(labels if classes is None else np.arange(len(classes)))
    names = tuple(map(validation.label_text, encoder.classes_ if classes is None else classes))
    indices = validation.encoded("y", labels, encoder)
    validation.check_class_sizes(indices, names)

    rows = np.arange(len(indices))
    if x_test is None and y_test is None:
        train, held_out = train_test_split(rows, train_size=0.6, stratify=indices, random_state=seed)
        selection, test = train_test_split(
            held_out, test_size=0.5, stratify=indices[held_out], random_state=seed
        )
        test_features, test_indices = features[test], indices[test]
    else:
        if x_test is None or y_test is None:
            missing = "x_test" if x_test is None else "y_test"
            raise InitxError(missing, None, "x_test and y_test together", "Pass both or neither.")
        test_features, test_labels = validation.checked_pair(x_test, y_test, "_test")
        if test_features.shape[1:] != features.shape[1:]:
            raise InitxError(
                "x_test",
                f"rows of shape {test_features.shape[1:]}",
                f"rows of shape {features.shape[1:]}, as in the training data",
                "Prepare both alike.",
            )
        test_indices = validation.encoded("y_test", test_labels, encoder)
        train, selection = train_test_split(rows, train_size=0.75, stratify=indices, random_state=seed)
    return Dataset(
        name,
        features[train],
        indices[train],
        features[selection],
        indices[selection],
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
