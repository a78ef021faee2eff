"""Read feature and label arrays from CSV and npz files."""

import csv
import os
import zipfile
import zlib
from collections import Counter

import numpy as np
import numpy.typing as npt

from keras_initx.errors import InitxError, unknown_name

Path = str | os.PathLike[str]

# A plain float: NumPy would round the other side of a comparison to float32, with a warning.
FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_csv(path: Path, target: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
    """Read the feature columns and the target column of a CSV file with a header row.

    Args:
        path: A UTF-8 file with commas between the cells; blank lines are skipped.
        target: The name of the label column; every other column is a feature.

    Returns:
        The features, of shape (rows, columns), and the labels, of shape (rows,): floats where every
        label is a finite number, else strings without surrounding spaces.

    Raises:
        InitxError: Where the file cannot be read or a cell cannot be used.
    """
    (header_line, raw_header), *records = _records(path)
    # A name that spans lines would break the one-line errors below.
    header = [" ".join(name.split()) for name in raw_header]
    target = " ".join(target.split())
    _check_header(path, header, target)
    if not records:
        raise InitxError(
            "--csv", f"{path} with a header and no rows", "a header row and data rows", "Add rows."
        )

    position = header.index(target)
    names = header[:position] + header[position + 1 :]
    labels: list[str] = []
    rows: list[list[float]] = []
    for line, cells in records:
        if len(cells) != len(header):
            raise InitxError(
                "--csv",
                f"{_count(len(cells), 'cell')} in line {line}",
                f"{_count(len(header), 'cell')} in every row, as in the header (line {header_line})",
                "Correct the row, and quote cells that contain a comma.",
            )
        labels.append(_label(cells.pop(position).strip(), target, line))
        rows.append([_feature(cell.strip(), name, line) for name, cell in zip(names, cells, strict=True)])

    numbers = [_number(label) for label in labels]
    if all(number is not None and np.isfinite(number) for number in numbers):
        return np.array(rows, np.float32), np.array(numbers, np.float64)
    return np.array(rows, np.float32), np.array(labels)


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the arrays of a data set from an npz file, without unpickling anything.

    Args:
        path: A file with the arrays `x` and `y`, or `x_train` and `y_train`; `x_test` and `y_test`
            are read where they exist.

    Returns:
        The arrays by their name in the file: the features first, then the labels, then the rest.

    Raises:
        InitxError: Where the file cannot be read or lacks these arrays.
    """
    found: list[str] = []
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    complete: list[tuple[str, str]] = []
    try:
        # NumPy leaves a file that it opened itself open when the zip directory is broken.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile("it holds a single array")
            found = archive.files
            complete = [pair for pair in (("x", "y"), ("x_train", "y_train")) if set(pair) <= set(found)]
            wanted = (*complete[0], "x_test", "y_test") if complete else ()
            arrays = {name: archive[name] for name in wanted if name in found}
    except OSError as error:
        raise _unreadable("--npz", path, error) from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InitxError(
            "--npz",
            str(path),
            "an intact npz file (a zip of arrays) without Python objects",
            "Write it with numpy.savez(path, x=x, y=y), with arrays of numbers or strings.",
        ) from error
    if len(complete) != 1:
        raise InitxError(
            "--npz",
            f"{path} with {'the arrays ' + ', '.join(sorted(found)) if found else 'no arrays'}",
            "either x and y, or x_train and y_train",
            "Write it with numpy.savez(path, x=x, y=y).",
        )
    return arrays


def _records(path: Path) -> list[tuple[int, list[str]]]:
    try:
        # utf-8-sig: Excel starts its files with a byte order mark, which would join the first name.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            records = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise _unreadable("--csv", path, error) from error
    except (ValueError, csv.Error) as error:
        raise InitxError(
            "--csv",
            str(path),
            "a UTF-8 text file of comma-separated cells",
            f"Save it as such ({error}).",
        ) from error
    if not records:
        raise InitxError("--csv", f"{path}, an empty file", "a header row and data rows", "Check the path.")
    return records


def _check_header(path: Path, header: list[str], target: str) -> None:
    if target not in header:
        remedy = "The first row must name the columns." if all(map(_is_number, header)) else ""
        if len(header) == 1 and any(separator in header[0] for separator in ";|\t "):
            remedy = "The cells must be separated by commas."
        raise unknown_name("--target", target, header, remedy)
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise InitxError(
            "--csv",
            f"the column {repeated[0]!r} more than once",
            "unique column names",
            "Rename one.",
        )
    if "" in header:
        raise InitxError(
            "--csv",
            f"column {header.index('') + 1} without a name",
            "a name for every column",
            "Name or drop the column (pandas writes its row index there unless index=False).",
        )
    if len(header) == 1:
        raise InitxError(
            "--csv",
            f"{path} with the target column only",
            "at least one feature column besides the target",
            "Add the columns to predict from.",
        )


def _label(cell: str, column: str, line: int) -> str:
    if not cell or cell.lower() == "nan":
        raise InitxError(
            "--target",
            f"{cell or 'an empty cell'} in column {column!r}, line {line}",
            "a value in every row",
            "Drop the rows without one.",
        )
    return cell


def _feature(cell: str, column: str, line: int) -> float:
    place = f"in column {column!r}, line {line}"
    number = _number(cell)
    if number is None and cell:
        raise InitxError(
            "--csv",
            f"{cell[:40]} {place}",
            "numbers in every column but the target",
            "Encode the column as numbers or drop it.",
        )
    if number is None or not abs(number) <= FLOAT32_MAX:
        raise InitxError(
            "--csv",
            f"{cell[:40] or 'an empty cell'} {place}",
            "finite numbers in the range of float32",
            "Drop the row or fill in the value.",
        )
    return number


def _number(cell: str) -> float | None:
    try:
        # Python reads 1_2 as 12, and would merge such labels.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _unreadable(argument: str, path: Path, error: OSError) -> InitxError:
    return InitxError(
        argument,
        str(path),
        "a readable file",
        f"{error.strerror}: check the path and its permissions.",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
