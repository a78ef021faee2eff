"""The attributes that a search stores in an Optuna study, and how to read them.

A name that ends in `_ATTRIBUTE` is the whole key; one that ends in `_PREFIX` is followed by a number.
"""

import re
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


def reason_of(message: str | None) -> str:
    """Return the line of an error message or traceback that a person can act on; "" without a message.

    That is the line with the exception, not the last line of its text. Keras wraps an error in a layer in
    several lines, and the error itself follows the first one.

    Example:

    >>> reason_of("Traceback (most recent call last):\\n  File 'a.py', line 1\\nValueError: no\\nSee below.")
    'ValueError: no'
    """
    lines = re.sub(r"\x1b\[\d*m", "", message or "").strip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    # The last traceback of a chain is the error that was raised; its frames are indented.
    of_error = lines[starts[-1] + 1 :] if starts else lines
    texts = [line.strip() for line in of_error if line.strip() and not (starts and line.startswith("  "))]
    if len(texts) > 1 and "Exception encountered when calling" in texts[0]:
        # Keras may put another sentence before the error.
        error = 2 if texts[1].endswith("Error encountered:") and len(texts) > 2 else 1
        return f"{texts[0]} {texts[error]}"
    return texts[0] if texts else ""


def failure_reason(frozen: FrozenTrial) -> str:
    """Return why a trial failed or was ended early; an empty string for any other trial."""
    return str(frozen.user_attrs.get(REASON_ATTRIBUTE, ""))


def status_of(frozen: FrozenTrial) -> str:
    """Return a trial's status in words; Optuna's PRUNED is either "screened" or "pruned"."""
    if frozen.state == TrialState.PRUNED:
        return str(frozen.user_attrs.get(ENDING_ATTRIBUTE, PRUNED))
    return _STATUS[frozen.state]
