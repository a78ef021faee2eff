"""What the attributes of a trial in the study mean: its seeds, why it failed, which process runs it."""

import os
import socket
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import FrozenTrial, TrialState

OWNER = "owner"
REASON = "reason"
ENDED = "ended"
# A trial that one process began as another began the last one.
SURPLUS = "surplus"
SEED = "seed_"
# In the study, since a finished trial takes no attributes any more.
RACE = "race_"
# How a trial ended early: before its training, or during it.
SCREENED, PRUNED = "screened", "pruned"

_STATUS = {
    TrialState.COMPLETE: "completed",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}

# Between the study's `ask` and the name of the owner lie milliseconds, in which nobody may take a trial over.
_GRACE = timedelta(seconds=10)


def seed_records(frozen: FrozenTrial) -> dict[int, dict[str, Any]]:
    """The records that `OptunaOracle.report_seed` stored in a trial, by seed."""
    return {
        int(name.removeprefix(SEED)): record
        for name, record in sorted(frozen.user_attrs.items())
        if name.startswith(SEED)
    }


def failure_reason(frozen: FrozenTrial) -> str:
    """Why a trial failed, or was ended early; empty where it was not."""
    return str(frozen.user_attrs.get(REASON, ""))


def status_of(frozen: FrozenTrial) -> str:
    """A trial's status in words: "screened" and "pruned" are both pruned to Optuna."""
    if frozen.state == TrialState.PRUNED:
        return str(frozen.user_attrs.get(ENDED, PRUNED))
    return _STATUS[frozen.state]


def this_process() -> dict[str, Any]:
    """Who runs a trial, as its attribute `OWNER` tells other processes."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def is_orphan(frozen: FrozenTrial) -> bool:
    """Whether the process that runs a trial is no more; a trial of another machine never is."""
    owner = frozen.user_attrs.get(OWNER)
    if owner is None:
        # Its process died between the study's `ask` and the next line, or is there just now.
        return frozen.datetime_start is None or datetime.now() - frozen.datetime_start > _GRACE
    if owner["host"] != socket.gethostname():
        return False
    if owner["pid"] == os.getpid():
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
