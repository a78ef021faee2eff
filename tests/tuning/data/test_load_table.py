"""Test `load_table`: the target, the task, the split, and that only training rows shape the features."""

from pathlib import Path

import numpy as np
import pytest
from keras_initx.tuning.data import load_table

from keras_initx import InitxError
from tests.support.datasets import ROWS, assert_message, csv_text, parts, with_row, write

pytestmark = pytest.mark.check


def test_string_labels_map_back(tmp_path: Path) -> None:
    data = load_table(write(tmp_path / "pets.csv", csv_text()), "label", index="none")
    assert (data.name, data.classes) == ("pets", ("cat", "dog"))
    first = np.concatenate([x for x, _ in parts(data)])[:, 0]
    # The first column counts the rows, and was standardized.
    rows = np.argsort(np.argsort(first))
    labels = [data.classes[i] for i in np.concatenate([y for _, y in parts(data)])]
    assert labels == ["cat" if row % 2 else "dog" for row in rows]


def test_features_are_standardized_by_the_training_rows(tmp_path: Path) -> None:
    data = load_table(write(tmp_path / "a.csv", csv_text()), "label", index="none")
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1, atol=1e-6)
    assert abs(data.x_test.mean()) > 1e-3


def test_only_training_rows_have_categories_of_their_own(tmp_path: Path) -> None:
    rows = [f"c{i // 2},{i % 2}" for i in range(40)]
    data = load_table(write(tmp_path / "a.csv", csv_text("c,y", rows)), "y")
    assert data.x_train[:, 0].sum() == 0
    known = data.x_train.any(axis=0)
    known[0] = True
    assert not np.concatenate([data.x_validation, data.x_test])[:, ~known].any()


def test_numbers_are_classes_as_the_file_spells_them(tmp_path: Path) -> None:
    rows = [f"{i + 5},{('10', '9', '9.0')[i % 3]}" for i in range(ROWS)]
    assert load_table(write(tmp_path / "a.csv", csv_text("a,y", rows)), "y").classes == ("9", "10")
    rows = [f"{i + 5},{('1_2', '12')[i % 2]}" for i in range(ROWS)]
    assert load_table(write(tmp_path / "b.csv", csv_text("a,y", rows)), "y").classes == ("12", "1_2")


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        ([str(i % 50) for i in range(260)], "classification"),
        ([str(i % 51) for i in range(260)], "regression"),
        ([f"{i % 10}.5" for i in range(60)], "classification"),
        ([f"{i % 11}.5" for i in range(60)], "regression"),
        ([f"{i % 11}.0" for i in range(60)], "classification"),
        (["yes", "no"] * 30, "classification"),
    ],
)
def test_many_different_numbers_are_a_regression_and_it_says_so(
    tmp_path: Path, cells: list[str], task: str
) -> None:
    rows = [f"{i + 5},{cell}" for i, cell in enumerate(cells)]
    data = load_table(write(tmp_path / "a.csv", csv_text("a,y", rows)), "y")
    assert bool(data.classes) == (task == "classification")
    assert any("regression" in note for note in data.notes) == (task == "regression")
    assert ("regression of a target from" in data.describe()) == (task == "regression")
    targets = np.concatenate([y for _, y in parts(data)])
    if task == "regression":
        np.testing.assert_array_equal(np.sort(targets), np.sort(np.array(cells, np.float32)))
    assert targets.dtype == (np.float32 if task == "regression" else np.int32)


def test_a_note_on_the_task_offers_classes_only_where_they_can_be_trained(tmp_path: Path) -> None:
    columns = {"many": [str(i % 60) for i in range(360)], "few": [str(i % 60) for i in range(120)]}
    columns |= {"measured": [f"{i}.5" for i in range(120)], "graded": [f"{i % 12}.5" for i in range(120)]}
    for name, cells in columns.items():
        path = write(tmp_path / f"{name}.csv", csv_text("a,y", [f"{i + 5},{c}" for i, c in enumerate(cells)]))
        offered = any("task=classification" in note for note in load_table(path, "y").notes)
        assert offered == (name in ("many", "graded"))
        if offered:
            assert load_table(path, "y", "classification").classes
        else:
            with pytest.raises(InitxError):
                load_table(path, "y", "classification")


def test_the_task_may_be_named(tmp_path: Path) -> None:
    rows = [f"{i + 5},{i % 60}" for i in range(360)]
    path = write(tmp_path / "a.csv", csv_text("a,y", rows))
    assert load_table(path, "y").n_classes == 0
    data = load_table(path, "y", "classification")
    assert (data.n_classes, data.notes) == (60, ())
    rows = [f"{i + 5},{i % 3}" for i in range(60)]
    data = load_table(write(tmp_path / "b.csv", csv_text("a,y", rows)), "y", "regression")
    assert (data.n_classes, data.notes) == (0, ())


