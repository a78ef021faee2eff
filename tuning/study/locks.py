"""Locks stored in a study, for work that one process does for the whole search; and one of threads."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import optuna

from ..storage import retry
from .heartbeat import Liveness, Owner

# Two processes that write their owner into a free lock within these seconds conflict; the last one wins.
SETTLE_SECONDS = 0.5
# Seconds between two attempts to take a lock.
_POLL_SECONDS = 1.0


def locked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run a method in one thread at a time; `keras_tuner.synchronized` never releases its lock after an
    exception.
    """

    @wraps(method)
    def run_locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return run_locked


class LockLost(Exception):
    """Another process took a lock over, because it received no heartbeat from this process for too long."""


class StudyLock:
    """Named locks of one process, kept in the attributes of a study.

    Args:
        study: The study.
        owner: The owner of the locks: this process.
        liveness: Decides whether the owner of a lock is dead, which frees the lock.
    """

    def __init__(self, study: optuna.Study, owner: Owner, liveness: Liveness) -> None:
        self._study, self._owner, self._liveness = study, owner, liveness
        self._held: set[str] = set()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock with that name within a block; wait until no other process holds it."""
        while not self._take(name):
            time.sleep(_POLL_SECONDS)
        self._held.add(name)
        try:
            yield
        finally:
            self._held.discard(name)
            if retry(self._owns, name):
                retry(self._study.set_user_attr, _owner_key(name), None)

    def beat(self) -> None:
        """Send a heartbeat for each lock that this process holds."""
        for name in tuple(self._held):
            # A heartbeat for a lock that was lost would keep its new owner alive.
            if self._owns(name):
                self._study.set_user_attr(_heartbeat_key(name), time.time())

    def check(self, name: str) -> None:
        """Raise `LockLost` if this process is in a `hold` block of a lock that another process owns now."""
        if name in self._held and not self._owns(name):
            raise LockLost(f"another process took over the lock {name!r}")

    def _owns(self, name: str) -> bool:
        return bool(self._study.user_attrs.get(_owner_key(name)) == self._owner)

    def _take(self, name: str) -> bool:
        attributes = retry(lambda: self._study.user_attrs)
        owner, heartbeat = attributes.get(_owner_key(name)), attributes.get(_heartbeat_key(name))
        if owner is not None and not self._liveness.is_dead(_owner_key(name), owner, heartbeat):
            return False
        retry(self._study.set_user_attr, _owner_key(name), dict(self._owner))
        time.sleep(SETTLE_SECONDS)
        return retry(self._owns, name)


def _owner_key(name: str) -> str:
    return f"{name}_owner"


def _heartbeat_key(name: str) -> str:
    return f"{name}_heartbeat"
