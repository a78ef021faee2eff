"""A journal file without half-written lines, even after a full disk or a killed process."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

_BLOCK = 4096
# Seconds after which the lock of a process that was killed during a write is removed. Optuna's default is 30.
_LOCK_GRACE = 10


class Journal(JournalFileBackend):
    """Optuna's journal file, which removes a half-written last line before it appends.

    A full disk, or a process that is killed during a write, leaves a line without an end. Optuna would
    append the next line to it, and neither of the two, nor any line after them, could be read.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Optuna's default lock is a symbolic link to the file. A relative path makes it dangle, so Optuna
        # never learns how old the lock is, and waits forever.
        self._lock_file = JournalFileOpenLock(path, grace_period=_LOCK_GRACE)
        super().__init__(path, self._lock_file)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write all lines, or none of them.

        Raises:
            StorageInternalError: The file cannot be written to.
        """
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with _as_storage_errors():
            self._lock_file.acquire()
            try:
                _append(self._path, text.encode())
            finally:
                self._lock_file.release()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the lines from number `log_number_from` on.

        Raises:
            StorageInternalError: The file cannot be read, or is damaged.
        """
        with _as_storage_errors():
            yield from super().read_logs(log_number_from)


@contextmanager
def _as_storage_errors() -> Iterator[None]:
    """Raise a file's errors as a database raises its own, so that callers need not tell the two apart."""
    try:
        yield
    except OSError as error:
        raise StorageInternalError from error
    except ValueError as error:
        raise StorageInternalError from ValueError(f"a line in it is malformed: {error}")


def _append(path: str, text: bytes) -> None:
    # Unbuffered: after a failed write, closing the file would write a buffer once more.
    with open(path, "r+b", buffering=0) as file:
        end = _end_of_lines(file)
        file.truncate(end)
        file.seek(end)
        try:
            while text:
                text = text[file.write(text) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _end_of_lines(file: Any) -> int:
    """Return the position after the last complete line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        end = start
    return 0
