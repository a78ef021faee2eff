"""The attributes that a search stores in an Optuna study, and how to read them.

A name that ends in `_ATTRIBUTE` is the whole key; one that ends in `_PREFIX` is followed by a number.
"""

import re
from collections.abc import Sequence
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
# The value of every hyperparameter that a build used, fixed ones and defaults included.
VALUES_ATTRIBUTE = "hyperparameters"
# What KerasTuner knows about an ended trial: its metrics by step, and the best step.
METRICS_ATTRIBUTE = "keras_tuner_metrics"
# How many runs of the trial failed so far.
FAILED_RUNS_ATTRIBUTE = "failed_runs"

# Attributes of the study, because a finished trial accepts no attributes.
# The record of one seed of the race: number of the trial, underscore, seed.
RACE_PREFIX = "race_"
# Whether the sampler has no more values for the space, so that no trial follows.
EXHAUSTED_ATTRIBUTE = "exhausted"
# Why a trial left the race, whatever its scores.
OUT_OF_RACE_PREFIX = "out_of_race_"

# The two ways to end a trial early: before its training, and during it.
SCREENED, PRUNED = "screened", "pruned"

_TRACEBACK = re.compile(r"(Exception Group )?Traceback \(most recent call")
# How TensorFlow begins an error in a compiled function, and the lines of such an error that say where.
_IN_A_GRAPH = "Graph execution error:"
_STACK = ("Detected at node", "Stack trace for op definition", "File ", "<stack traces unavailable>")

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


def values_of(frozen: FrozenTrial) -> dict[str, Any]:
    """Return the value of every hyperparameter of a trial, as KerasTuner names it."""
    return dict(frozen.user_attrs.get(VALUES_ATTRIBUTE, frozen.params))


def searched_values(frozen: FrozenTrial) -> dict[str, Any]:
    """Return the values of the hyperparameters that the study searches, without fixed ones."""
    values = values_of(frozen)
    # `to_optuna.parameters_of` appends a note to the name of some parameters.
    names = (n if n in values else re.sub(r"( \(reversed\))?( \[.*\])?$", "", n) for n in frozen.params)
    return {name: values[name] for name in names if name in values}


def reason_of(message: str | None) -> str:
    """Return the line of an error message or traceback that a person can act on; "" without a message.

    That is the line with the exception, not the last line of its text. Keras wraps an error in a layer in
    several lines, and the error itself follows the first one; TensorFlow puts it below a stack of calls.

    Example:

    >>> reason_of("Traceback (most recent call last):\\n  File 'a.py', line 1\\nValueError: no\\nSee below.")
    'ValueError: no'
    """
    lines = re.sub(r"\x1b\[\d*m", "", message or "").strip().splitlines()
    # Python draws a margin next to the traceback of a group of exceptions.
    lines = [re.sub(r"^ *[|+] ", "", line) for line in lines]
    starts = [number for number, line in enumerate(lines) if _TRACEBACK.match(line)]
    # The last traceback of a chain is the error that was raised; its frames are indented.
    of_error = lines[starts[-1] + 1 :] if starts else lines
    texts = [line.strip() for line in of_error if line.strip() and not (starts and line.startswith("  "))]
    if not texts:
        return ""
    # Without the module of the exception.
    texts[0] = re.sub(r"^(?:[a-z_]\w*\.)+([A-Z]\w*)(?=:|$)", r"\1", texts[0])
    return f"{texts[0].removesuffix(_IN_A_GRAPH).strip()} {_cause(texts)}".strip()


def _cause(texts: Sequence[str]) -> str:
    """Return the line that says what happened if the first line of an error only says where."""
    rest = list(texts[1:])
    if not rest:
        return ""
    if texts[0].endswith(_IN_A_GRAPH):
        # Below the stack of calls, and above the node of the graph.
        end = next((n for n, line in enumerate(rest) if "[[{{node" in line), len(rest))
        return next((line for line in reversed(rest[:end]) if not line.startswith(_STACK)), "")
    if "Exception encountered when calling" in texts[0]:
        # Keras may put another sentence before the error.
        return rest[1] if rest[0].endswith("Error encountered:") and len(rest) > 1 else rest[0]
    return ""


def failure_reason(frozen: FrozenTrial) -> str:
    """Return why a trial failed or was ended early; an empty string for any other trial."""
    return str(frozen.user_attrs.get(REASON_ATTRIBUTE, ""))


def status_of(frozen: FrozenTrial) -> str:
    """Return a trial's status in words; Optuna's PRUNED is either "screened" or "pruned"."""
    if frozen.state == TrialState.PRUNED:
        return str(frozen.user_attrs.get(ENDING_ATTRIBUTE, PRUNED))
    return _STATUS[frozen.state]
