"""KerasTuner's chief and workers, which differ in their environment variables.

KerasTuner replaces a worker's oracle by a client, which forwards seven calls to the chief; none of them
reports a seed, an epoch or a reason. A study can be shared instead: all workers write to it, and the chief
waits for them.
"""

import os
import time

from keras_initx.errors import InitxError

from ..study import OptunaOracle

# Seconds between two reads of the study.
POLL_SECONDS = 1.0


def is_chief() -> bool:
    """Return whether this process is KerasTuner's chief, by the rule of KerasTuner itself."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def check_keeps(overwrite: bool) -> None:
    """Raise an `InitxError` if several processes would each remove the search that they share."""
    if overwrite and "KERASTUNER_ORACLE_IP" in os.environ:
        problem = "`overwrite=True` cannot be used with a chief: each process would remove the others' trials"
        remedy = "Leave it out, and remove the folder before you start them."
        raise InitxError("overwrite", overwrite, "False with a chief", remedy, problem)


def wait_for_workers(oracle: OptunaOracle) -> None:
    """Wait until the workers have finished all trials.

    Raises:
        InitxError: The search has no limit on its trials, so that it would never end.
    """
    if oracle.trial_limit is None:
        remedy = "KerasTuner's chief waits until that many trials are finished."
        raise InitxError("max_trials", None, "an integer >= 1", remedy)
    while oracle.remaining_trials():
        time.sleep(POLL_SECONDS)
