"""The Optuna study behind a search: oracle, samplers, locks, heartbeats, results."""

from .attributes import ENDED, PRUNED, REASON, SCREENED, seed_records, status_of
from .environment import machines_of, note_machine
from .locks import ClaimLost
from .memory import TakenOver, begun, results_of
from .oracle import OptunaOracle, Sampler
from .results import Sample, TrialResult, as_json, best_per_cell, best_trial, raced
from .resume import SETTINGS_ATTRIBUTE, check_study, remove_study

__all__ = [
    "ENDED",
    "PRUNED",
    "REASON",
    "SCREENED",
    "SETTINGS_ATTRIBUTE",
    "ClaimLost",
    "OptunaOracle",
    "Sample",
    "Sampler",
    "TakenOver",
    "TrialResult",
    "as_json",
    "begun",
    "best_per_cell",
    "best_trial",
    "check_study",
    "machines_of",
    "note_machine",
    "raced",
    "remove_study",
    "results_of",
    "seed_records",
    "status_of",
]
