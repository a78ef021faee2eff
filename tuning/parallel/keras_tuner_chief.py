"""KerasTuner's chief and workers, told apart by the variables with which they are started.

KerasTuner puts a client in the place of a worker's oracle, which forwards seven calls to the chief: none of
a seed, an epoch or a reason. A study can be shared instead: workers are equals, and the chief waits for them.
"""

import os
import time

from keras_initx.errors import InitxError

from ..study import OptunaOracle

# Seconds between two looks at the study.
EVERY = 1.0


def is_chief() -> bool:
    """Whether this process is KerasTuner's chief, by the rule that KerasTuner has."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def wait_for_workers(oracle: OptunaOracle) -> None:
    """Returns when the workers have finished all trials.

    Raises:
        InitxError: A search without a number of trials, which has no end to wait for.
    """
    if oracle.trial_limit is None:
        raise InitxError("max_trials", None, "the number of trials that the chief waits for")
    while oracle.remaining_trials():
        time.sleep(EVERY)
