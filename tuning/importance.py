"""Which hyperparameters of a search decided its scores."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from keras_initx.errors import InitxError

from .folders import SETTINGS
from .keras_tuner_folder import ORACLE_FILE, found_inside, is_keras_tuner_folder
from .reading import read_keras_tuner
from .storages import STUDY_FILE, open_storage

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
    study = _study_in(Path(results), storage)
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    scores = {trial.value for trial in done}
    if len(scores) < 2:
        given = f"{len(done)} completed trials in it" + (", all of one score" if len(done) > 1 else "")
        remedy = f"There are {given}: run more of them."
        allowed = "a search with two completed trials of different scores, at least"
        raise InitxError("results", str(results), allowed, remedy)
    shares = [_shares(study, seed) for seed in range(_FORESTS)]
    found = [
        Importance(name, float(np.mean(values)), float(np.std(values, ddof=1)))
        for name in shares[0]
        for values in [[share[name] for share in shares]]
    ]
    found.sort(key=lambda importance: -importance.share)
    return found, _warning(found, len(done))


def _study_in(folder: Path, storage: Any) -> optuna.Study:
    if storage is None and (folder / SETTINGS).is_file():
        with suppress(ValueError):
            storage = json.loads((folder / SETTINGS).read_text(encoding="utf-8")).get("storage")
    if storage is not None or (folder / STUDY_FILE).is_file():
        found = open_storage(storage, folder)
        names = optuna.get_all_study_names(found)
        name = folder.resolve().name
        if storage is None and names:
            (name,) = names[:1]
        if name not in names:
            allowed = f"the folder of a search in that storage, such as {', '.join(names[:3]) or 'none'}"
            raise InitxError("results", str(folder), allowed)
        return optuna.load_study(study_name=name, storage=found)
    if is_keras_tuner_folder(folder):
        return read_keras_tuner(folder)
    allowed = f"the folder of a search, with its {STUDY_FILE}, or of KerasTuner's, with its {ORACLE_FILE}"
    raise InitxError("results", str(folder), allowed, found_inside(folder))


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
