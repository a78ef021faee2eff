"""The data sets, the file readers and the split."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from keras_initx.tuning.data.dataset import DATASETS, Dataset, from_arrays, load_csv, load_dataset, load_npz
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from keras_initx.errors import InitxError

ROWS = 20
X = np.arange(ROWS * 2, dtype=np.float64).reshape(ROWS, 2)
Y = np.arange(ROWS) % 2


def parts(data: Dataset) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]]:
    return [
        (data.x_train, data.y_train),
        (data.x_validation, data.y_validation),
        (data.x_test, data.y_test),
    ]


def assert_same(one: Dataset, other: Dataset) -> None:
    for (x, y), (other_x, other_y) in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def csv_text(header: str = "a,b,label", rows: list[str] | None = None) -> str:
    rows = [f"{i},{i}.5,{'cat' if i % 2 else 'dog'}" for i in range(ROWS)] if rows is None else rows
    return "\n".join([header, *rows]) + "\n"


def with_row(row: str) -> str:
    """A CSV in which line 4 is `row`."""
    lines = csv_text().splitlines()
    lines[3] = row
    return "\n".join(lines)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_message(error: InitxError, argument: str, *fragments: str) -> None:
    message = str(error)
    assert message.startswith(f"{argument}: ")
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


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
    def test_describes_itself_in_one_line(self, name: str, line: str) -> None:
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
        assert_message(caught.value, "dataset", "'digit'", "breast_cancer, digits", "'digits'?", "--csv")


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
        assert_message(caught.value, "seed", str(seed), "0 to 4294967295")


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

    @pytest.mark.parametrize(
        ("x", "fragments"),
        [
            (X[:, 0], ("(20,)", "(rows, features)", "reshape(-1, 1)")),
            (X[:0], ("(0, 2)", "none of them 0")),
            (X[:, :0], ("(20, 0)", "none of them 0")),
            (X.astype(str), ("type <U", "real numbers", "Encode or drop")),
            (X.astype(object), ("type object", "real numbers", "Encode or drop")),
            (X.astype(complex), ("type complex128", "real numbers", "Encode or drop")),
            ([[1.0], [1.0, 2.0]], ("different shapes", "one shape", "Pad or cut")),
            (np.where(X == 7, np.nan, X), ("nan at index (3, 1)", "finite", "Drop the row or fill in")),
            (np.where(X == 8, -np.inf, X), ("-inf at index (4, 0)", "finite", "Drop the row or fill in")),
            (np.where(X == 8, 1e39, X), ("1e+39 at index (4, 0)", "float32", "Drop the row or fill in")),
        ],
    )
    def test_rejects_features(self, x: npt.ArrayLike, fragments: tuple[str, ...]) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(x, Y)
        assert_message(caught.value, "x", *fragments)

    @pytest.mark.parametrize(
        ("y", "fragments"),
        [
            (Y[:-1], ("19 labels", "each of the 20 rows", "same rows")),
            (0, ("shape ()", "(rows,)", "one class label for each row")),
            (np.zeros((ROWS, 2)), ("(20, 2)", "one-hot", "one class label for each row")),
            (np.ones((ROWS, 2)), ("(20, 2)", "one-hot", "one class label for each row")),
            (np.full((ROWS, 2), (0.7, 0.3)), ("(20, 2)", "one-hot", "one class label for each row")),
            (np.zeros((ROWS, 2, 1)), ("(20, 2, 1)", "(rows,)", "one class label for each row")),
            (np.zeros((0, 0)), ("(0, 0)", "(rows,)", "one class label for each row")),
            (np.where(Y == 0, "a", "b").astype(bytes), ("type |S1", "numbers or strings", "y.astype(str)")),
            (np.array(["a", 1] * 10, object), ("type object", "numbers or strings", "y.astype(str)")),
            ([None, "a"] * 10, ("nan at index 0", "label for every row", "Drop the rows")),
            (np.array(["a", np.nan] * 10, object), ("nan at index 1", "every row", "Drop the rows")),
            (["a", " "] * 10, ("at index 1", "label for every row", "Drop the rows")),
            (["a", ""] * 10, ("empty string at index 1", "every row", "Drop the rows")),
            ([1.0, np.inf] * 10, ("inf at index 1", "label for every row", "Drop the rows")),
            (np.zeros(ROWS), ("single class '0'", "at least two classes", "Check that this is the label")),
            (
                ["rare"] * 4 + ["usual"] * 16,
                ("class 'rare' with 4 of 20 rows", "at least 5", "merge the class with another or drop it"),
            ),
        ],
    )
    def test_rejects_labels(self, y: npt.ArrayLike, fragments: tuple[str, ...]) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(X, y)
        assert_message(caught.value, "y", *fragments)

    def test_rejects_a_continuous_target(self) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(np.zeros((60, 1)), np.arange(60) / 7)
        assert_message(caught.value, "y", "60 different fractions in 60 rows", "classification only", "Bin")

    def test_fifty_fractions_are_too_small_classes_and_not_continuous(self) -> None:
        with pytest.raises(InitxError, match=r"^y: .*with 1 of 50 rows"):
            from_arrays(np.zeros((50, 1)), np.arange(50) / 7)

    @pytest.mark.parametrize("y", [Y + 1, Y - 1, np.where(Y == 0, "a", "b"), Y * 0.5])
    def test_rejects_labels_that_are_no_index_into_classes(self, y: npt.NDArray) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(X, y, classes=["a", "b"])
        assert_message(caught.value, "y", "the classes 0, 1", "leave `classes` out")

    def test_rejects_empty_classes(self) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(X, Y, classes=[])
        assert_message(caught.value, "y", "leave `classes` out")

    def test_rejects_a_class_without_rows(self) -> None:
        with pytest.raises(InitxError) as caught:
            from_arrays(X, Y, classes=["a", "b", "c"])
        assert_message(caught.value, "y", "class 'c' with 0 of 20 rows", "drop it")


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
            (X, None, "y_test", ("None", "together", "Pass both or neither")),
            (None, Y, "x_test", ("None", "together", "Pass both or neither")),
            (X[:, :1], Y, "x_test", ("(1,)", "(2,)", "Prepare both alike")),
            (X[:0], Y[:0], "x_test", ("(0, 2)", "none of them 0")),
            (X, Y[:3], "y_test", ("3 labels", "20 rows", "same rows")),
            (X, Y + 1, "y_test", ("received 2;", "the classes 0, 1", "rows of every class in `y`")),
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


class TestLoadCsv:
    def test_values_arrive_unchanged(self, tmp_path: Path) -> None:
        path = write(tmp_path / "pets.csv", csv_text(rows=[f"{i / 7},{i % 2},{-i}e-3" for i in range(ROWS)]))
        table = np.genfromtxt(path, delimiter=",", skip_header=1)
        data = load_csv(path, "b")
        assert data.name == "pets"
        assert data.classes == ("0", "1")
        found = np.concatenate([np.column_stack([x, y]) for x, y in parts(data)])
        expected = table[:, [0, 2, 1]].astype(np.float32)
        np.testing.assert_array_equal(found[found[:, 0].argsort()], expected)

    def test_string_labels_map_back(self, tmp_path: Path) -> None:
        data = load_csv(write(tmp_path / "a.csv", csv_text()), "label")
        assert data.classes == ("cat", "dog")
        for x, y in parts(data):
            assert [data.classes[i] for i in y] == ["cat" if row % 2 else "dog" for row in x[:, 0]]

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace("\n", "\n\n"),
            lambda text: text.replace(",", " , "),
            lambda text: text.replace(",dog", ',"dog"').replace("a,b", '"a",b'),
            lambda text: text.replace(",dog", ', "dog"'),
            lambda text: text.rstrip("\n"),
        ],
        ids=["crlf", "blank lines", "spaces", "quotes", "space before quote", "no last newline"],
    )
    def test_spelling_of_the_file_makes_no_difference(
        self, tmp_path: Path, change: Callable[[str], str]
    ) -> None:
        plain = load_csv(write(tmp_path / "a.csv", csv_text()), "label")
        changed = load_csv(write(tmp_path / "b.csv", change(csv_text())), "label")
        assert changed.classes == plain.classes
        assert_same(changed, plain)

    def test_byte_order_mark_is_no_part_of_the_first_name(self, tmp_path: Path) -> None:
        text = csv_text("\ufefflabel,a", [f"{i % 2},{i}" for i in range(ROWS)])
        assert load_csv(write(tmp_path / "a.csv", text), "label").input_shape == (1,)

    def test_inf_beside_numbers_is_a_string_label(self, tmp_path: Path) -> None:
        text = csv_text("a,label", [f"{i},{('1.0', 'inf')[i % 2]}" for i in range(ROWS)])
        assert load_csv(write(tmp_path / "a.csv", text), "label").classes == ("1.0", "inf")

    def test_number_labels_are_compared_as_numbers(self, tmp_path: Path) -> None:
        rows = [f"{i},{('10', '9', '9.0')[i % 3]}" for i in range(ROWS)]
        assert load_csv(write(tmp_path / "a.csv", csv_text("a,label", rows)), "label").classes == ("9", "10")

    def test_underscores_make_a_label_a_string(self, tmp_path: Path) -> None:
        rows = [f"{i},{('1_2', '12')[i % 2]}" for i in range(ROWS)]
        assert load_csv(write(tmp_path / "a.csv", csv_text("a,label", rows)), "label").classes == (
            "12",
            "1_2",
        )

    @pytest.mark.parametrize(
        ("content", "fragments"),
        [
            ("", ("empty file", "header row", "Check the path")),
            ("\n\n", ("empty file", "header row", "Check the path")),
            ("a,label\n", ("header and no rows", "data rows", "Add rows")),
            (b"\x89PNG\r\n\xff\xfe", ("UTF-8", "Save it as such")),
            ('a,label\n1,"x\n', ("comma-separated cells", "Save it as such")),
            (csv_text(rows=["1," + "9" * 140_000 + ",cat"]), ("comma-separated cells", "field limit")),
            (csv_text("a,a,label"), ("'a' more than once", "unique", "Rename")),
            (csv_text("label,b,label"), ("'label' more than once", "unique", "Rename")),
            (csv_text(",b,label"), ("column 1 without a name", "every column", "index=False")),
            (
                csv_text("label", ["cat"] * 9),
                ("target column only", "at least one feature", "Add the columns"),
            ),
            (with_row("1,2"), ("2 cells in line 4", "3 cells in every row", "Correct the row")),
            (with_row("1"), ("1 cell in line 4", "3 cells in every row", "Correct the row")),
            (with_row("1,2,3,4"), ("4 cells in line 4", "3 cells in every row", "quote cells")),
            (with_row("1,red,cat"), ("red in column 'b', line 4", "numbers", "Encode the column", "drop")),
            (with_row("1,1_0,cat"), ("1_0 in column 'b', line 4", "numbers", "Encode the column")),
            (
                with_row("1, \t,cat"),
                ("empty cell in column 'b', line 4", "finite", "Drop the row or fill in"),
            ),
            (with_row("NaN,2,cat"), ("NaN in column 'a', line 4", "finite", "Drop the row or fill in")),
            (with_row("-inf,2,cat"), ("-inf in column 'a', line 4", "finite", "Drop the row or fill in")),
            (with_row("1e39,2,cat"), ("1e39 in column 'a', line 4", "float32", "Drop the row or fill in")),
        ],
    )
    def test_rejects_the_file(self, tmp_path: Path, content: str | bytes, fragments: tuple[str, ...]) -> None:
        with pytest.raises(InitxError) as caught:
            load_csv(write(tmp_path / "a.csv", content), "label")
        assert_message(caught.value, "--csv", *fragments)

    @pytest.mark.parametrize(
        ("content", "fragments"),
        [
            (csv_text("a,b,labels"), ("'label'", "a, b, labels", "'labels'?")),
            (csv_text("0,1,2"), ("'label'", "0, 1, 2", "first row must name the columns")),
            ("a;label\n1;2\n", ("'label'", "separated by commas")),
            (with_row("1,2,"), ("empty cell in column 'label', line 4", "every row", "Drop the rows")),
            (with_row("1,2,nan"), ("nan in column 'label', line 4", "every row", "Drop the rows")),
            (with_row("1,2,owl"), ("label: class 'owl' with 1 of 20 rows", "at least 5", "drop it")),
            (csv_text("a,label", ["1,cat"] * 9), ("label: the single class 'cat'", "two classes")),
            (
                csv_text("a,label", [f"1,{i}.5" for i in range(60)]),
                ("label: 60 different fractions", "classification only", "Bin the target"),
            ),
        ],
    )
    def test_rejects_the_target(self, tmp_path: Path, content: str, fragments: tuple[str, ...]) -> None:
        with pytest.raises(InitxError) as caught:
            load_csv(write(tmp_path / "a.csv", content), "label")
        assert_message(caught.value, "--target", *fragments)

    def test_counts_lines_of_the_file_not_rows(self, tmp_path: Path) -> None:
        text = 'a,b,"la\nbel"\n\n1,2,cat\n1,x,cat\n'
        with pytest.raises(InitxError, match="x in column 'b', line 5"):
            load_csv(write(tmp_path / "a.csv", text), "la bel")


class TestLoadNpz:
    def save(self, tmp_path: Path, **arrays: npt.ArrayLike) -> Path:
        np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        return tmp_path / "a.npz"

    @pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train")])
    def test_is_split_as_the_arrays_are(self, tmp_path: Path, names: tuple[str, str]) -> None:
        data = load_npz(self.save(tmp_path, **dict(zip(names, (X, Y), strict=True)), other=X))
        assert data.name == "a"
        assert_same(data, from_arrays(X, Y))

    def test_array_order_and_compression_make_no_difference(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "b.npz", y_test=Y, x_test=-X, y_train=Y, x_train=X)
        assert_same(load_npz(tmp_path / "b.npz"), from_arrays(X, Y, x_test=-X, y_test=Y))

    def test_keeps_the_test_part(self, tmp_path: Path) -> None:
        images = np.arange(ROWS * 4, dtype=np.uint8).reshape(ROWS, 2, 2)
        data = load_npz(self.save(tmp_path, x_train=images, y_train=Y, x_test=images[:3] + 90, y_test=Y[:3]))
        assert data.input_shape == (2, 2)
        np.testing.assert_array_equal(data.x_test, images[:3] + 90)
        np.testing.assert_array_equal(data.y_test, Y[:3])
        assert sorted(np.concatenate([data.x_train, data.x_validation]).ravel()) == list(range(ROWS * 4))

    def test_one_hot_and_column_labels(self, tmp_path: Path) -> None:
        plain = from_arrays(X, Y)
        assert_same(load_npz(self.save(tmp_path, x=X, y=np.eye(2)[Y])), plain)
        assert_same(load_npz(self.save(tmp_path, x=X, y=Y[:, None])), plain)

    @pytest.mark.parametrize(
        ("arrays", "fragments"),
        [
            ({}, ("no arrays", "x and y", "numpy.savez")),
            ({"a": X, "b": Y}, ("the arrays a, b", "x and y, or x_train and y_train", "numpy.savez")),
            ({"x": X, "y_train": Y}, ("the arrays x, y_train", "x and y", "numpy.savez")),
            ({"x": X, "y": Y, "x_train": X, "y_train": Y}, ("x, x_train, y, y_train", "either", "savez")),
            ({"x": X, "y": Y.astype(object)}, ("a.npz", "without Python objects", "arrays of numbers")),
            ({"x": X, "y": Y, "x_test": X}, ("y_test: None", "together", "both or neither")),
            ({"x": X[:, 0], "y": Y}, ("x: shape (20,)", "(rows, features)", "reshape")),
            ({"x_train": X * np.nan, "y_train": Y}, ("x_train: nan at index (0, 0)", "finite", "Drop")),
            ({"x_train": X, "y_train": Y[:-1]}, ("y_train: 19 labels", "20 rows", "same rows")),
            ({"x": X, "y": Y * 0}, ("y: the single class '0'", "two classes", "Check")),
            ({"x": X, "y": Y, "x_test": X, "y_test": Y + 5}, ("y_test: 5", "the classes 0, 1", "Correct")),
        ],
    )
    def test_rejects_arrays(
        self, tmp_path: Path, arrays: dict[str, npt.NDArray], fragments: tuple[str, ...]
    ) -> None:
        with pytest.raises(InitxError) as caught:
            load_npz(self.save(tmp_path, **arrays))
        assert_message(caught.value, "--npz", *fragments)

    def saved(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=X, y=Y)
        return buffer.getvalue()

    def single(self) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, X)
        return buffer.getvalue()

    @pytest.mark.parametrize("kind", ["empty", "text", "truncated", "single array", "damaged"])
    def test_rejects_a_file_that_is_no_npz(self, tmp_path: Path, kind: str) -> None:
        whole = self.saved()
        content = {
            "empty": b"",
            "text": b"a,b\n1,2\n",
            "truncated": whole[:-30],
            "single array": self.single(),
            "damaged": whole[:60] + b"\xff" * 40 + whole[100:],
        }[kind]
        with pytest.raises(InitxError) as caught:
            load_npz(write(tmp_path / "a.npz", content))
        assert_message(caught.value, "--npz", "a.npz", "an intact npz file", "numpy.savez")

    def test_rejects_a_zip_of_something_else(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x", "text")
            archive.writestr("y", "text")
        with pytest.raises(InitxError) as caught:
            load_npz(tmp_path / "a.npz")
        assert_message(caught.value, "--npz", "x: an array of type", "real numbers")

    def test_no_damage_leaks_another_exception(self, tmp_path: Path) -> None:
        whole = self.saved()
        generator = np.random.default_rng(0)
        rejected = 0
        for _ in range(200):
            damaged = bytearray(whole)
            damaged[generator.integers(len(whole))] = generator.integers(256)
            try:
                load_npz(write(tmp_path / "a.npz", bytes(damaged)))
            except InitxError:
                rejected += 1
        assert rejected > 100


@pytest.mark.parametrize(
    ("option", "load"),
    [("--csv", lambda path: load_csv(path, "label")), ("--npz", load_npz)],
    ids=["csv", "npz"],
)
class TestUnreadableFile:
    def test_missing(self, tmp_path: Path, option: str, load: Callable[..., Any]) -> None:
        with pytest.raises(InitxError) as caught:
            load(tmp_path / "none")
        assert_message(caught.value, option, "none", "a readable file", "No such file", "check the path")

    def test_folder(self, tmp_path: Path, option: str, load: Callable[..., Any]) -> None:
        with pytest.raises(InitxError) as caught:
            load(tmp_path)
        assert_message(caught.value, option, "a readable file", "Is a directory", "check the path")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
    def test_forbidden(self, tmp_path: Path, option: str, load: Callable[..., Any]) -> None:
        path = write(tmp_path / "a", csv_text())
        path.chmod(0)
        with pytest.raises(InitxError) as caught:
            load(path)
        assert_message(caught.value, option, "a readable file", "Permission denied", "its permissions")
