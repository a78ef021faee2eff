"""Read the project folder that KerasTuner wrote for a search, without changing it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as kt_trial

from keras_initx.errors import InitxError

from ..space import space_from

ORACLE_FILE = "oracle.json"
_TRIALS = "trial_*/trial.json"
# KerasTuner's classes raise these for JSON that they did not write.
_FOREIGN = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class KerasTunerFolder:
    """A KerasTuner search, as read from its files.

    Attributes:
        path: The project folder.
        trials: The trials, in the order in which they started.
        space: All hyperparameters.
    """

    path: Path
    trials: tuple[kt_trial.Trial, ...]
    space: keras_tuner.HyperParameters

    @property
    def completed(self) -> list[kt_trial.Trial]:
        """Return the trials to which KerasTuner assigned a score."""
        return [t for t in self.trials if t.status == kt_trial.TrialStatus.COMPLETED and t.score is not None]


def is_keras_tuner_folder(folder: Path) -> bool:
    """Return whether a folder contains files that KerasTuner wrote."""
    return (folder / ORACLE_FILE).is_file() or any(folder.glob(_TRIALS))


def nested_folder_hint(folder: Path) -> str:
    """Return a sentence that names a search in a subfolder, or "".

    A tuner writes to `directory/project_name`, so that its `directory` is easily passed by mistake.
    """
    projects = sorted(path.parent for path in folder.glob(f"*/{ORACLE_FILE}"))
    return f"It contains one: {projects[0]}." if projects else ""


def open_folder(folder: str | Path, argument: str = "folder") -> KerasTunerFolder:
    """Read a project folder.

    The trials are sorted by name if `oracle.json` is missing, as a killed KerasTuner may leave it.

    Args:
        folder: The tuner's `directory/project_name`.
        argument: The argument that errors name.

    Raises:
        InitxError: The folder does not exist or has no files of KerasTuner, or a file is damaged.
    """
    path = Path(folder)
    allowed = "the project folder of a KerasTuner search"
    if not path.is_dir():
        problem = f"`{argument}` {str(folder)!r} is not a folder"
        remedy = "Pass directory/project_name of the tuner."
        raise InitxError(argument, str(folder), allowed, remedy, problem)
    if not is_keras_tuner_folder(path):
        problem = f"`{argument}` {str(folder)!r} is not {allowed} with its {ORACLE_FILE}"
        raise InitxError(argument, str(folder), allowed, nested_folder_hint(path), problem)
    state: dict[str, Any] = {}
    space = keras_tuner.HyperParameters()
    if (file := path / ORACLE_FILE).is_file():
        remedy = "Restore it, or move it away: the trials can be read without it."
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            space = space_from(state["hyperparameters"])
        except _FOREIGN as error:
            raise _damaged(argument, file, remedy) from error
    trials = [_read_trial(file, argument) for file in sorted(path.glob(_TRIALS))]
    for trial in trials:
        space.merge(trial.hyperparameters, overwrite=False)
    order = {trial_id: index for index, trial_id in enumerate(state.get("start_order", ()))}
    trials.sort(key=lambda trial: order.get(trial.trial_id, len(order)))
    return KerasTunerFolder(path, tuple(trials), space)


def objective_of_folder(
    folder: KerasTunerFolder, objective: str | keras_tuner.Objective | None, argument: str = "folder"
) -> keras_tuner.Objective:
    """Return the objective of a search, which KerasTuner does not store.

    It is the metric whose best value equals the score in every completed trial. If several metrics do, as
    two accuracies that are both 1, a metric of the validation data wins.

    Args:
        folder: The search.
        objective: Another metric to read the trials by. A name takes the direction that KerasTuner stored.
        argument: The argument that errors name for the folder.

    Raises:
        InitxError: No trial is completed, no trial has the metric, or the scores match no metric, or
            metrics of both directions.
    """
    directions = {n: h.direction for t in folder.trials for n, h in t.metrics.metrics.items()}
    metrics = _listed(directions)
    if objective is not None:
        name = objective if isinstance(objective, str) else objective.name
        if name not in directions:
            raise InitxError("objective", name, f"a metric of the trials ({metrics})")
        return keras_tuner.Objective(name, directions[name]) if isinstance(objective, str) else objective
    if not folder.completed:
        problem = f"`{argument}` {str(folder.path)!r}: none of its {len(folder.trials)} trials is completed"
        remedy = "Run more trials, or pass objective=."
        allowed = "a search with a completed trial"
        raise InitxError(argument, str(folder.path), allowed, remedy, problem)
    matching = [
        name
        for name, direction in sorted(directions.items())
        if all(best_of(trial, name, direction) == trial.score for trial in folder.completed)
    ]
    matching.sort(key=lambda name: not name.startswith("val_"))
    if len({directions[name] for name in matching}) != 1:
        which = f"both of {_listed(matching)}" if matching else "none of the metrics"
        problem = f"`objective` does not follow from the scores, which match {which}"
        remedy = f"Pass objective=, one of {metrics}."
        raise InitxError("objective", None, f"one of the metrics {metrics}", remedy, problem)
    return keras_tuner.Objective(matching[0], directions[matching[0]])


def best_of(trial: kt_trial.Trial, name: str, direction: str) -> float | None:
    """Return the best value of a metric over its steps, or None if it is NaN at every step."""
    values = [value for value in steps_of(trial, name).values() if value == value]
    if not values:
        return None
    return max(values) if direction == "max" else min(values)


def steps_of(trial: kt_trial.Trial, name: str) -> dict[int, float]:
    """Return the values of a metric by step, each the mean over the executions that reported it."""
    if not trial.metrics.exists(name):
        return {}
    return {int(o.step): float(o.mean()) for o in trial.metrics.get_history(name)}


def _read_trial(file: Path, argument: str) -> kt_trial.Trial:
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        # Older versions of KerasTuner wrote no message.
        return kt_trial.Trial.from_state({"message": None, **state})
    except _FOREIGN as error:
        remedy = f"Restore it, or move {file.parent.name} away: the other trials can be read without it."
        raise _damaged(argument, file, remedy) from error


def _damaged(argument: str, file: Path, remedy: str) -> InitxError:
    problem = f"`{argument}` has a damaged file: {str(file)!r}"
    return InitxError(argument, str(file), "an intact file of KerasTuner", remedy, problem)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
