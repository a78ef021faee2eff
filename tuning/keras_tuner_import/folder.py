"""What KerasTuner wrote of a search: the files of its project folder, read and never changed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as kt_trial

from keras_initx.errors import InitxError

ORACLE_FILE = "oracle.json"
_TRIALS = "trial_*/trial.json"
# What the classes of KerasTuner raise for JSON that none of them wrote.
_FOREIGN = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class KerasTunerFolder:
    """A search of KerasTuner's, as its files tell it.

    Attributes:
        path: The project folder.
        trials: Its trials, in the order in which they began.
        space: All hyperparameters.
    """

    path: Path
    trials: tuple[kt_trial.Trial, ...]
    space: keras_tuner.HyperParameters

    @property
    def completed(self) -> list[kt_trial.Trial]:
        """The trials that KerasTuner gave a score."""
        return [t for t in self.trials if t.status == kt_trial.TrialStatus.COMPLETED and t.score is not None]


def is_keras_tuner_folder(folder: Path) -> bool:
    """Whether there is something of KerasTuner's in a folder."""
    return (folder / ORACLE_FILE).is_file() or any(folder.glob(_TRIALS))


def nested_folder_hint(folder: Path) -> str:
    """Where in a folder there is a search: a tuner that is given `directory` writes to a folder in it."""
    inside = sorted(path.parent for path in folder.glob(f"*/{ORACLE_FILE}"))
    return f"There is one in it: {inside[0]}." if inside else ""


def open_folder(folder: str | Path, argument: str = "folder") -> KerasTunerFolder:
    """Reads a project folder.

    Without its `oracle.json`, of which a killed KerasTuner may leave nothing, the trials are in the order of
    their names.

    Args:
        folder: `directory/project_name` of the tuner that wrote it.
        argument: What errors call it.

    Raises:
        InitxError: No such folder, or nothing of KerasTuner's in it; a file that is damaged.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InitxError(argument, str(folder), "the project folder of a KerasTuner search")
    if not is_keras_tuner_folder(path):
        allowed = f"the project folder of a KerasTuner search, with its {ORACLE_FILE}"
        raise InitxError(argument, str(folder), allowed, nested_folder_hint(path))
    state: dict[str, Any] = {}
    space = keras_tuner.HyperParameters()
    if (file := path / ORACLE_FILE).is_file():
        remedy = "Restore it, or move it away: the trials can be read without it."
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            space = keras_tuner.HyperParameters.from_config(state["hyperparameters"])
        except _FOREIGN as error:
            raise _damaged(argument, file, remedy) from error
    trials = [_read_trial(file, argument) for file in sorted(path.glob(_TRIALS))]
    for trial in trials:
        space.merge(trial.hyperparameters, overwrite=False)
    order = {trial_id: place for place, trial_id in enumerate(state.get("start_order", ()))}
    trials.sort(key=lambda trial: order.get(trial.trial_id, len(order)))
    return KerasTunerFolder(path, tuple(trials), space)


def objective_of_folder(
    found: KerasTunerFolder, given: str | keras_tuner.Objective | None, argument: str = "folder"
) -> keras_tuner.Objective:
    """What a search optimized, which KerasTuner does not write down.

    It is the metric whose best value is the score in every completed trial; of several, such as an accuracy
    that is 1 on all data, one of the validation data.

    Args:
        found: The search.
        given: Another metric to read the trials by; a name has the direction that KerasTuner noted for it.
        argument: What errors call the folder.

    Raises:
        InitxError: Nothing is completed; no trial has such a metric; no metric agrees with the scores, or
            metrics of both directions do.
    """
    directions = {n: h.direction for t in found.trials for n, h in t.metrics.metrics.items()}
    if given is not None:
        name = given if isinstance(given, str) else given.name
        if name not in directions:
            raise InitxError("objective", name, f"a metric of the trials: {_listed(directions)}")
        return keras_tuner.Objective(name, directions[name]) if isinstance(given, str) else given
    if not found.completed:
        remedy = f"None of its {len(found.trials)} trials is: run more of them, or pass objective=."
        raise InitxError(argument, str(found.path), "a search with a completed trial", remedy)
    agree = [
        name
        for name, direction in sorted(directions.items())
        if all(best_of(trial, name, direction) == trial.score for trial in found.completed)
    ]
    agree.sort(key=lambda name: not name.startswith("val_"))
    if len({directions[name] for name in agree}) != 1:
        told = f"{_listed(agree)} agree with the scores" if agree else "none agrees with the scores"
        remedy = f"Of the metrics {told}."
        raise InitxError("objective", None, f"the metric of the search: {_listed(directions)}", remedy)
    return keras_tuner.Objective(agree[0], directions[agree[0]])


def best_of(trial: kt_trial.Trial, name: str, direction: str) -> float | None:
    """The best value of a metric over its steps; None where no step has a number."""
    values = [value for value in steps_of(trial, name).values() if value == value]
    if not values:
        return None
    return max(values) if direction == "max" else min(values)


def steps_of(trial: kt_trial.Trial, name: str) -> dict[int, float]:
    """The values of a metric by step, each the mean over the executions that reported it."""
    if not trial.metrics.exists(name):
        return {}
    return {int(o.step): float(o.mean()) for o in trial.metrics.get_history(name)}


def _read_trial(file: Path, argument: str) -> kt_trial.Trial:
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        # Older versions wrote no message.
        return kt_trial.Trial.from_state({"message": None, **state})
    except _FOREIGN as error:
        remedy = f"Restore it, or move {file.parent.name} away: the others can be read without it."
        raise _damaged(argument, file, remedy) from error


def _damaged(argument: str, file: Path, remedy: str) -> InitxError:
    return InitxError(argument, str(file), "a whole file, as KerasTuner wrote it", remedy)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "there are none"
