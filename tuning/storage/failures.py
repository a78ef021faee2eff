"""Errors for a disk or storage that fails: they end the search, because no trial is to blame."""

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras_tuner
from optuna.exceptions import StorageInternalError

from keras_initx.errors import InitxError

# Errors that only a disk raises, whichever code writes to it: the trial that meets one did not cause it.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
# The remedy for each reason that a database or disk gives, by a pattern that matches the reason.
_REMEDIES = (
    (
        "parse SQLAlchemy|load plugin",
        "Pass a file that ends in .journal, or a URL such as sqlite:///study.db",
    ),
    ("locked", "Another process has locked it: end that process or wait for it"),
    ("full|no space|too large|quota", "Give it more space"),
    ("read-?only|permission|unable to open", "Make it writable"),
    (
        "malformed|not a database|no such (table|column)",
        "It is damaged: restore a copy of it, or remove it and lose what it contains",
    ),
)
_OTHER_REMEDY = "Fix the cause"
# Greedy up to the last @, because a password may contain one.
_PASSWORD = re.compile(r"(://[^:@/\s]*:)\S+@")


class StorageFailure(InitxError, keras_tuner.errors.FatalError):
    """Report that a disk or a storage failed.

    KerasTuner re-raises a `FatalError`; it would blame the trial for any other exception.
    """


@contextmanager
def storage_errors(label: str) -> Iterator[None]:
    """Turn the errors of a study's storage into a `StorageFailure`.

    Args:
        label: The storage as errors may name it, without a password.

    Raises:
        StorageFailure: The storage failed.

    Example:

    >>> with storage_errors("study.db"):
    ...     raise StorageInternalError from OSError("database is locked")
    Traceback (most recent call last):
    keras_initx.tuning.storage.failures.StorageFailure: `storage` 'study.db' failed: database is locked. \
Another process has locked it: end that process or wait for it, then continue with mode="resume".
    """
    try:
        yield
    except StorageInternalError as error:
        reason = reason_of(error)
        problem = f"`storage` {label!r} failed: {reason}"
        allowed = "a storage that can be read and written"
        raise StorageFailure("storage", label, allowed, remedy_for(reason), problem) from error


@contextmanager
def disk_errors(
    argument: str, folder: Path, every_os_error: bool = False, started: bool = True
) -> Iterator[None]:
    """Turn the errors of a folder's disk into a `StorageFailure`.

    Args:
        argument: The name of the argument that holds the folder.
        folder: The folder.
        every_os_error: Whether to blame the folder for every `OSError`, or only for those that just a
            disk raises.
        started: Whether there is a search to resume afterwards.

    Raises:
        StorageFailure: The folder cannot be written to.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = _error_code(error)
        if code not in _DISK_ERRORS and not (every_os_error and isinstance(error, OSError)):
            raise
        reason = os.strerror(code) if code else str(error)
        problem = f"`{argument}` {str(folder)!r} cannot be written to: {reason}"
        allowed = "a folder that can be written to"
        raise StorageFailure(argument, str(folder), allowed, remedy_for(reason, started), problem) from error


@contextmanager
def atomic_write(
    path: Path, argument: str = "results", started: bool = True, keep: bool = False
) -> Iterator[Path]:
    """Yield a temporary file that becomes `path` once it is complete, and is removed on an error.

    Args:
        path: The file to write.
        argument, started: As in `disk_errors`.
        keep: Whether a file that is at `path` by then stays; otherwise it is replaced.

    Raises:
        StorageFailure: The file cannot be written. An earlier file at `path` stays as it was.
    """
    # The name is unique because several processes, even on several machines, may write `path` at once.
    partial = path.with_name(f"partial.{uuid.uuid4().hex}.{path.name}")
    with disk_errors(argument, path.parent, every_os_error=True, started=started):
        try:
            yield partial
            if keep:
                _link(partial, path)
            else:
                partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()


def _link(complete: Path, path: Path) -> None:
    """Give a file a second name, unless that name is taken."""
    try:
        path.hardlink_to(complete)
    except FileExistsError:
        pass
    except OSError:
        # Some network disks have no links. There, two processes at once would both get the name.
        if not path.exists():
            complete.replace(path)


def reserve(path: Path, size: int) -> None:
    """Create an empty file after checking that the disk has room for `size` bytes.

    Raises:
        OSError: The disk has no room for them.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


def _error_code(error: OSError | RuntimeError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # HDF5 raises a RuntimeError with this text if it cannot close a file.
    match = re.search(r"\berrno = (\d+)", str(error))
    return int(match.group(1)) if match else None


def reason_of(error: BaseException) -> str:
    """Return the first line of a database's own error, without a password.

    SQLAlchemy's and Optuna's wrapping of the error is left out.
    """
    # Keras raises an error that passes through a callback again "from None", so look at the context too.
    while isinstance(error, StorageInternalError) and (inner := error.__cause__ or error.__context__):
        error = inner
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return _PASSWORD.sub(r"\1***@", lines[0]).rstrip(".") if lines else type(error).__name__


def remedy_for(reason: str, started: bool = True) -> str:
    """Return a sentence with the remedy for a failure.

    Args:
        reason: The text of the failure.
        started: Whether a search has started, which can be resumed. If not, the remedy for an unknown
            reason is empty.
    """
    remedy = next(
        (text for pattern, text in _REMEDIES if re.search(pattern, reason, re.IGNORECASE)), _OTHER_REMEDY
    )
    if started:
        return f'{remedy}, then continue with mode="resume".'
    return "" if remedy is _OTHER_REMEDY else f"{remedy}, then try again."
