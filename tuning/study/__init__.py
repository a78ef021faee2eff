"""The Optuna study behind a search: oracle, samplers, locks, heartbeats, results."""

from .attributes import (
    ENDING_ATTRIBUTE,
    PRUNED,
    REASON_ATTRIBUTE,
    SCREENED,
    SEED_PREFIX,
    START_ATTRIBUTE,
    VALUES_ATTRIBUTE,
    reason_of,
    seed_records,
    status_of,
)
from .environment import machines_of, store_machine
from .lease import TakenOver
from .locks import LockLost
from .oracle import OptunaOracle, Sampler
from .results import TO_TARGET, Sample, TrialResult, as_json, best_per_cell, best_trial, raced
from .resume import SETTINGS_ATTRIBUTE, open_folders
from .shared_study import results_of, started_trials
from .trials import combination

__all__ = [
    "ENDING_ATTRIBUTE",
    "PRUNED",
    "REASON_ATTRIBUTE",
    "SCREENED",
    "SEED_PREFIX",
    "SETTINGS_ATTRIBUTE",
    "START_ATTRIBUTE",
    "TO_TARGET",
    "VALUES_ATTRIBUTE",
    "LockLost",
    "OptunaOracle",
    "Sample",
    "Sampler",
    "TakenOver",
    "TrialResult",
    "as_json",
    "best_per_cell",
    "best_trial",
    "combination",
    "machines_of",
    "open_folders",
    "raced",
    "reason_of",
    "results_of",
    "seed_records",
    "started_trials",
    "status_of",
    "store_machine",
]
