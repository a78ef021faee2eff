"""Importance of each hyperparameter: the share of the score differences that it explains."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from keras_initx.errors import InitxError

from .find_study import find_study

# With fewer completed trials per hyperparameter the forest has too few splits to rank them.
_TRIALS_PER_HYPERPARAMETER = 10
# Forests, each with its own seed: their spread estimates the error of an importance.
_FORESTS = 8


@dataclass(frozen=True)
class Importance:
    """The share of the variance of the scores that one hyperparameter explains.

    Attributes:
        name: The hyperparameter.
        share: Its share, alone and in combination with others, from 0 to 1; the shares of a study sum to 1.
        spread: The standard deviation of `share` over random forests.
    """

    name: str
    share: float
    spread: float


def importances(results: str | Path, storage: Any = None) -> tuple[list[Importance], str]:
    """Return the importance of each hyperparameter of a search, largest first, and a warning.

    share_p = Var over p of E[score | p] / Var[score], from a random forest fitted to the completed trials

    The search may still be running. Only hyperparameters that every completed trial has are compared.

    Args:
        results: The folder of a search (`search(results=...)`), or the project folder of a KerasTuner
            search, which is read into memory and stays unchanged.
        storage: Where the study of the search is kept, as in `search`. None means the folder's `study.db`,
            or the file in the folder that its settings name.

    Returns:
        The importances, and a warning if there are too few trials or two hyperparameters too close to rank
        ("" otherwise).

    Raises:
        InitxError: If the folder contains no search, or the search fewer than two completed trials of
            different scores; also whatever `read_keras_tuner` raises.

    References: Hutter, Hoos & Leyton-Brown 2014 (fANOVA), as implemented in Optuna.
    """
    with find_study(results, storage) as study:
        return importances_of(study, str(results))


def importances_of(study: optuna.Study, location: str) -> tuple[list[Importance], str]:
    """Return the same for an open study; errors show `location` as the value of `results`."""
    completed = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len({trial.value for trial in completed}) < 2:
        same = ", all with the same score" if len(completed) > 1 else ""
        remedy = f"It has {len(completed)} completed trials{same}. Run more trials."
        allowed = "a search with at least two completed trials of different scores"
        raise InitxError("results", location, allowed, remedy)
    shares = [_shares(study, seed) for seed in range(_FORESTS)]
    rows = [
        Importance(name, float(np.mean(values)), float(np.std(values, ddof=1)))
        for name in shares[0]
        for values in [[share[name] for share in shares]]
    ]
    rows.sort(key=lambda row: -row.share)
    return rows, _warning(rows, len(completed))


def _shares(study: optuna.Study, seed: int) -> dict[str, float]:
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    # Optuna returns NaN for a hyperparameter with a single value, which explains nothing.
    return {name: 0.0 if math.isnan(share) else float(share) for name, share in shares.items()}


def _warning(rows: list[Importance], completed: int) -> str:
    needed = _TRIALS_PER_HYPERPARAMETER * len(rows)
    if completed < needed:
        few = f"{completed} completed trials are few for {len(rows)} hyperparameters"
        return f"{few}: with fewer than {needed} the order is a guess."
    if len(rows) > 1 and rows[0].share - rows[1].share < 2 * math.hypot(rows[0].spread, rows[1].spread):
        return f"The importances of {rows[0].name} and {rows[1].name} are too close to rank."
    return ""
