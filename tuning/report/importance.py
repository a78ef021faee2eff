"""Which hyperparameters of a search decided its scores."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from keras_initx.errors import InitxError

from .find_study import found_study

# Below so many completed trials for each hyperparameter the forest has little to split on.
_ENOUGH = 10
# Forests, each from another seed: their spread tells how much of an importance is chance.
_FORESTS = 8


@dataclass(frozen=True)
class Importance:
    """What share of the variance of the scores one hyperparameter explains.

    Attributes:
        name: The hyperparameter.
        share: Its share, alone and in combinations, between 0 and 1; the shares of a study add up to 1.
        spread: The standard deviation of that over random forests.
    """

    name: str
    share: float
    spread: float


def importances(results: str | Path, storage: Any = None) -> tuple[list[Importance], str]:
    """The importance of each hyperparameter in a finished or running search, the greatest first; a warning.

    share_p = Var over p of E[score | p] / Var[score], by a random forest fitted to the completed trials

    Only hyperparameters that every completed trial has are compared.

    Args:
        results: The folder of a search (`search(results=...)`), or the project folder of a KerasTuner search,
            which is read in memory and stays as it is.
        storage: Where the study of the search is kept, as in `search`. None is the `study.db` of the folder,
            or what its settings tell (they tell no password).

    Returns:
        The importances, and a warning where there are too few trials to say ("" where there are enough).

    Raises:
        InitxError: A folder without a search; fewer than two completed trials, or none that differ; what
            `read_keras_tuner` raises.

    References: Hutter, Hoos & Leyton-Brown 2014 (fANOVA), as Optuna has it.
    """
    with found_study(results, storage) as study:
        return importances_of(study, str(results))


def importances_of(study: optuna.Study, results: str) -> tuple[list[Importance], str]:
    """The same of a study that is open; `results` is what an error calls it."""
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    scores = {trial.value for trial in done}
    if len(scores) < 2:
        given = f"{len(done)} completed trials in it" + (", all of one score" if len(done) > 1 else "")
        remedy = f"There are {given}: run more of them."
        allowed = "a search with two completed trials of different scores, at least"
        raise InitxError("results", results, allowed, remedy)
    shares = [_shares(study, seed) for seed in range(_FORESTS)]
    found = [
        Importance(name, float(np.mean(values)), float(np.std(values, ddof=1)))
        for name in shares[0]
        for values in [[share[name] for share in shares]]
    ]
    found.sort(key=lambda importance: -importance.share)
    return found, _warning(found, len(done))


def _shares(study: optuna.Study, seed: int) -> dict[str, float]:
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    # A hyperparameter with a single value has none.
    return {name: 0.0 if math.isnan(share) else float(share) for name, share in shares.items()}


def _warning(found: list[Importance], done: int) -> str:
    needed = _ENOUGH * len(found)
    if done < needed:
        few = f"{done} completed trials are few for {len(found)} hyperparameters"
        return f"{few}: below {needed} the order is a guess."
    if len(found) > 1 and found[0].share - found[1].share < 2 * math.hypot(found[0].spread, found[1].spread):
        return f"{found[0].name} and {found[1].name} cannot be told apart."
    return ""
