"""Test what `read_table` makes of separators, encodings, indices and gaps, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_initx.tuning.data.tables import read_table, without_index

from keras_initx import InitxError
from tests.support.datasets import ROWS, assert_message, csv_text, with_row, write

pytestmark = pytest.mark.check

PLAIN = "city,area,price\nKöln,80.5,100\nZürich,,250.5\n,70.25,1\n"


def values(path: Path, encoding: str | None = None, index: str | None = None) -> list[list[Any]]:
    frame = without_index(read_table(path, encoding), index).frame
    return [list(frame.columns), *frame.astype(object).where(frame.notna(), None).values.tolist()]


@pytest.fixture
def expected() -> list[list[Any]]:
    return [["city", "area", "price"], ["Köln", 80.5, 100.0], ["Zürich", None, 250.5], [None, 70.25, 1.0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_and_encoding_are_found(
    tmp_path: Path, expected: Any, encoding: str, separator: str
) -> None:
    path = write(tmp_path / "a.csv", PLAIN.replace(",", separator).encode(encoding))
    assert values(path) == expected
    notes = read_table(path).notes
    assert [f"read as {encoding}" in note for note in notes] == [True] * (encoding in ("utf-16", "cp1252"))


def test_an_encoding_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "名,値\n東京,1\n大阪,2\n".encode("shift_jis"))
    assert values(path, encoding="shift_jis")[1] == ["東京", 1]
    with pytest.raises(InitxError, match=r"^`encoding` must be an encoding that Python knows"):
        read_table(path, encoding="shift")
    with pytest.raises(InitxError, match="is not utf-8 text"):
        read_table(path, encoding="utf-8")


def test_decimal_commas_need_another_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a;b;c\n1,5;1.234,5;x,y\n-2;7;z\n;,;z\n".replace(";,;", ";8;"))
    assert values(path) == [["a", "b", "c"], [1.5, 1234.5, "x,y"], [-2.0, 7.0, "z"], [None, 8.0, "z"]]


def test_text_with_other_separators_in_it(tmp_path: Path) -> None:
    rows = "".join(f'{i},"one; two; {i}",x|y\n' for i in range(3))
    path = write(tmp_path / "a.csv", "n,text,more\n" + rows)
    assert values(path, index="none")[1] == [0, "one; two; 0", "x|y"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\n\n" + text,
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("dog", '"dog"').replace("a,b", '"a",b'),
        lambda text: text.replace(",dog", ', "dog"'),
        lambda text: text.rstrip("\n"),
        lambda text: "\ufeff" + text,
    ],
    ids=["crlf", "blank", "begins blank", "spaces", "quotes", "space, quote", "no last newline", "mark"],
)
def test_spelling_of_the_file_makes_no_difference(tmp_path: Path, change: Callable[[str], str]) -> None:
    plain = values(write(tmp_path / "a.csv", csv_text()), index="none")
    assert values(write(tmp_path / "b.csv", change(csv_text())), index="none") == plain


@pytest.mark.parametrize("cell", ["", " ", " \t", "NA", "NaN", "null", "?"])
def test_a_missing_cell_leaves_a_column_of_numbers(tmp_path: Path, cell: str) -> None:
    column = read_table(write(tmp_path / "a.csv", with_row(f"1,{cell},cat"))).frame["b"]
    assert column.dtype == np.float64
    assert column.isna().tolist() == [i == 2 for i in range(ROWS)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (",b\n0,5\n1,6\n", ["b"]),
        (",b\nx,5\ny,6\n", ["b"]),
        ("id,b\n1,5\n2,6\n", ["b"]),
        ("id,b\n2,5\n3,6\n", ["id", "b"]),
        ("id,b\n1,5\n3,6\n", ["id", "b"]),
        ("b,id\n5,1\n6,2\n", ["b", "id"]),
        ("id,b\n1.0,5\n2.0,6\n", ["id", "b"]),
        ("b c\n5,6\n7,8\n".replace(" ", ","), ["b", "c"]),
    ],
)
def test_an_index_is_left_out_with_a_note(tmp_path: Path, text: str, left: list[str]) -> None:
    table = without_index(read_table(write(tmp_path / "a.csv", text)), None)
    assert list(table.frame.columns) == left
    assert len(table.notes) == (2 - len(left))
    assert all("is left out" in note for note in table.notes)


def test_row_names_of_r_are_an_index(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"a","b"\n"Mazda",1,2\n"Fiat",3,4\n')
    assert values(path) == [["a", "b"], [1, 2], [3, 4]]


def test_an_index_may_be_named_or_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,key,b\n1,9,5\n2,8,6\n")
    table = read_table(path)
    assert list(without_index(table, "key").frame.columns) == ["id", "b"]
    assert list(without_index(table, "none").frame.columns) == ["id", "key", "b"]
    assert list(without_index(table, None, {"id"}).frame.columns) == ["id", "key", "b"]
    with pytest.raises(InitxError, match=r"^`index` 'kye' is not known\. Did you mean 'key'"):
        without_index(table, "kye")


def test_parquet_is_the_same_table(tmp_path: Path, expected: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame(expected[1:], columns=expected[0])
    frame.to_parquet(tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == expected
    frame.index.name = "key"
    frame.to_parquet(tmp_path / "b.pq")
    table = read_table(tmp_path / "b.pq")
    assert (list(table.frame.columns), len(table.notes)) == (expected[0], 1)
    with pytest.raises(InitxError, match=r"^`encoding` 'latin-1' does not apply to a Parquet file"):
        read_table(tmp_path / "a.parquet", encoding="latin-1")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ("is empty", "header row", "Check the path")),
        ("\n\n", ("is empty", "header row", "Check the path")),
        ("a,label\n", ("header but no data rows", "Add rows")),
        (b"\x89PNG\r\n\0\xff\xfe", ("neither UTF-8, UTF-16 nor Windows-1252", "Save it as UTF-8")),
        (b"a,b\n\x81\x8d,1\n", ("neither UTF-8, UTF-16 nor Windows-1252", "encoding=")),
        ('a,label\n1,"x\n', ("text file of separated cells", "line 2", "Save it as one")),
        (csv_text(rows=["1," + "9" * 140_000 + ",cat"]), ("separated cells", "field")),
        (csv_text("a,a,label"), ("'a' more than once", "Rename")),
        (csv_text("a,,label"), ("no name for column 2", "Name the column")),
        (csv_text("0,1,2"), ("no header", "0, 1, 2", "first row must name the columns")),
        (with_row("1,2"), ("2 cells in line 4", "3 cells in the header (line 1)", "Correct the row")),
        (with_row("1"), ("1 cell in line 4", "3 cells in the header (line 1)", "Correct the row")),
        (with_row("1,2,3,4"), ("4 cells in line 4", "3 cells in the header (line 1)", "quote cells")),
    ],
)
def test_refuses_the_file(tmp_path: Path, content: str | bytes, fragments: tuple[str, ...]) -> None:
    with pytest.raises(InitxError) as caught:
        read_table(write(tmp_path / "a.csv", content))
    assert_message(caught.value, "path", *fragments)


def test_refuses_parquet_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InitxError) as caught:
        read_table(write(tmp_path / "a.parquet", csv_text()))
    assert_message(caught.value, "path", "is not a Parquet file", "Check the path")
