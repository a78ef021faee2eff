"""Track which process owns a trial and whether it is alive: by process id on this machine, by heartbeat
elsewhere.
"""

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

from .attributes import HEARTBEAT_ATTRIBUTE, OWNER_ATTRIBUTE

# Seconds between two heartbeats.
HEARTBEAT_SECONDS = 10.0
# Seconds without a heartbeat after which other processes take the trial over.
STALE_SECONDS = 60.0
# Optuna's `ask` creates a trial milliseconds before its owner is stored. No process takes such a trial over.
_SIGNING_GRACE = timedelta(seconds=10)

Owner = Mapping[str, Any]

# Tokens of the owners in this process that still run. Searches in two threads differ as two processes do.
_running: set[str] = set()


def new_owner() -> dict[str, Any]:
    """Return a new owner of trials, which identifies this process to others; no two calls return the same."""
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
        "thread": threading.get_ident(),
        "token": uuid.uuid4().hex,
    }


@functools.cache
def _machine() -> str:
    """Return what makes a process id unique: the boot of the machine and its namespace of process ids."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _start_time(pid: int) -> str | None:
    """Return when a process was started, since process ids are used again; None if that is unknown."""
    with suppress(OSError, IndexError):
        # The second field, the name in parentheses, may contain spaces.
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    return None


def is_local(owner: Owner) -> bool:
    """Return whether an owner runs, or ran, where this process can look up its process id."""
    return bool(owner.get("machine") == _machine())


def _process_is_running(owner: Owner) -> bool:
    """Return whether the process of a local owner is still running."""
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner.get("started") in (None, _start_time(owner["pid"]))


def _search_has_ended(owner: Owner) -> bool:
    """Return whether another search of this process has ended; a search of this thread always has."""
    threads = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    return owner.get("token") not in _running or owner.get("thread") not in threads


class Liveness:
    """Decide whether owners are still alive.

    A process of this machine is dead as soon as it has ended. Any other owner is dead if its heartbeat has
    not changed for `STALE_SECONDS` by the clock of this process, so the clocks of two machines may differ.
    Such an owner may have been stopped, or cut off from the study.
    """

    def __init__(self) -> None:
        self._last_change: dict[str, tuple[Any, float]] = {}

    def is_dead(self, name: str, owner: Owner, heartbeat: Any) -> bool:
        """Return whether `owner`, whose last heartbeat was `heartbeat`, is dead.

        Args:
            name: The name of the thing that it owns.
            owner: An owner made by `new_owner`.
            heartbeat: Any value that changes with each heartbeat.
        """
        if is_local(owner):
            is_this_process = owner["pid"] == os.getpid()
            if _search_has_ended(owner) if is_this_process else not _process_is_running(owner):
                return True
        sign, now = (owner.get("token"), heartbeat), time.monotonic()
        if name not in self._last_change or self._last_change[name][0] != sign:
            self._last_change[name] = sign, now
        return now - self._last_change[name][1] > STALE_SECONDS

    def is_stale(self, frozen: FrozenTrial) -> bool:
        """Return whether a running trial has lost its process."""
        owner = frozen.user_attrs.get(OWNER_ATTRIBUTE)
        if owner is None:
            # The process died right after Optuna's `ask`, or is about to store its owner.
            return frozen.datetime_start is None or datetime.now() - frozen.datetime_start > _SIGNING_GRACE
        if not owner:
            # The process released it.
            return True
        return self.is_dead(str(frozen.number), owner, frozen.user_attrs.get(HEARTBEAT_ATTRIBUTE))


class Heartbeat:
    """A thread that sends a heartbeat every `HEARTBEAT_SECONDS`, from `start` to `stop`.

    Args:
        beat: Writes one heartbeat. Its exceptions are ignored, because the next heartbeat may get through.
        owner: The owner that is alive between `start` and `stop`.
    """

    def __init__(self, beat: Callable[[], None], owner: Owner) -> None:
        self._beat, self._token = beat, owner["token"]
        self._stop: threading.Event | None = None

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        if self._stop is None:
            _running.add(self._token)
            self._stop = threading.Event()
            # A daemon thread, so that a search that is interrupted can exit.
            name = "keras-initx heartbeat"
            threading.Thread(target=self._run, args=(self._stop,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Stop the thread, if it runs."""
        if self._stop is not None:
            self._stop.set()
        _running.discard(self._token)
        self._stop = None

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):
                self._beat()
