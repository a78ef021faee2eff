"""What a search says when its disk or its storage fails: that ends it, and is no matter of a trial."""

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

# What only a disk says, whoever writes to it: a trial that meets it has nothing to do with it.
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
# What a storage says, in any database's words, and what helps.
_REMEDIES = (
    ("locked", "Another process has locked it: end that one, or wait for it"),
    ("full|no space|too large|quota", "Give it more space"),
    ("read-?only|permission|unable to open", "See that it can be written to"),
    (
        "malformed|not a database|no such (table|column)",
        "It is damaged: put a copy in its place, or remove it to lose what it has",
    ),
)
_ELSE = "Mend that"
# A password may have an @ of its own.
_PASSWORD = re.compile(r"(://[^:@/\s]*:)\S+@")


class StorageFailure(InitxError, keras_tuner.errors.FatalError):
    """A disk or a storage fails. KerasTuner lets it through, and takes any other error for the trial's."""


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Tells what is wrong with a study's storage.

    Args:
        place: The storage, as it may be written down.

    Raises:
        StorageFailure: The storage failed.

    Example:

    >>> with storage_errors("study.db"):
    ...     raise StorageInternalError from OSError("database is locked")
    Traceback (most recent call last):
    keras_initx.tuning.storage.failures.StorageFailure: storage: received 'study.db'; allowed: a study that can be \
read and written to. database is locked. Another process has locked it: end that one, or wait for it, then \
go on with resume=True.
    """
    try:
        yield
    except StorageInternalError as error:
        reason = reason_of(error)
        remedy = f"{reason}. {remedy_for(reason)}"
        raise StorageFailure("storage", place, "a study that can be read and written to", remedy) from error


@contextmanager
def disk_errors(argument: str, folder: Path, anything: bool = False, begun: bool = True) -> Iterator[None]:
    """Tells what is wrong with a folder.

    Args:
        argument: What the caller passed it as.
        folder: The folder.
        anything: Whether every `OSError` is one of the folder; else only what disks alone say.
        begun: Whether there is a search to go on with afterwards.

    Raises:
        StorageFailure: It cannot be written to.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = _code(error)
        if code not in _OF_DISKS and not (anything and isinstance(error, OSError)):
            raise
        reason = os.strerror(code) if code else str(error)
        remedy = f"{reason}. {remedy_for(reason, begun)}".strip()
        raise StorageFailure(argument, str(folder), "a folder that can be written to", remedy) from error


@contextmanager
def atomic_write(path: Path, argument: str = "results", begun: bool = True) -> Iterator[Path]:
    """A file to write to, which takes the place of `path` once it is whole, or is removed.

    Args:
        path: The file that is to be there in the end.
        argument, begun: As in `writing`.

    Raises:
        StorageFailure: It cannot be written; what was there before is there still.
    """
    # Several processes may write it at once, of several machines too.
    partial = path.with_name(f"partial.{uuid.uuid4().hex}.{path.name}")
    with disk_errors(argument, path.parent, anything=True, begun=begun):
        try:
            yield partial
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()


def reserve(path: Path, size: int) -> None:
    """Makes sure that there is room for a file of `size` bytes; the file is empty afterwards.

    Raises:
        OSError: There is none.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


def _code(error: OSError | RuntimeError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # What HDF5 says of a file that it cannot close.
    found = re.search(r"\berrno = (\d+)", str(error))
    return int(found.group(1)) if found else None


def reason_of(error: BaseException) -> str:
    """What a database said, without what SQLAlchemy and Optuna say of it, and without a password."""
    # Where it came through a callback, Keras has raised it once more, "from None".
    while isinstance(error, StorageInternalError) and (deeper := error.__cause__ or error.__context__):
        error = deeper
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return _PASSWORD.sub(r"\1***@", lines[0]).rstrip(".") if lines else type(error).__name__


def remedy_for(reason: str, begun: bool = True) -> str:
    """What helps against a fault, by what is said of it; only where that is known if nothing has begun."""
    found = next((text for marks, text in _REMEDIES if re.search(marks, reason, re.IGNORECASE)), _ELSE)
    if begun:
        return f"{found}, then go on with resume=True."
    return "" if found is _ELSE else f"{found}, then try again."
