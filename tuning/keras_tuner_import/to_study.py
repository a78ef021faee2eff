"""Convert a KerasTuner search to an Optuna study, so that the same tools can read it."""

from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as hp_types
from keras_tuner.engine import trial as kt_trial
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from ..space import range_of
from ..storage import STUDY_FILE, atomic_write, storage_session
from ..study import REASON_ATTRIBUTE, VALUES_ATTRIBUTE, OptunaOracle, reason_of
from .folder import KerasTunerFolder, best_of, objective_of_folder, open_folder, steps_of

_STATES = {
    kt_trial.TrialStatus.COMPLETED: TrialState.COMPLETE,
    kt_trial.TrialStatus.RUNNING: TrialState.RUNNING,
}


def read_keras_tuner(
    folder: str | Path,
    results: str | Path | None = None,
    objective: str | keras_tuner.Objective | None = None,
) -> optuna.Study:
    """Read the folder of a KerasTuner search into an Optuna study, without changing the folder.

    A choice becomes a categorical parameter; a range becomes an integer or a float with its step or log
    scale. A parameter that a condition left out of a trial is left out here too. A completed trial has the
    best value of the objective as its value, and the objective at each step (averaged over executions) as
    intermediate values if there are several steps. A failed trial has its reason. A trial that KerasTuner
    left running is running.

    Each trial has the attributes "trial_id", "metrics" (all metrics, at the best step) and "not_searched"
    (fixed values and the values of Hyperband's brackets).

    Args:
        folder: The `directory/project_name` of any KerasTuner tuner.
        results: A new folder for the study, stored as `study.db`, which `keras-initx importance` and
            `optuna-dashboard` can open. None keeps the study in memory.
        objective: The metric that becomes the trials' value. None is the metric of the search, which is
            inferred from the scores.

    Returns:
        The study.

    Raises:
        InitxError: The folder does not exist or has no files of KerasTuner, a file is damaged, no trial
            has the objective, the scores do not determine it, or the results folder is not empty. Nothing
            has been written.

    Example:

    >>> import keras_tuner, tempfile
    >>> class Tuner(keras_tuner.Tuner):
    ...     def run_trial(self, trial, **options):
    ...         return abs(trial.hyperparameters.Int("units", 1, 9) - 4)
    >>> oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=5, seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuner = Tuner(oracle, lambda hp: hp.Int("units", 1, 9), directory=folder, project_name="mine")
    ...     tuner.search(verbose=0)
    ...     study = read_keras_tuner(f"{folder}/mine")
    >>> len(study.trials), study.best_params == tuner.get_best_hyperparameters()[0].values
    (5, True)
    """
    search = open_folder(folder)
    goal = objective_of_folder(search, objective)
    trials = _frozen_trials(search, goal)
    if results is None:
        return _create_study(search, goal, trials, optuna.storages.InMemoryStorage())
    target = Path(results)
    _check_new(target)
    target.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(target / STUDY_FILE) as partial,
        storage_session(f"sqlite:///{partial.resolve()}") as storage,
    ):
        _create_study(search, goal, trials, storage)
    return OptunaOracle(goal, storage=f"sqlite:///{(target / STUDY_FILE).resolve()}").study


def _check_new(results: Path) -> None:
    if results.exists() and not results.is_dir():
        state = "is a file"
    elif (results / STUDY_FILE).exists():
        state = "already holds a search"
    elif results.exists() and any(results.iterdir()):
        state = "holds other files"
    else:
        return
    problem, remedy = f"`results` {str(results)!r} {state}", "Pass a new or an empty folder."
    raise InitxError("results", str(results), "a new or an empty folder", remedy, problem)


def _create_study(
    search: KerasTunerFolder, goal: keras_tuner.Objective, trials: list[FrozenTrial], storage: Any
) -> optuna.Study:
    # The oracle sets the study's name, direction and space, so that a search can continue the study.
    oracle = OptunaOracle(goal, storage=storage)
    oracle.update_space(search.space)
    oracle.study.add_trials(trials)
    return oracle.study


