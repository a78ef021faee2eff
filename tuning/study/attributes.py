"""The attributes that a search stores in an Optuna study, and how to read them.

A name that ends in `_ATTRIBUTE` is the whole key; one that ends in `_PREFIX` is followed by a number.
"""

from typing import Any

from optuna.trial import FrozenTrial, TrialState

# Attributes of a trial.
OWNER_ATTRIBUTE, HEARTBEAT_ATTRIBUTE = "owner", "heartbeat"
# Why the trial failed or was ended early.
REASON_ATTRIBUTE = "reason"
# How the trial was ended early: SCREENED or PRUNED.
ENDING_ATTRIBUTE = "ended"
# Marks a trial beyond the limit: two processes asked for the last one at the same time.
SURPLUS_ATTRIBUTE = "surplus"
# The record of one seed.
SEED_PREFIX = "seed_"
# The signal of each layer before training.
START_ATTRIBUTE = "start"

# Attributes of the study, because a finished trial accepts no attributes.
# The record of one seed of the race: number of the trial, underscore, seed.
RACE_PREFIX = "race_"
# Why a trial left the race, whatever its scores.
OUT_OF_RACE_PREFIX = "out_of_race_"

# The two ways to end a trial early: before its training, and during it.
SCREENED, PRUNED = "screened", "pruned"

_STATUS = {
    TrialState.COMPLETE: "completed",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def seed_records(frozen: FrozenTrial) -> dict[int, dict[str, Any]]:
    """Return the records that `OptunaOracle.report_seed` stored in a trial, by seed."""
    return {
        int(name.removeprefix(SEED_PREFIX)): record
        for name, record in sorted(frozen.user_attrs.items())
        if name.startswith(SEED_PREFIX)
    }


def failure_reason(frozen: FrozenTrial) -> str:
    """Return why a trial failed or was ended early; an empty string for any other trial."""
    return str(frozen.user_attrs.get(REASON_ATTRIBUTE, ""))


def status_of(frozen: FrozenTrial) -> str:
    """Return a trial's status in words; Optuna's PRUNED is either "screened" or "pruned"."""
    if frozen.state == TrialState.PRUNED:
        return str(frozen.user_attrs.get(ENDING_ATTRIBUTE, PRUNED))
    return _STATUS[frozen.state]
