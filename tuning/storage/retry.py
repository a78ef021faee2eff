"""Retry database calls while the server cannot be reached, so that no computed result is lost."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import sqlalchemy.exc

# Seconds until a call gives up, and the longest pause between two attempts.
TIMEOUT, _LONGEST_PAUSE = 600.0, 15.0
_disabled = ContextVar("disabled", default=False)

P = ParamSpec("P")
T = TypeVar("T")


def retry(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function until its database can be reached, and return the result.

    Args:
        function: The function. It must be safe to call twice, because the first call may have reached the
            database before the connection broke.
        *args, **kwargs: Its arguments.

    Raises:
        Exception: The function raised another error, or the database was out of reach for ten minutes.

    Example:

    >>> retry(max, 1, 2)
    2
    """
    deadline, pause = time.monotonic() + TIMEOUT, 1.0
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if _disabled.get() or not is_out_of_reach(error) or time.monotonic() > deadline:
                raise
            if pause == 1.0:
                reason = (
                    next(str(e.orig) for e in _chain(error) if _is_connection_error(e))
                    .strip()
                    .splitlines()[0]
                )
                minutes = f"{TIMEOUT / 60:.0f} minutes"
                warnings.warn(
                    f"The study's database cannot be reached, retrying for {minutes}: {reason[:200]}",
                    stacklevel=2,
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def no_retry() -> Iterator[None]:
    """Turn retries off within the block, as at the end of an interrupted search."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def is_out_of_reach(error: BaseException) -> bool:
    """Return whether an error comes from a database server that does not respond; a file always responds."""
    return any(_is_connection_error(e) for e in _chain(error))


def _is_connection_error(error: BaseException) -> bool:
    lost = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
    return isinstance(error, lost) and "sqlite" not in type(error.orig).__module__


def _chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