def _frozen_trials(search: KerasTunerFolder, goal: keras_tuner.Objective) -> list[FrozenTrial]:
    values = [_searched_values(trial) for trial in search.trials]
    distributions = _distributions(search, values)
    return [_frozen(*pair, distributions, goal) for pair in zip(search.trials, values, strict=True)]


def _frozen(
    trial: kt_trial.Trial,
    values: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    goal: keras_tuner.Objective,
) -> FrozenTrial:
    steps, score = steps_of(trial, goal.name), best_of(trial, goal.name, goal.direction)
    all_values = trial.hyperparameters.values
    not_searched = {name: value for name, value in all_values.items() if name not in values}
    attributes = {
        "trial_id": trial.trial_id,
        "metrics": {name: _at_best_step(trial, name) for name in trial.metrics.metrics},
        VALUES_ATTRIBUTE: dict(all_values),
        **({"not_searched": not_searched} if not_searched else {}),
    }
    state = _STATES.get(trial.status, TrialState.FAIL)
    if state == TrialState.COMPLETE and score is None:
        state = TrialState.FAIL
    if state == TrialState.FAIL:
        reason = reason_of(trial.message)
        attributes[REASON_ATTRIBUTE] = reason or f"{goal.name} is {next(iter(steps.values()), None)}"
    return optuna.trial.create_trial(
        state=state,
        value=score if state == TrialState.COMPLETE else None,
        params=values,
        distributions={name: distributions[name] for name in values},
        user_attrs=attributes,
        intermediate_values=steps if len(steps) > 1 else {},
    )


def _at_best_step(trial: kt_trial.Trial, name: str) -> float | None:
    steps = steps_of(trial, name)
    return steps.get(trial.best_step, next(reversed(steps.values()), None))


def _searched_values(trial: kt_trial.Trial) -> dict[str, Any]:
    """Return the values of the active hyperparameters that are not constants."""
    hyperparameters = trial.hyperparameters
    active = [hp for hp in hyperparameters.space if hyperparameters.is_active(hp)]
    names = dict.fromkeys(hp.name for hp in active if not isinstance(hp, hp_types.Fixed))
    return {name: hyperparameters.values[name] for name in names if name in hyperparameters.values}


def _distributions(search: KerasTunerFolder, values: list[dict[str, Any]]) -> dict[str, BaseDistribution]:
    declared: dict[str, list[BaseDistribution]] = {}
    for hyperparameters in (search.space, *(t.hyperparameters for t in search.trials)):
        for hp in hyperparameters.space:
            if not isinstance(hp, hp_types.Fixed):
                declared.setdefault(hp.name, []).append(range_of(hp))
    used = {name: [of_trial[name] for of_trial in values if name in of_trial] for name in declared}
    return {name: _merge(declared[name], used[name]) for name in declared}


def _merge(declared: list[BaseDistribution], used: list[Any]) -> BaseDistribution:
    """Return one distribution for a name.

    Optuna allows only one; KerasTuner allows another one under each condition.
    """
    first = declared[0]
    if all(other == first for other in declared) and all(_allows(first, value) for value in used):
        return first
    if isinstance(first, CategoricalDistribution) or len({type(other) for other in declared}) > 1:
        choices = [choice for other in declared for choice in getattr(other, "choices", ())]
        return CategoricalDistribution(list(dict.fromkeys([*choices, *used])))
    ranges: list[Any] = list(declared)
    low, high = min([*used, *(r.low for r in ranges)]), max([*used, *(r.high for r in ranges)])
    return type(ranges[0])(low, high, log=all(r.log for r in ranges))


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    try:
        optuna.trial.create_trial(value=0.0, params={"": value}, distributions={"": distribution})
    except ValueError:
        return False
    return True
