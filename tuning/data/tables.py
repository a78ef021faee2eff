"""Read tables with a header row: text with any usual separator and encoding, or Parquet."""

import csv
import io
import itertools
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_initx.errors import InitxError, error_line, unknown_name

from .files import Path, bad_file, unreadable

ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")
"""The encodings that are tried in this order: UTF-8, UTF-16 (with its mark) and Windows-1252."""

# A mark that no other encoding begins with.
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
# Lines by which the separator is chosen.
_SAMPLE = 50
MISSING = ("?",)
"""What stands for a missing cell besides what pandas takes for one: "", "NA", "NaN", "null", "None" ..."""
# 1.234,5 or 1234,5, as spreadsheets write numbers in most of Europe and South America.
_DECIMAL_COMMA = r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?"
_PARQUET = (".parquet", ".pq")


# A generated `==` would raise, because a data frame has no single truth value.
@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file.

    Attributes:
        path: The file.
        frame: A pandas data frame; missing cells are NaN or None.
        places: Where each row is in the file, such as "line 7".
        notes: What was decided about the file, a sentence each.
    """

    path: Path
    frame: Any
    places: Sequence[str]
    notes: tuple[str, ...] = ()


def read_table(path: Path, encoding: str | None = None) -> Table:
    """Read a table.

    Args:
        path: A Parquet file (`.parquet`, `.pq`), or text with one record a line, whose first record names the
            columns. Its cells are separated by commas, semicolons, tabs or vertical bars: the separator that
            gives every record the same number of cells.
        encoding: The encoding of the text; None tries `ENCODINGS`.

    Raises:
        InitxError: The file cannot be read, has no rows, or its columns have no name or the same name.
    """
    if str(path).lower().endswith(_PARQUET):
        if encoding is not None:
            problem = f"`encoding` {encoding!r} does not apply to a Parquet file"
            raise InitxError("encoding", encoding, "left out", "Leave it out.", problem)
        table = _read_parquet(path)
    else:
        table = _read_text(path, encoding)
    if not len(table.frame):
        raise bad_file(path, "has a header but no data rows", "Add rows.")
    return table


def _read_parquet(path: Path) -> Table:
    import pandas as pd

    try:
        with open(path, "rb") as file:
            frame = pd.read_parquet(file)
    except ImportError as error:
        remedy = "Install it: pip install pyarrow."
        raise bad_file(path, "is a Parquet file, which pandas reads with pyarrow", remedy) from error
    except OSError as error:
        if error.strerror:
            raise unreadable(path, error) from error
        raise bad_file(path, f"is not a Parquet file ({error_line(error)})", "Check the path.") from error
    except ValueError as error:
        raise bad_file(path, f"is not a Parquet file ({error_line(error)})", "Check the path.") from error
    frame.columns = [clean_name(str(name)) for name in frame.columns]
    _check_names(path, list(frame.columns))
    table = Table(path, frame.reset_index(drop=True), [f"row {i + 1}" for i in range(len(frame))])
    if frame.index.name is not None or frame.index.nlevels > 1:
        names = ", ".join(map(repr, frame.index.names))
        table = replace(table, notes=(f"The index {names} of the file is left out.",))
    return table


def _read_text(path: Path, encoding: str | None) -> Table:
    import pandas as pd

    text, used = _decoded(path, encoding)
    notes = [] if used == "utf-8-sig" or encoding else [f"The file is not UTF-8: it was read as {used}."]
    separator = _separator(text)
    records = _records(path, text, separator)
    if not records:
        raise bad_file(path, "is empty", "Check the path: the file needs a header row and data rows.")
    (header_line, first), *rows = records
    header = [clean_name(name) for name in first]
    if rows and all(len(cells) == len(header) + 1 for _, cells in rows):
        # R writes the names of the rows without a name for their column.
        header = ["", *header]
    for line, cells in rows:
        if len(cells) != len(header):
            raise bad_file(
                path,
                f"has {_count(len(cells), 'cell')} in line {line}, but {_count(len(header), 'cell')} "
                f"in the header (line {header_line})",
                "Correct the row, and quote cells that contain the separator.",
            )
    _check_names(path, header)
    frame = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        skiprows=1 + _blank_lines(text),
        names=[str(i) for i in range(len(header))],
        index_col=False,
        na_values=list(MISSING),
        skipinitialspace=True,
        low_memory=False,
    )
    frame.columns = header
    for name in header:
        frame[name] = _without_blanks(frame[name], decimal_commas=separator != ",")
    return Table(path, frame, [f"line {line}" for line, _ in rows], tuple(notes))


def clean_name(name: str) -> str:
    """Return the name of a column on one line, without the blanks around it."""
    return " ".join(name.split())


def _decoded(path: Path, encoding: str | None) -> tuple[str, str]:
    """Return the text of a file and its encoding."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise unreadable(path, error) from error
    tried = ENCODINGS if encoding is None else (encoding,)
    for name in tried:
        if name == "utf-16" and encoding is None and not data.startswith(_UTF16_MARKS):
            continue
        try:
            text = data.decode(name)
        except UnicodeError:
            continue
        except LookupError as error:
            raise InitxError("encoding", name, "an encoding that Python knows, such as latin-1") from error
        if "\0" not in text:
            return text, name
    named = "neither UTF-8, UTF-16 nor Windows-1252 text" if encoding is None else f"not {encoding} text"
    remedy = "Save it as UTF-8, or name its encoding, such as `encoding=shift_jis`."
    raise bad_file(path, f"is {named}", remedy)


