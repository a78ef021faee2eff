"""What the attributes of a trial in the study mean: its seeds, why it failed, which process runs it."""

from typing import Any

from optuna.trial import FrozenTrial, TrialState

OWNER, PULSE = "owner", "pulse"
REASON = "reason"
ENDED = "ended"
# A trial that one process began as another began the last one.
SURPLUS = "surplus"
SEED = "seed_"
# What the layers showed before training.
START = "start"
# In the study, since a finished trial takes no attributes any more.
RACE = "race_"
# Why a trial is out of its race, whatever its scores.
OUT = "out_of_race_"
# How a trial ended early: before its training, or during it.
SCREENED, PRUNED = "screened", "pruned"

_STATUS = {
    TrialState.COMPLETE: "completed",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


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
