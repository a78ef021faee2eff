"""An Optuna study of what KerasTuner wrote: its folder opened with the tools that read ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as hp_types
from keras_tuner.engine import trial as kt_trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from ..space import suggest
from ..storage import STUDY_FILE, atomic_write, storage_session
from ..study import REASON_ATTRIBUTE, OptunaOracle, reason_of
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
    """Reads the folder of a KerasTuner search into an Optuna study; the folder stays as it is.

    A choice is a categorical parameter, a range an integer or a float with its step or logarithm, and what a
    condition left out of a trial is left out of it here. A completed trial has the best value of the
    objective, and all steps of it where there are several (of several executions in one step the mean); a
    failed one its reason. One that KerasTuner left running is running.

    Each trial has as attributes "trial_id", "metrics" (all, at the step of the best), and "not_searched":
    values that are fixed, and those of Hyperband's brackets.

    Args:
        folder: `directory/project_name` of the tuner that wrote it, whichever of KerasTuner's it was.
        results: A new folder for the study, as `study.db`, which `keras-initx importance` and
            `optuna-dashboard` open; None keeps it in memory.
        objective: The metric that is the trials' value; None is the one of the search, which is known by the
            scores.

    Returns:
        The study.

    Raises:
        InitxError: No such folder, or nothing of KerasTuner's in it; a file that is damaged; an objective
            that no trial has, or that does not follow from the scores; a results folder that is not empty.
            Nothing has been written then.

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
    found = open_folder(folder)
    goal = objective_of_folder(found, objective)
    frozen = _trials(found, goal)
    if results is None:
        return _study(found, goal, frozen, optuna.storages.InMemoryStorage())
    target = Path(results)
    _check_new(target)
    target.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(target / STUDY_FILE) as partial,
        storage_session(f"sqlite:///{partial.resolve()}") as storage,
    ):
        _study(found, goal, frozen, storage)
    return OptunaOracle(goal, storage=f"sqlite:///{(target / STUDY_FILE).resolve()}").study


def _check_new(results: Path) -> None:
    allowed, remedy = "a new or an empty folder", "Pass another folder."
    if results.exists() and not results.is_dir():
        raise InitxError("results", str(results), allowed, f"It is a file. {remedy}")
    if (results / STUDY_FILE).exists():
        raise InitxError("results", str(results), allowed, f"There is a search in it. {remedy}")
    if results.exists() and any(results.iterdir()):
        raise InitxError("results", str(results), allowed, f"It holds other files. {remedy}")


def _study(
    found: KerasTunerFolder, goal: keras_tuner.Objective, frozen: list[FrozenTrial], storage: Any
) -> optuna.Study:
    # With the oracle's name, direction and space: a search can go on where KerasTuner's ended.
    oracle = OptunaOracle(goal, storage=storage)
    oracle.update_space(found.space)
    oracle.study.add_trials(frozen)
    return oracle.study


def _trials(found: KerasTunerFolder, goal: keras_tuner.Objective) -> list[FrozenTrial]:
    values = [_searched(trial) for trial in found.trials]
    known = _distributions(found, values)
    return [_frozen(*pair, known, goal) for pair in zip(found.trials, values, strict=True)]


def _frozen(
    trial: kt_trial.Trial,
    values: dict[str, Any],
    known: dict[str, BaseDistribution],
    goal: keras_tuner.Objective,
) -> FrozenTrial:
    steps, score = steps_of(trial, goal.name), best_of(trial, goal.name, goal.direction)
    beside = {name: value for name, value in trial.hyperparameters.values.items() if name not in values}
    attributes = {
        "trial_id": trial.trial_id,
        "metrics": {name: _at_best_step(trial, name) for name in trial.metrics.metrics},
        **({"not_searched": beside} if beside else {}),
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
        distributions={name: known[name] for name in values},
        user_attrs=attributes,
        intermediate_values=steps if len(steps) > 1 else {},
    )


def _at_best_step(trial: kt_trial.Trial, name: str) -> float | None:
    steps = steps_of(trial, name)
    return steps.get(trial.best_step, next(reversed(steps.values()), None))


def _searched(trial: kt_trial.Trial) -> dict[str, Any]:
    """The values of the hyperparameters that are no constants and that no condition leaves out."""
    hyperparameters = trial.hyperparameters
    active = [hp for hp in hyperparameters.space if hyperparameters.is_active(hp)]
    names = dict.fromkeys(hp.name for hp in active if not isinstance(hp, hp_types.Fixed))
    return {name: hyperparameters.values[name] for name in names if name in hyperparameters.values}


class _Asked:
    """Stands for a trial of the study, and answers with what it was asked."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> BaseDistribution:
        return CategoricalDistribution(choices)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> BaseDistribution:
        return IntDistribution(low, high, **options)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> BaseDistribution:
        return FloatDistribution(low, high, **options)


def _distributions(found: KerasTunerFolder, values: list[dict[str, Any]]) -> dict[str, BaseDistribution]:
    declared: dict[str, list[BaseDistribution]] = {}
    for hyperparameters in (found.space, *(t.hyperparameters for t in found.trials)):
        for hp in hyperparameters.space:
            if not isinstance(hp, hp_types.Fixed):
                declared.setdefault(hp.name, []).append(suggest(_Asked(), hp))
    used = {name: [found[name] for found in values if name in found] for name in declared}
    return {name: _joined(declared[name], used[name]) for name in declared}


def _joined(declared: list[BaseDistribution], used: list[Any]) -> BaseDistribution:
    """One distribution for a name: Optuna allows no second, KerasTuner does under another condition."""
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