def _separator(text: str) -> str:
    """Return the separator that gives the first records the same number of cells, the largest one."""
    sample = "".join(itertools.islice(io.StringIO(text, newline=""), _SAMPLE))
    best, most = ",", (False, 1)
    for separator in _SEPARATORS:
        try:
            counts = [len(cells) for cells in csv.reader(io.StringIO(sample), delimiter=separator) if cells]
        except csv.Error:
            continue
        # The last record of the sample may end in the middle of a quoted cell.
        counts = counts[: max(2, len(counts) - 1)]
        if counts and counts[0] > 1 and (score := (len(set(counts[1:])) <= 1, counts[0])) > most:
            best, most = separator, score
    return best


def _records(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        problem = f"is not a text file of separated cells ({error} in line {reader.line_num})"
        raise bad_file(path, problem, "Save it as one.") from error


def _blank_lines(text: str) -> int:
    """Return the number of lines before the header."""
    return next((i for i, line in enumerate(text.splitlines()) if line.strip()), 0)


def _check_names(path: Path, header: list[str]) -> None:
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise bad_file(path, f"has the column {repeated[0]!r} more than once", "Rename one of them.")
    if "" in header[1:]:
        raise bad_file(
            path, f"has no name for column {header.index('', 1) + 1}", "Name the column, or remove it."
        )
    if all(map(_is_number, header)):
        remedy = "The first row must name the columns."
        raise bad_file(path, f"has no header: its first row is {', '.join(header[:5])}", remedy)


def without_index(table: Table, index: str | None, named: Collection[str] = ()) -> Table:
    """Return a table without the column that numbers its rows.

    Args:
        table: The table.
        index: The name of that column. None is a first column that has no name or counts the rows from 0 or
            1; "none" leaves out nothing.
        named: Columns that have another use.

    Raises:
        InitxError: There is no such column, or a column that stays has no name.
    """
    first = str(table.frame.columns[0])
    if index == "none":
        if not first:
            raise bad_file(table.path, "has no name for column 1", "Name the column, or remove it.")
        return table
    if index is not None:
        if index not in table.frame:
            raise unknown_name("index", index, filter(None, map(str, table.frame.columns)))
        return replace(table, frame=table.frame.drop(columns=index))
    if not first:
        note = "The first column, which has no name, is left out as the index of the rows."
    elif first not in named and len(table.frame) > 1 and _counts_rows(table.frame[first]):
        note = f"Column {first!r} counts the rows and is left out; `index=none` keeps it."
    else:
        return table
    return replace(table, frame=table.frame.drop(columns=first), notes=(*table.notes, note))


def _counts_rows(column: Any) -> bool:
    if column.dtype.kind not in "iu" or column.iloc[0] not in (0, 1):
        return False
    return bool((np.diff(column.to_numpy()) == 1).all())


def _without_blanks(column: Any, decimal_commas: bool) -> Any:
    """Return a column with blank cells marked as missing, and decimal commas read as numbers."""
    import pandas as pd

    present = column.dropna()
    if not len(present) or not all(isinstance(cell, str) for cell in present):
        return column
    blank = column.str.strip().eq("").fillna(False).astype(bool)
    column = column.mask(blank) if blank.any() else column
    present = column.dropna().str.strip()
    if decimal_commas and len(present) and present.str.fullmatch(_DECIMAL_COMMA).all():
        plain = column.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        return pd.to_numeric(plain)
    if blank.any() and len(present) and pd.to_numeric(present, errors="coerce").notna().all():
        return pd.to_numeric(column)
    return column


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_table(path: Path) -> bool:
    """Return whether a file is to be read as a table: anything but an npz file."""
    return not os.fspath(path).lower().endswith(".npz")