def test_columns_that_are_left_out_or_used_in_part_are_named(tmp_path: Path) -> None:
    rows = [f"{i},,one two three w{i},c{i % 130},{i % 2}" for i in range(260)]
    data = load_table(write(tmp_path / "a.csv", csv_text("id,gone,text,code,y", rows)), "y", drop=["id"])
    notes = "\n".join(data.notes)
    assert "Column 'gone' is empty and left out." in notes
    assert "Column 'text' is free text: its 500 most frequent words count." in notes
    assert "Column 'code' has 130 categories: the 100 most frequent ones count" in notes
    assert "id" not in notes


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (csv_text("a,b,labels"), ("'label'", "a, b, labels", "'labels'?")),
        (with_row("1,2,"), ("`target` 'label'", "an empty cell in line 4", "Drop the rows")),
        (with_row("1,2,nan"), ("`target` 'label'", "an empty cell in line 4", "Drop the rows")),
        (
            csv_text("a,label", ["1,cat", "2,", "3,", "4,dog"]),
            ("an empty cell in line 3, and in 1 others", "Drop the rows"),
        ),
        (with_row("1,2,owl"), ("class 'owl' with 1 of 20 rows", "at least 5", "drop it")),
        (csv_text("a,label", ["1,cat"] * 9), ("only 'cat'", "two classes")),
        (csv_text("a,label", ["1,3"] * 9), ("only '3'", "two classes")),
        (csv_text("a,label", [f"1,{i}.5" for i in range(59)] + ["1,inf"]), ("finite in float32", "inf")),
    ],
)
def test_refuses_the_target(tmp_path: Path, content: str, fragments: tuple[str, ...]) -> None:
    with pytest.raises(InitxError) as caught:
        load_table(write(tmp_path / "a.csv", content), "label", index="none")
    assert_message(caught.value, "target", *fragments)


def test_refuses_a_regression_of_words_or_of_a_constant(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", csv_text())
    with pytest.raises(InitxError, match=r"^`target` 'label' must be numbers for a regression, got 'dog'"):
        load_table(path, "label", "regression")
    path = write(
        tmp_path / "c.csv", csv_text("a,label", [*[f"1,{i}.5" for i in range(7)], "1,unknown", "1,2"])
    )
    with pytest.raises(
        InitxError, match=r"regression, got 'unknown' at index 7\. Correct it, or drop its row\."
    ):
        load_table(path, "label", "regression")
    path = write(tmp_path / "b.csv", csv_text("a,label", ["1,3"] * 9))
    with pytest.raises(InitxError, match=r"^`target` 'label' must have at least two different values"):
        load_table(path, "label", "regression")
    path = write(tmp_path / "c.csv", csv_text("a,label", ["5,3", "9,4"]))
    with pytest.raises(InitxError, match=r"^`target` 'label' must have at least 5 rows"):
        load_table(path, "label", "regression")


@pytest.mark.parametrize(
    ("content", "options", "argument", "fragments"),
    [
        (csv_text("label", ["cat"] * 9), {}, "path", ("no columns except the target 'label'",)),
        (csv_text("a,label", [",cat"] * 9), {}, "path", ("only empty columns", "Fill them in")),
        (csv_text(), {"drop": ["c"]}, "drop", ("'c'", "a, b, label")),
        (csv_text(), {"drop": ["label"]}, "drop", ("columns other than the target",)),
        (csv_text(), {"task": "regresion"}, "task", ("'regression'?",)),
        (with_row("1e39,2,cat"), {"index": "none"}, "path", ("1e+39 in column 'a', line 4", "`drop=a`")),
        (with_row("1,red,cat"), {"index": "none"}, "path", ("'red' in column 'b', line 4", "among numbers")),
        (with_row("1,1_0,cat"), {"index": "none"}, "path", ("'1_0' in column 'b', line 4", "among numbers")),
    ],
)
def test_refuses_columns_and_options(
    tmp_path: Path, content: str, options: dict, argument: str, fragments: tuple[str, ...]
) -> None:
    with pytest.raises(InitxError) as caught:
        load_table(write(tmp_path / "a.csv", content), "label", **options)
    assert_message(caught.value, argument, *fragments)


def test_counts_lines_of_the_file_not_rows(tmp_path: Path) -> None:
    text = 'a,b,"la\nbel"\n\n1,2,cat\n1,x,cat\n1,3,dog\n'
    with pytest.raises(InitxError, match=r"'x' in column 'b', line 5"):
        load_table(write(tmp_path / "a.csv", text), "la bel")
