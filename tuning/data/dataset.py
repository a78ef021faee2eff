"""The data of a search, split into train, validation and test, and the functions that load it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder

from keras_initx.errors import InitxError, unknown_name

from . import files, validation
from .columns import ColumnEncoder

Features = validation.Features
Labels = npt.NDArray[np.int32] | npt.NDArray[np.float32]

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
    """Features and class indices or targets, split into train, validation and test.

    Args:
        name: The name of the data in reports.
        x_train: Feature values, float32 of shape (rows, ...).
        y_train: Class indices, int32 of shape (rows,), or the targets of a regression, float32.
        x_validation, y_validation: The part that trials are compared on.
        x_test, y_test: The part for the final score.
        classes: The label of each class index; empty for a regression.
        encoder: Made the features from the columns of a table, and goes in front of the best model when it is
            saved; None for arrays, whose raw values the model standardizes itself.
        notes: What was decided about the data, a sentence each.
    """

    name: str
    x_train: Features
    y_train: Labels
    x_validation: Features
    y_validation: Labels
    x_test: Features
    y_test: Labels
    classes: tuple[str, ...]
    encoder: ColumnEncoder | None = None
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one row."""
        return self.x_train.shape[1:]

    @property
    def n_classes(self) -> int:
        """Return the number of classes, 0 for a regression."""
        return len(self.classes)

    def deployed(self, model: keras.Model) -> keras.Model:
        """Return the model to save: one that takes the raw columns, where the features come from a table."""
        return model if self.encoder is None else self.encoder.in_front_of(model)

    def describe(self) -> str:
        """Return one line with the name, the shape, the classes and the sizes of the parts.

        Example:

        >>> load_dataset("wine").describe()
        'wine: 178 rows of 13 features, 3 classes (106 train / 36 validation / 36 test)'
        """
        parts = [len(self.y_train), len(self.y_validation), len(self.y_test)]
        features = f"{self.input_shape[0]} feature{'s' * (self.input_shape[0] != 1)}"
        if self.encoder is not None:
            rows = f"{sum(parts)} rows of {self.encoder.describe()} as {features}"
        elif len(self.input_shape) > 1:
            rows = f"{sum(parts)} images of {'x'.join(map(str, self.input_shape))}"
        else:
            rows = f"{sum(parts)} rows of {features}"
        train, validation, test = parts
        sizes = f"{train} train / {validation} validation / {test} test"
        if self.classes:
            return f"{self.name}: {rows}, {self.n_classes} classes ({sizes})"
        targets = np.concatenate([self.y_train, self.y_validation, self.y_test])
        low, high = targets.min(), targets.max()
        return f"{self.name}: {rows}, regression of a target from {low:g} to {high:g} ({sizes})"


def load_dataset(name: str) -> Dataset:
    """Load one of `DATASETS`.

    Raises:
        InitxError: No data set has that name.

    Example:

    >>> load_dataset("digits").input_shape
    (8, 8)
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS, "Load your own data with `load_table` or `load_npz`.")
    bunch = DATASETS[name]()
    return from_arrays(bunch.get("images", bunch.data), bunch.target, name=name, classes=bunch.target_names)


def load_npz(path: files.Path, task: str = "auto") -> Dataset:
    """Load an npz file with the arrays `x` and `y`, or `x_train` and `y_train`.

    Args:
        path: A file written by numpy.savez. If it has `x_test` and `y_test`, they become the test part.
        task: "classification", "regression", or "auto": a regression if the labels are more than 50 different
            whole numbers, or more than 10 different numbers with fractions among them.

    Raises:
        InitxError: The file or an array cannot be used.
    """
    arrays = files.read_npz(path)
    x, y = list(arrays)[:2]
    names = {"x": x, "y": y, "x_test": "x_test", "y_test": "y_test"}
    sources = {key: ("path", f"`path` {str(path)!r}: {name}") for key, name in names.items()}
    with naming_source({**sources, "task": ("task", "`task`")}):
        return from_arrays(
            arrays[x],
            arrays[y],
            name=Path(path).stem,
            x_test=arrays.get("x_test"),
            y_test=arrays.get("y_test"),
            task=task,
        )


def from_arrays(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    name: str = "arrays",
    classes: Sequence[object] | None = None,
    x_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    task: str = "classification",
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
        task: As in `load_npz`.
        seed: The seed of the split: the same data and seed give the same split.

    Raises:
        InitxError: The arrays do not match, or are neither classes nor targets of a regression.

    Example:

    >>> data = from_arrays([[value] for value in range(20)], ["cat", "dog"] * 10)
    >>> data.classes, data.x_train.shape, data.x_validation.shape, data.x_test.shape
    (('cat', 'dog'), (12, 1), (4, 1), (4, 1))
    """
    if not 0 <= seed < 2**32:
        raise InitxError("seed", seed, "an integer from 0 to 4294967295")
    features, labels = validation.checked_pair(x, y)
    indices, names = class_indices(labels, task, classes)
    if x_test is None and y_test is None:
        train, selection, test = split_rows(indices, names, seed)
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
        if names:
            test_indices = validation.encoded("y_test", test_labels, _encoder(labels, classes))
        else:
            test_indices = test_labels.astype(np.float32)
        rows = np.arange(len(indices))
        stratify = indices if names else None
        train, selection = train_test_split(rows, train_size=0.75, stratify=stratify, random_state=seed)
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


def class_indices(
    labels: npt.NDArray[Any], task: str, classes: Sequence[object] | None = None
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Return class indices and the label of each class; or the targets of a regression and no labels."""
    if classes is None and validation.task_of(labels, task) == "regression":
        validation.check_targets(labels)
        return labels.astype(np.float32), ()
    validation.check_discrete(labels)
    encoder = _encoder(labels, classes)
    names = tuple(map(validation.label_text, encoder.classes_ if classes is None else classes))
    indices = validation.encoded("y", labels, encoder)
    validation.check_class_sizes(indices, names)
    return indices, names


def _encoder(labels: npt.NDArray[Any], classes: Sequence[object] | None) -> LabelEncoder:
    return LabelEncoder().fit(labels if classes is None else np.arange(len(classes)))


def split_rows(indices: npt.NDArray[Any], classes: Sequence[str], seed: int) -> tuple[Any, Any, Any]:
    """Return the rows of 60 % train, 20 % validation and 20 % test, stratified by class."""
    rows = np.arange(len(indices))
    by_class = indices if classes else None
    train, held_out = train_test_split(rows, train_size=0.6, stratify=by_class, random_state=seed)
    of_rest = None if by_class is None else by_class[held_out]
    selection, test = train_test_split(held_out, test_size=0.5, stratify=of_rest, random_state=seed)
    return train, selection, test


@contextmanager
def naming_source(sources: Mapping[str, tuple[str, str]]) -> Iterator[None]:
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
