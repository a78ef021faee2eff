"""Waits for a database that is out of reach, rather than lose what was computed for it."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import sqlalchemy.exc

# Seconds for which it is waited for, and the longest time between two tries.
LONGEST, _MOST = 600.0, 15.0
_ending = ContextVar("ending", default=False)

P = ParamSpec("P")
T = TypeVar("T")


def retry(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function returns, which is called again while its database cannot be reached.

    Args:
        function: Must do no harm if it is called twice, since the first call may have come through.
        *args, **kwargs: Its arguments.

    Raises:
        Exception: What the function raises, if that is another error, or after ten minutes.

    Example:

    >>> patiently(max, 1, 2)
    2
    """
    deadline, wait = time.monotonic() + LONGEST, 1.0
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if _ending.get() or not is_out_of_reach(error) or time.monotonic() > deadline:
                raise
            if wait == 1.0:
                reason = next(str(e.orig) for e in _chain(error) if _is_lost(e)).strip().splitlines()[0]
                minutes = f"{LONGEST / 60:.0f} minutes"
                warnings.warn(
                    f"The study cannot be reached; tried again for {minutes}: {reason[:200]}", stacklevel=2
                )
            time.sleep(wait)
            wait = min(2 * wait, _MOST)


@contextmanager
def no_retry() -> Iterator[None]:
    """A block in which nothing is tried again: at the end of a search that was interrupted."""
    token = _ending.set(True)
    try:
        yield
    finally:
        _ending.reset(token)


def is_out_of_reach(error: BaseException) -> bool:
    """Whether an error came of a database server that does not answer. A file is always there."""
    return any(_is_lost(e) for e in _chain(error))


def _is_lost(error: BaseException) -> bool:
    lost = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
    return isinstance(error, lost) and "sqlite" not in type(error.orig).__module__


def _chain(error: BaseException | None) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
