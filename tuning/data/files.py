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

# As a Python float: compared with a NumPy float32, the other side would be rounded, with a warning.
FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_csv(path: Path, target: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
    """Read the feature columns and the target column of a CSV file with a header row.

    Args:
        path: A UTF-8 file with commas between the cells; blank lines are skipped.
        target: The name of the label column; every other column is a feature.

    Returns:
        The features, of shape (rows, columns), and the labels, of shape (rows,): floats if every label is
        a finite number, otherwise strings without surrounding spaces.

    Raises:
        InitxError: The file cannot be read, or a cell cannot be used.
    """
    (header_line, raw_header), *records = _records(path)
    # A name with a line break would break the one-line errors below.
    header = [" ".join(name.split()) for name in raw_header]
    target = " ".join(target.split())
    _check_header(path, header, target)
    if not records:
        raise _bad_file(path, "has a header but no data rows", "Add rows.")

    position = header.index(target)
    names = header[:position] + header[position + 1 :]
    labels: list[str] = []
    rows: list[list[float]] = []
    for line, cells in records:
        if len(cells) != len(header):
            raise _bad_file(
                path,
                f"has {_count(len(cells), 'cell')} in line {line}, but {_count(len(header), 'cell')} "
                f"in the header (line {header_line})",
                "Correct the row, and quote cells that contain a comma.",
            )
        labels.append(_label(cells.pop(position).strip(), target, line))
        named_cells = zip(names, cells, strict=True)
        rows.append([_feature(path, cell.strip(), name, line) for name, cell in named_cells])

    numbers = [_number(label) for label in labels]
    if all(number is not None and np.isfinite(number) for number in numbers):
        return np.array(rows, np.float32), np.array(numbers, np.float64)
    return np.array(rows, np.float32), np.array(labels)


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the arrays of a data set from an npz file, without unpickling anything.

    Args:
        path: A file with the arrays `x` and `y`, or `x_train` and `y_train`. `x_test` and `y_test` are
            read if the file has them.

    Returns:
        The arrays by their name in the file: the features first, then the labels, then the rest.

    Raises:
        InitxError: The file cannot be read, or lacks these arrays.
    """
    names: list[str] = []
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    complete: list[tuple[str, str]] = []
    try:
        # If NumPy opens the file itself, it does not close one with a broken zip directory.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile("it holds a single array")
            names = archive.files
            complete = [pair for pair in (("x", "y"), ("x_train", "y_train")) if set(pair) <= set(names)]
            wanted = (*complete[0], "x_test", "y_test") if complete else ()
            arrays = {name: archive[name] for name in wanted if name in names}
    except OSError as error:
        raise _unreadable(path, error) from error
    # A damaged header may claim terabytes, which NumPy tries to reserve.
    except (ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad_file(
            path,
            "is not an intact npz file (a zip of arrays) without Python objects",
            "Write it with numpy.savez(path, x=x, y=y), with arrays of numbers or strings.",
        ) from error
    if len(complete) != 1:
        received = f"the arrays {', '.join(sorted(names))}" if names else "no arrays"
        raise _bad_file(
            path,
            f"must contain either x and y, or x_train and y_train, got {received}",
            "Write it with numpy.savez(path, x=x, y=y).",
        )
    return arrays


def _records(path: Path) -> list[tuple[int, list[str]]]:
    try:
        # utf-8-sig drops the byte order mark that Excel writes, which would become part of the first name.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            records = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, csv.Error) as error:
        problem = f"is not a UTF-8 text file of comma-separated cells: {error}"
        raise _bad_file(path, problem, "Save it as one.") from error
    if not records:
        raise _bad_file(path, "is empty", "Check the path: the file needs a header row and data rows.")
    return records


def _check_header(path: Path, header: list[str], target: str) -> None:
    if target not in header:
        remedy = "The first row must name the columns." if all(map(_is_number, header)) else ""
        if len(header) == 1 and any(separator in header[0] for separator in ";|\t "):
            remedy = "The cells must be separated by commas."
        raise unknown_name("target", target, header, remedy)
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated:
        raise _bad_file(path, f"has the column {repeated[0]!r} more than once", "Rename one of them.")
    if "" in header:
        raise _bad_file(
            path,
            f"has no name for column {header.index('') + 1}",
            "Name or drop the column (pandas writes its row index there unless index=False).",
        )
    if len(header) == 1:
        raise _bad_file(
            path, f"has no columns except the target {target!r}", "Add the columns to predict from."
        )


def _label(cell: str, column: str, line: int) -> str:
    if not cell or cell.lower() == "nan":
        problem = f"`target` {column!r} has {cell or 'an empty cell'} in line {line}"
        remedy = "Drop the rows without a label."
        raise InitxError("target", column, "a column with a label in every row", remedy, problem)
    return cell


def _feature(path: Path, cell: str, column: str, line: int) -> float:
    position = f"in column {column!r}, line {line}"
    number = _number(cell)
    if number is None and cell:
        raise _bad_file(
            path,
            f"must contain numbers in every column except the target, got {cell[:40]!r} {position}",
            "Encode the column as numbers or drop it.",
        )
    if number is None or not abs(number) <= FLOAT32_MAX:
        raise _bad_file(
            path,
            f"must be finite in float32, got {cell[:40] or 'an empty cell'} {position}",
            "Drop the row or fill in the value.",
        )
    return number


def _number(cell: str) -> float | None:
    try:
        # Python reads 1_2 as 12, which would merge the labels 1_2 and 12.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _bad_file(path: Path, problem: str, remedy: str) -> InitxError:
    """Return an error about a file; `problem` is the rest of the sentence after its path."""
    return InitxError("path", str(path), "a file that can be used", remedy, f"`path` {str(path)!r} {problem}")


def _unreadable(path: Path, error: OSError) -> InitxError:
    return _bad_file(path, f"cannot be read: {error.strerror}", "Check the path and its permissions.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
