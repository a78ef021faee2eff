"""Test the shipped data sets, and the split of a user's arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from keras_initx.tuning.data import DATASETS, Dataset, from_arrays, load_dataset
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from keras_initx import InitxError
from tests.support.datasets import ROWS, X, Y, assert_message, assert_same, parts

pytestmark = pytest.mark.check


class TestLoadDataset:
    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("digits", "digits: 1797 images of 8x8, 10 classes (1078 train / 359 validation / 360 test)"),
            ("wine", "wine: 178 rows of 13 features, 3 classes (106 train / 36 validation / 36 test)"),
            (
                "breast_cancer",
                "breast_cancer: 569 rows of 30 features, 2 classes (341 train / 114 validation / 114 test)",
            ),
            ("iris", "iris: 150 rows of 4 features, 3 classes (90 train / 30 validation / 30 test)"),
        ],
    )
    def test_describe_returns_one_line(self, name: str, line: str) -> None:
        assert load_dataset(name).describe() == line

    def test_table_holds_the_four_shipped_sets(self) -> None:
        assert set(DATASETS) == {"digits", "wine", "breast_cancer", "iris"}

    @pytest.mark.parametrize(
        ("name", "load"),
        [
            ("digits", load_digits),
            ("wine", load_wine),
            ("breast_cancer", load_breast_cancer),
            ("iris", load_iris),
        ],
    )
    def test_rows_keep_raw_values_and_labels(self, name: str, load: Callable[..., Any]) -> None:
        data, bunch = load_dataset(name), load()
        found = sorted(
            (*row.ravel().tolist(), data.classes[index])
            for x, y in parts(data)
            for row, index in zip(x, y, strict=True)
        )
        expected = sorted(
            (*row.tolist(), str(bunch.target_names[index]))
            for row, index in zip(bunch.data.astype(np.float32), bunch.target, strict=True)
        )
        assert found == expected

    def test_digits_are_images_of_float32_with_int32_classes(self) -> None:
        data = load_dataset("digits")
        assert data.input_shape == (8, 8)
        assert data.n_classes == 10
        assert data.classes == tuple("0123456789")
        assert {x.dtype for x, _ in parts(data)} == {np.dtype(np.float32)}
        assert {y.dtype for _, y in parts(data)} == {np.dtype(np.int32)}
        assert data.x_train.max() == 16

    def test_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(InitxError) as caught:
            load_dataset("digit")
        assert_message(caught.value, "dataset", "'digit'", "breast_cancer, digits", "'digits'?", "load_table")


class TestSplit:
    def split(self, seed: int = 0, rows: int = 100) -> Dataset:
        labels = np.where(np.arange(rows) % 5 == 0, "rare", "usual")
        return from_arrays(np.arange(rows)[:, None], labels, seed=seed)

    def test_is_60_20_20_and_stratified(self) -> None:
        counts = [np.bincount(y).tolist() for _, y in parts(self.split())]
        assert counts == [[12, 48], [4, 16], [4, 16]]

    def test_is_disjoint_and_covers_all_rows(self) -> None:
        rows = np.concatenate([x.ravel() for x, _ in parts(self.split())])
        assert sorted(rows) == list(range(100))

    def test_keeps_each_label_with_its_row(self) -> None:
        data = self.split()
        for x, y in parts(data):
            labels = [data.classes[index] for index in y]
            assert labels == ["usual" if row % 5 else "rare" for row in x.ravel()]

    def test_is_the_same_on_every_call(self) -> None:
        assert_same(self.split(), self.split())

    def test_differs_for_another_seed(self) -> None:
        train, other = self.split(seed=0).x_train, self.split(seed=1).x_train
        assert set(train.ravel()) != set(other.ravel())

    def test_gives_every_part_some_rows_of_the_smallest_classes(self) -> None:
        # Classes of every size from the smallest allowed on, in mixes that do not divide evenly.
        generator = np.random.default_rng(0)
        for seed in range(60):
            sizes = [5, *generator.integers(5, 24, size=generator.integers(1, 6))]
            labels = np.repeat(np.arange(len(sizes)), sizes)
            data = from_arrays(np.zeros((len(labels), 1)), labels, seed=seed)
            assert [len(set(y.tolist())) for _, y in parts(data)] == [len(sizes)] * 3

    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_rejects_a_seed_out_of_range(self, seed: int) -> None:
        with pytest.raises(InitxError) as caught:
            self.split(seed=seed)
        assert_message(caught.value, "seed", str(seed), "must be an integer from 0 to 4294967295")


class TestFromArrays:
    def test_does_not_change_or_share_the_caller_arrays(self) -> None:
        x = X.astype(np.float32)
        data = from_arrays(x, Y)
        data.x_train[:] = -1
        np.testing.assert_array_equal(x, X)

    def test_string_labels_are_sorted_and_map_back(self) -> None:
        labels = np.array(["owl", "cat"])[Y]
        data = from_arrays(X, labels)
        assert data.classes == ("cat", "owl")
        for x, y in parts(data):
            assert [data.classes[i] for i in y] == [labels[int(row) // 2] for row in x[:, 0]]

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            (np.where(Y == 0, 10, 9), ("9", "10")),
            (np.where(Y == 0, 10.0, 9.0), ("9", "10")),
            (np.where(Y == 0, 0.5, 1.0), ("0.5", "1")),
            (Y == 1, ("False", "True")),
            (np.where(Y == 0, "x", "y").astype(object), ("x", "y")),
            (Y.astype(object), ("0", "1")),
        ],
    )
    def test_class_names_are_the_labels_as_written(
        self, labels: npt.NDArray, classes: tuple[str, ...]
    ) -> None:
        data = from_arrays(X, labels)
        assert data.classes == classes
        assert sorted(np.concatenate([y for _, y in parts(data)])) == [0] * 10 + [1] * 10

    def test_classes_name_the_indices_in_their_order(self) -> None:
        data = from_arrays(X, Y, classes=["zebra", "ape"])
        assert data.classes == ("zebra", "ape")
        assert [data.classes[i] for i in data.y_train] == [
            ("zebra", "ape")[int(row) // 2 % 2] for row in data.x_train[:, 0]
        ]

    @pytest.mark.parametrize("labels", [Y[:, None], np.eye(2)[Y], np.eye(2, dtype=bool)[Y]])
    def test_column_and_one_hot_labels_equal_flat_ones(self, labels: npt.NDArray) -> None:
        assert_same(from_arrays(X, labels), from_arrays(X, Y))

    def test_images_and_single_features_describe_themselves(self) -> None:
        assert "20 images of 4x4x3, 2 classes" in from_arrays(np.zeros((ROWS, 4, 4, 3)), Y).describe()
        assert from_arrays(X[:, :1], Y, name="one").describe() == (
            "one: 20 rows of 1 feature, 2 classes (12 train / 4 validation / 4 test)"
        )

    def test_many_whole_numbers_are_classes(self) -> None:
        labels = np.repeat(np.arange(60.0), 5)
        assert from_arrays(np.zeros((300, 1)), labels).n_classes == 60

    def test_few_fractions_are_classes(self) -> None:
        labels = np.repeat(np.arange(50) / 7, 5)
        assert from_arrays(np.zeros((250, 1)), labels).n_classes == 50

    def test_frozen(self) -> None:
        with pytest.raises(AttributeError):
            from_arrays(X, Y).name = "other"  # type: ignore[misc]


class TestTestPart:
    def test_is_kept_in_order_and_the_rest_split_75_to_25(self) -> None:
        x_test, y_test = -X[:7], 1 - Y[:7]
        data = from_arrays(X, Y, x_test=x_test, y_test=y_test)
        np.testing.assert_array_equal(data.x_test, x_test)
        np.testing.assert_array_equal(data.y_test, y_test)
        assert sorted(np.concatenate([data.x_train, data.x_validation])[:, 0]) == sorted(X[:, 0])
        assert (len(data.y_train), len(data.y_validation)) == (15, 5)

    def test_may_lack_a_class_and_is_encoded_as_the_training_labels(self) -> None:
        data = from_arrays(X, np.array(["cat", "dog"])[Y], x_test=X[:2], y_test=["dog", "dog"])
        assert data.y_test.tolist() == [1, 1]
        assert data.y_test.dtype == np.int32

    @pytest.mark.parametrize(
        ("x_test", "y_test", "argument", "fragments"),
        [
            (X, None, "y_test", ("is missing", "together", "Pass both or neither")),
            (None, Y, "x_test", ("is missing", "together", "Pass both or neither")),
            (X[:, :1], Y, "x_test", ("(1,)", "(2,)", "Prepare both in the same way")),
            (X[:0], Y[:0], "x_test", ("(0, 2)", "without a dimension of 0")),
            (X, Y[:3], "y_test", ("got 3", "each of the 20 rows", "same rows")),
            (X, Y + 1, "y_test", ("got 2.", "the classes 0, 1", "rows of every class in `y`")),
            (X, Y.astype(str), "y_test", ("the classes 0, 1", "Correct the labels")),
        ],
    )
    def test_rejects(
        self,
        x_test: npt.ArrayLike | None,
        y_test: npt.ArrayLike | None,
        argument: str,
        fragments: tuple[str, ...],
    ) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(X, Y, x_test=x_test, y_test=y_test)
        assert_message(caught.value, argument, *fragments)


class TestRegression:
    def test_targets_are_kept(self) -> None:
        targets = np.linspace(-1, 1, ROWS)
        data = from_arrays(X, targets, task="regression")
        assert (data.classes, data.n_classes, data.y_train.dtype) == ((), 0, np.float32)
        for x, y in parts(data):
            np.testing.assert_allclose(y, targets[(x[:, 0] / 2).astype(int)], rtol=1e-6)
        assert data.describe().endswith("of a target from -1 to 1 (12 train / 4 validation / 4 test)")

    def test_keeps_the_test_part(self) -> None:
        data = from_arrays(X, X[:, 0] / 7, x_test=X[:3], y_test=[0.5, 1, 2], task="auto")
        np.testing.assert_array_equal(data.y_test, np.float32([0.5, 1, 2]))
        assert (len(data.y_train), len(data.y_validation)) == (15, 5)

    def test_one_column_is_one_target(self) -> None:
        assert from_arrays(X, X[:, :1] / 7, task="auto").y_train.shape == (12,)
