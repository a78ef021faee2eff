"""A journal file in which no line is half written, whatever happens to its disk."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

_BLOCK = 4096
# Seconds after which the lock of a process that was killed in a write is removed; Optuna waits for 30.
_KILLED = 10


class Journal(JournalFileBackend):
    """Optuna's journal file, mended before it goes on.

    A write that the disk has no room for, or a process that is killed in it, leaves a line without an end.
    Optuna would write the next line behind it, and nobody could read either, nor what follows.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Optuna's default is a link to the file, as which a relative path leads nowhere: it never finds out
        # how old the lock is, and waits for ever.
        self._exclusive = JournalFileOpenLock(path, grace_period=_KILLED)
        super().__init__(path, self._exclusive)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes all lines, or none.

        Raises:
            StorageInternalError: The file cannot be written to.
        """
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with _told():
            self._exclusive.acquire()
            try:
                _append(self._path, text.encode())
            finally:
                self._exclusive.release()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The lines from that number on.

        Raises:
            StorageInternalError: The file cannot be read, or is damaged.
        """
        with _told():
            yield from super().read_logs(log_number_from)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    # As of a database, so that nobody needs to know which of the two it is.
    except OSError as error:
        raise StorageInternalError from error
    except ValueError as error:
        raise StorageInternalError from ValueError(f"a line of it is malformed: {error}")


def _append(path: str, text: bytes) -> None:
    # Without a buffer, which would be written once more as the file is closed.
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
    """Where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return int(start + found + 1)
        end = start
    return 0
