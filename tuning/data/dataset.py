"""The data of a search, split into train, validation and test, and the functions that load it."""

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
"""The data sets in scikit-learn by name. None of them is downloaded."""


# A generated `==` would raise, because an array has no single truth value.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw features and class indices, split into train, validation and test.

    Args:
        name: The name of the data in reports.
        x_train: Raw feature values, float32 of shape (rows, ...). The model standardizes them itself.
        y_train: Class indices, int32 of shape (rows,).
        x_validation, y_validation: The part that trials are compared on.
        x_test, y_test: The part for the final score.
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
        """Return the shape of one row."""
        return self.x_train.shape[1:]

    @property
    def n_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    def describe(self) -> str:
        """Return one line with the name, the shape, the classes and the sizes of the parts.

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
        InitxError: No data set has that name.

    Example:

    >>> load_dataset("digits").input_shape
    (8, 8)
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS, "Load your own data with `load_csv` or `load_npz`.")
    bunch = DATASETS[name]()
    return from_arrays(bunch.get("images", bunch.data), bunch.target, name=name, classes=bunch.target_names)


def load_csv(path: files.Path, target: str) -> Dataset:
    """Load a CSV file with a header row, numeric feature columns and a label column.

    Args:
        path: A UTF-8 file with commas between the cells.
        target: The name of the label column. Its cells are numbers, where 1 equals 1.0, or strings.

    Raises:
        InitxError: The file, a column or a cell cannot be used.
    """
    x, y = files.read_csv(path, target)
    sources = {"x": ("path", f"`path` {str(path)!r}: x"), "y": ("target", f"`target` {target!r}")}
    with _naming_source(sources):
        return from_arrays(x, y, name=Path(path).stem)


def load_npz(path: files.Path) -> Dataset:
    """Load an npz file with the arrays `x` and `y`, or `x_train` and `y_train`.

    Args:
        path: A file written by numpy.savez. If it has `x_test` and `y_test`, they become the test part.

    Raises:
        InitxError: The file or an array cannot be used.
    """
    arrays = files.read_npz(path)
    x, y = list(arrays)[:2]
    names = {"x": x, "y": y, "x_test": "x_test", "y_test": "y_test"}
    with _naming_source({key: ("path", f"`path` {str(path)!r}: {name}") for key, name in names.items()}):
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
    """Split arrays into 60% train, 20% validation and 20% test, stratified by class.

    Args:
        x: Numbers of shape (rows, ...).
        y: Labels of shape (rows,) or (rows, 1), numbers or strings; or one-hot of shape (rows, classes).
        name: The name of the data in reports.
        classes: The label of each class if `y` contains indices; None takes the sorted labels in `y`.
        x_test: A test part to keep unchanged. `x` is then split into 75% train and 25% validation.
        y_test: The labels of `x_test`.
        seed: The seed of the split: the same data and seed give the same split.

    Raises:
        InitxError: The arrays do not match, or are not data of a classification.

    Example:

    >>> data = from_arrays([[value] for value in range(20)], ["cat", "dog"] * 10)
    >>> data.classes, data.x_train.shape, data.x_validation.shape, data.x_test.shape
    (('cat', 'dog'), (12, 1), (4, 1), (4, 1))
    """
    if not 0 <= seed < 2**32:
        raise InitxError("seed", seed, "an integer from 0 to 4294967295")
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
            problem = f"`{missing}` is missing: `x_test` and `y_test` belong together"
            raise InitxError(missing, None, "passed with the other", "Pass both or neither.", problem)
        test_features, test_labels = validation.checked_pair(x_test, y_test, "_test")
        if test_features.shape[1:] != features.shape[1:]:
            shape, allowed = test_features.shape[1:], f"rows of shape {features.shape[1:]}"
            problem = f"`x_test` must have {allowed}, as in the training data, got {shape}"
            raise InitxError("x_test", shape, allowed, "Prepare both in the same way.", problem)
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
def _naming_source(sources: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Report an error in an array as an error of the argument that the array was read from.

    Args:
        sources: For each array the argument, and the text that replaces the array in the message.
    """
    try:
        yield
    except InitxError as error:
        argument, text = sources[error.argument]
        problem = error.problem.replace(f"`{error.argument}`", text, 1)
        raise InitxError(argument, error.received, error.allowed, error.remedy, problem) from None
