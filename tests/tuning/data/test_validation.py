"""Test which arrays are refused as the data of a classification, and with which message."""

import numpy as np
import numpy.typing as npt
import pytest
from keras_initx.tuning.data import from_arrays

from keras_initx import InitxError
from tests.support.datasets import ROWS, X, Y, assert_message


@pytest.mark.parametrize(
    ("x", "fragments"),
    [
        (X[:, 0], ("(20,)", "(rows, features)", "reshape(-1, 1)")),
        (X[:0], ("(0, 2)", "without a dimension of 0")),
        (X[:, :0], ("(20, 0)", "without a dimension of 0")),
        (X.astype(str), ("dtype <U", "real numbers", "Encode or drop")),
        (X.astype(object), ("dtype object", "real numbers", "Encode or drop")),
        (X.astype(complex), ("dtype complex128", "real numbers", "Encode or drop")),
        ([[1.0], [1.0, 2.0]], ("different shapes", "one shape", "Pad or cut")),
        (np.where(X == 7, np.nan, X), ("nan at index (3, 1)", "finite", "Drop the row or fill in")),
        (np.where(X == 8, -np.inf, X), ("-inf at index (4, 0)", "finite", "Drop the row or fill in")),
        (np.where(X == 8, 1e39, X), ("1e+39 at index (4, 0)", "float32", "Drop the row or fill in")),
    ],
)
def test_rejects_features(x: npt.ArrayLike, fragments: tuple[str, ...]) -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(x, Y)
    assert_message(caught.value, "x", *fragments)


@pytest.mark.parametrize(
    ("y", "fragments"),
    [
        (Y[:-1], ("got 19", "each of the 20 rows", "same rows")),
        (0, ("got ()", "(rows,)", "one class label for each row")),
        (np.zeros((ROWS, 2)), ("(20, 2)", "one-hot", "one class label for each row")),
        (np.ones((ROWS, 2)), ("(20, 2)", "one-hot", "one class label for each row")),
        (np.full((ROWS, 2), (0.7, 0.3)), ("(20, 2)", "one-hot", "one class label for each row")),
        (np.zeros((ROWS, 2, 1)), ("(20, 2, 1)", "(rows,)", "one class label for each row")),
        (np.zeros((0, 0)), ("(0, 0)", "(rows,)", "one class label for each row")),
        (np.where(Y == 0, "a", "b").astype(bytes), ("dtype |S1", "numbers or strings", "y.astype(str)")),
        (np.array(["a", 1] * 10, object), ("dtype object", "numbers or strings", "y.astype(str)")),
        ([None, "a"] * 10, ("nan at index 0", "label for every row", "Drop the rows")),
        (np.array(["a", np.nan] * 10, object), ("nan at index 1", "every row", "Drop the rows")),
        (["a", " "] * 10, ("at index 1", "label for every row", "Drop the rows")),
        (["a", ""] * 10, ("empty string at index 1", "every row", "Drop the rows")),
        ([1.0, np.inf] * 10, ("inf at index 1", "label for every row", "Drop the rows")),
        (np.zeros(ROWS), ("only '0'", "at least two classes", "Check that this is the label")),
        (
            ["rare"] * 4 + ["usual"] * 16,
            ("class 'rare' with 4 of 20 rows", "at least 5", "merge the class with another or drop it"),
        ),
    ],
)
def test_rejects_labels(y: npt.ArrayLike, fragments: tuple[str, ...]) -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(X, y)
    assert_message(caught.value, "y", *fragments)


@pytest.mark.parametrize("rows", [11, 60])
def test_rejects_a_continuous_target(rows: int) -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(np.zeros((rows, 1)), np.arange(rows) / 7)
    figures = f"{rows} different fractions in {rows} rows"
    assert_message(caught.value, "y", figures, "contain class labels", "Bin", "`task=regression`")


def test_ten_fractions_are_too_small_classes_and_not_continuous() -> None:
    with pytest.raises(InitxError, match=r"^`y` must have at least 5 rows .* with 1 of 10 rows"):
        from_arrays(np.zeros((10, 1)), np.arange(10) / 7)


@pytest.mark.parametrize("y", [Y + 1, Y - 1, np.where(Y == 0, "a", "b"), Y * 0.5])
def test_rejects_labels_that_are_no_index_into_classes(y: npt.NDArray) -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(X, y, classes=["a", "b"])
    assert_message(caught.value, "y", "the classes 0, 1", "leave out `classes`")


def test_rejects_empty_classes() -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(X, Y, classes=[])
    assert_message(caught.value, "y", "leave out `classes`")


def test_rejects_a_class_without_rows() -> None:
    with pytest.raises(InitxError) as caught:
        from_arrays(X, Y, classes=["a", "b", "c"])
    assert_message(caught.value, "y", "class 'c' with 0 of 20 rows", "drop it")


@pytest.mark.parametrize(
    ("y", "remedy"),
    [
        (np.linspace(0, 9, ROWS).astype(str), r"Convert it with y\.astype\(float\)\."),
        (np.array(["n/a", *np.linspace(0, 9, ROWS - 1).astype(str)]), "Correct it, or drop its row."),
        (np.array(["a", "b"] * 10), "Predict their classes."),
    ],
)
def test_a_regression_on_text(y: npt.NDArray, remedy: str) -> None:
    with pytest.raises(InitxError, match=rf"^`y` must be numbers for a regression, got .* 0\. {remedy}$"):
        from_arrays(X, y, task="regression")
