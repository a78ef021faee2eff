"""Which process runs a trial, and whether it is still there: here by its process, elsewhere by its pulse."""

import functools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from .attributes import OWNER, PULSE

# Seconds between two signs of life, and how long one may fail to come: then others take the trial.
EVERY, STALE = 10.0, 60.0
# Between the study's `ask` and the name of the owner lie milliseconds, in which nobody may take a trial over.
_GRACE = timedelta(seconds=10)

Owner = Mapping[str, Any]


def this_process() -> dict[str, Any]:
    """A new owner of trials, as other processes may know it: each call is another one."""
    process = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}
    own = {"thread": threading.get_ident(), "token": uuid.uuid4().hex}
    return {**process, "started": _started(os.getpid()), **own}


# Those of this process that still run: searches in threads are no more one another's than processes are.
_running: set[str] = set()


@functools.cache
def _machine() -> str:
    """What tells process ids apart: the machine since it was started, and the namespace of its processes."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process was started, since ids are used again; None where it cannot be known."""
    with suppress(OSError, IndexError):
        # The name, in brackets, may have spaces.
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    return None


def is_here(owner: Owner) -> bool:
    """Whether an owner runs, or ran, where its process can be looked up."""
    return bool(owner.get("machine") == _machine())


def _lives(owner: Owner) -> bool:
    """Whether the process of an owner that is here is still there."""
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner.get("started") in (None, _started(owner["pid"]))


def _has_ended(owner: Owner) -> bool:
    """Whether another search of this very process is at an end, as it is if this thread had it."""
    threads = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    return owner.get("token") not in _running or owner.get("thread") not in threads


class Liveness:
    """Tells whose owner is gone.

    Of a process of this machine that has ended it is known at once. Any other is gone if no pulse came for
    `STALE` seconds by the clock of this process, whatever the clocks of others say: it may have been stopped,
    or cut off from the study.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Any, float]] = {}

    def is_gone(self, name: str, owner: Owner, pulse: Any) -> bool:
        """Whether `owner` is, whose last sign of life was `pulse`.

        Args:
            name: Of what it owns.
            owner: As `this_process` made it.
            pulse: Anything that changes.
        """
        if is_here(owner) and (_has_ended(owner) if owner["pid"] == os.getpid() else not _lives(owner)):
            return True
        sign, now = (owner.get("token"), pulse), time.monotonic()
        if name not in self._seen or self._seen[name][0] != sign:
            self._seen[name] = sign, now
        return now - self._seen[name][1] > STALE

    def has_lost(self, frozen: FrozenTrial) -> bool:
        """Whether the process that runs a trial is no more."""
        owner = frozen.user_attrs.get(OWNER)
        if owner is None:
            # Its process died between the study's `ask` and the next line, or is there just now.
            return frozen.datetime_start is None or datetime.now() - frozen.datetime_start > _GRACE
        if not owner:
            # Given back.
            return True
        return self.is_gone(str(frozen.number), owner, frozen.user_attrs.get(PULSE))


class Heartbeat:
    """Gives a sign of life every `EVERY` seconds, in a thread, while there is something to do it for.

    Args:
        beat: Writes the sign; what it raises is no matter: the next one may come through.
        owner: Who lives as long as that.
    """

    def __init__(self, beat: Callable[[], None], owner: Owner) -> None:
        self._beat, self._token = beat, owner["token"]
        self._stop: threading.Event | None = None

    def start(self) -> None:
        """Begins, if it has not."""
        if self._stop is None:
            _running.add(self._token)
            self._stop = threading.Event()
            # A search that is killed waits for no thread.
            name = "keras-initx pulse"
            threading.Thread(target=self._run, args=(self._stop,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        if self._stop is not None:
            self._stop.set()
        _running.discard(self._token)
        self._stop = None

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            with suppress(Exception):
                self._beat()
