"""Read the arrays of npz files; errors about files."""

import os
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from keras_initx.errors import InitxError

Path = str | os.PathLike[str]

# As a Python float: compared with a NumPy float32, the other side would be rounded, with a warning.
FLOAT32_MAX = float(np.finfo(np.float32).max)


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
        raise unreadable(path, error) from error
    # A damaged header may claim terabytes, which NumPy tries to reserve.
    except (ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise bad_file(
            path,
            "is not an intact npz file (a zip of arrays) without Python objects",
            "Write it with numpy.savez(path, x=x, y=y), with arrays of numbers or strings.",
        ) from error
    if len(complete) != 1:
        received = f"the arrays {', '.join(sorted(names))}" if names else "no arrays"
        raise bad_file(
            path,
            f"must contain either x and y, or x_train and y_train, got {received}",
            "Write it with numpy.savez(path, x=x, y=y).",
        )
    return arrays


def bad_file(path: Path, problem: str, remedy: str) -> InitxError:
    """Return an error about a file; `problem` is the rest of the sentence after its path."""
    return InitxError("path", str(path), "a file that can be used", remedy, f"`path` {str(path)!r} {problem}")


def unreadable(path: Path, error: OSError) -> InitxError:
    """Return the error for a file that cannot be opened."""
    return bad_file(path, f"cannot be read: {error.strerror}", "Check the path and its permissions.")
