"""What one of several processes does for the whole search, while the others wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

from ..storage import retry
from .heartbeat import Liveness, Owner

# Seconds in which two processes that want the same both sign it: the last has it.
SETTLE_SECONDS = 0.5
_EVERY = 1.0


class ClaimLost(Exception):
    """Another process has taken a claim, since it did not hear of this one for too long."""


class StudyLock:
    """The claims of one process on a study.

    Args:
        study: The study, in whose attributes they stand.
        me: The owner.
        watcher: Tells whether the owner of another claim is gone.
    """

    def __init__(self, study: optuna.Study, me: Owner, watcher: Liveness) -> None:
        self._study, self._me, self._watcher = study, me, watcher
        self._held: set[str] = set()

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Waits until no other process is in a block of that name, and lets none in."""
        while not self._take(name):
            time.sleep(_EVERY)
        self._held.add(name)
        try:
            yield
        finally:
            self._held.discard(name)
            if retry(self._has, name):
                retry(self._study.set_user_attr, _key(name), None)

    def beat(self) -> None:
        """Shows other processes that this one still lives."""
        for name in tuple(self._held):
            # Else one that was given up would make whoever has it now look alive.
            if self._has(name):
                self._study.set_user_attr(_pulse(name), time.time())

    def check(self, name: str) -> None:
        """Raises `ClaimLost` in a block of that name that another process is in now."""
        if name in self._held and not self._has(name):
            raise ClaimLost(f"the {name} was taken over by another process")

    def _has(self, name: str) -> bool:
        return bool(self._study.user_attrs.get(_key(name)) == self._me)

    def _take(self, name: str) -> bool:
        attributes = retry(lambda: self._study.user_attrs)
        owner = attributes.get(_key(name))
        if owner is not None and not self._watcher.is_gone(_key(name), owner, attributes.get(_pulse(name))):
            return False
        retry(self._study.set_user_attr, _key(name), dict(self._me))
        time.sleep(SETTLE_SECONDS)
        return retry(self._has, name)


def _key(name: str) -> str:
    return f"{name}_owner"


def _pulse(name: str) -> str:
    return f"{name}_pulse"
