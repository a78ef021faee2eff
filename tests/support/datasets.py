"""Small data sets of two classes, and CSV files of them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from keras_initx.tuning.data import Dataset

from keras_initx import InitxError

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
    """Return a CSV file in which line 4 is `row`."""
    lines = csv_text().splitlines()
    lines[3] = row
    return "\n".join(lines)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_message(error: InitxError, argument: str, *fragments: str) -> None:
    """Check that an error names its argument first, has the fragments, and fits in one line."""
    message = str(error)
    assert message.startswith(f"`{argument}` ")
    assert error.argument == argument
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
