"""Trials that another program asks for: their oracle, and hyperparameters that they suggest."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import hyperparameters as hp_types

from keras_initx.errors import InitxError

from ..pruning import LayerStart, as_record
from ..space import parameters_of, space_from
from ..storage import WEIGHT_FILES, disk_errors, retry, settings_in, write_json
from ..study import (
    ENDING_ATTRIBUTE,
    REASON_ATTRIBUTE,
    SEED_PREFIX,
    START_ATTRIBUTE,
    TrialResult,
    combination,
    results_of,
    seed_records,
)

# The file of a results folder that names the study of its weights. That study has the key as an attribute.
_OWNER_FILE = "study.json"
_FOLDER_PREFIX = "results_folder_"
# The file with the attributes of a trial that belongs to no study.
ATTRIBUTES_FILE = "attributes.json"
_KEY_ATTRIBUTE = "folder_key"
# The folder of a trial that is named after its number.
_NUMBERED = re.compile(r"trial_\d{4,}")


class SuggestedValues(keras_tuner.HyperParameters):
    """Hyperparameters that get their values from an Optuna trial when they are declared.

    Hyperparameters that a build declares only under some values of others are suggested when it does.

    Args:
        trial: The trial.
    """

    def __init__(self, trial: Any) -> None:
        super().__init__()
        self._trial = trial

    def declare(self, space: Sequence[Any]) -> None:
        """Declare the hyperparameters of a space, parents before those that depend on them."""
        for hp in space:
            self._retrieve(hp)

    def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
        # KerasTuner has no public method that is called for each new hyperparameter.
        value = super()._register(hyperparameter, overwrite)
        hp = self.space[-1]
        if not self.is_active(hp) or isinstance(hp, hp_types.Fixed):
            return value
        parameter = next(p for p in parameters_of(self.space) if p.hyperparameter is hp)
        try:
            stored = parameter.suggest(self._trial)
        except ValueError:
            # The program that drives the trials suggests only what it knew before the first build.
            if isinstance(self._trial, optuna.trial.FixedTrial) and parameter.name not in self._trial.params:
                return value
            raise
        self.values[hp.name] = parameter.value_of(stored)
        return self.values[hp.name]


class Suggest:
    """A function that suggests the values of a trial without training it.

    It holds only the space: Ray pickles it, and not every model can be pickled.

    Args:
        space: The configuration of the hyperparameters that are known before a trial.
    """

    def __init__(self, space: dict[str, Any]) -> None:
        self._space = space

    def __call__(self, trial: Any) -> None:
        """Suggest all values that the space has for a trial."""
        self.values(trial)

    def values(self, trial: Any) -> SuggestedValues:
        """Return the values, as hyperparameters to which a build may add."""
        values = SuggestedValues(trial)
        values.declare(self.space.space)
        return values

    @property
    def space(self) -> keras_tuner.HyperParameters:
        """A copy of the space."""
        return space_from(self._space)


class StoredTrial(optuna.trial.FixedTrial):
    """A trial with given values whose attributes are kept in a file, so that a restart finds its seeds.

    Args:
        values: The values of the parameters by name.
        file: The JSON file of the attributes.
    """

    def __init__(self, values: Mapping[str, Any], file: Path) -> None:
        super().__init__(dict(values))
        self._file = file
        if file.is_file():
            self._user_attrs = json.loads(file.read_text(encoding="utf-8"))

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep an attribute in the file."""
        super().set_user_attr(key, value)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, self.user_attrs)


class DrivenOracle(keras_tuner.Oracle):
    """The oracle of a tuner that runs the trials of another program, one at a time.

    It has the methods of `OptunaOracle` that a tuner calls, and keeps all that they report in the trial.

    Args:
        objective: The objective.

    Attributes:
        location: The storage, as an error may name it.
    """

    location = "of the study"

    def __init__(self, objective: keras_tuner.Objective) -> None:
        super().__init__(objective)
        self.driver: Any = None

    def open(self) -> None:
        """Do nothing: the program that drives the trials has the study."""

    def set_pruner(self, pruner: object) -> None:
        """Do nothing: the study has a pruner of its own."""

    def check_owned(self, trial_id: str) -> None:
        """Do nothing: the program that drives the trials gives each one to a single process."""

    def seed_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """Return the records of the trial by seed."""
        return seed_records(self.driver)

    def report_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of one seed."""
        self.driver.set_user_attr(f"{SEED_PREFIX}{seed}", dict(record))

    def report_start(self, trial_id: str, layers: Sequence[LayerStart]) -> None:
        """Store the signal of each layer before training."""
        self.driver.set_user_attr(START_ATTRIBUTE, as_record(layers))

    def report_epoch(self, trial_id: str, step: int, value: float) -> bool:
        """Report the objective after one epoch; return whether the pruner of the study ends the trial."""
        self.driver.report(value, step)
        return bool(self.driver.should_prune())

    def end_early(self, trial_id: str, how: str, reason: str) -> None:
        """Raise `optuna.TrialPruned`, after storing the reason."""
        self.driver.set_user_attr(ENDING_ATTRIBUTE, how)
        self.driver.set_user_attr(REASON_ATTRIBUTE, reason)
        raise optuna.TrialPruned(reason)

    def results(self) -> tuple[TrialResult, ...]:
        """Return every trial of the study that the driving program shares."""
        study = getattr(self.driver, "study", None)
        return () if study is None else results_of(study)

    def result(self, trial_id: str) -> TrialResult:
        """Return the trial, with all its seeds."""
        driver = self.driver
        return TrialResult(driver.number, driver.params, "running", seeds=self.seed_results(trial_id))

    def repetition_of(self, trial_id: str) -> int:
        """Return how many earlier trials of the study have the same parameters."""
        history, own = {self.driver.number, *retries_of(self.driver)}, combination(self.driver.params)
        earlier = (t for t in frozen_trials(self.driver) if t.number < self.driver.number)
        return sum(t.number not in history and combination(t.params) == own for t in earlier)


def frozen_trials(trial: Any) -> list[optuna.trial.FrozenTrial]:
    """Return all trials of the study of a trial; none for a `FixedTrial`, which has no study."""
    study = getattr(trial, "study", None)
    return [] if study is None else study.get_trials(deepcopy=False)


def retries_of(trial: Any) -> list[int]:
    """Return the numbers of the failed trials that this one retries, the first one first.

    `optuna.storages.RetryFailedTrialCallback` keeps them.
    """
    frozen = trial
    if not isinstance(trial, optuna.trial.FrozenTrial):
        frozen = next((t for t in frozen_trials(trial) if t.number == trial.number), None)
    return [] if frozen is None else list(frozen.system_attrs.get("retry_history", ()))


def name_of(trial: Any) -> str:
    """Return the name of a trial's folder, which a retried trial shares with its first attempt.

    A `FixedTrial` belongs to no study, and its number is usually 0. It must not replace the weights of a
    trial with the same number, so each keeps a key of its own.
    """
    if isinstance(trial, optuna.trial.FixedTrial):
        if _KEY_ATTRIBUTE not in trial.user_attrs:
            trial.set_user_attr(_KEY_ATTRIBUTE, uuid.uuid4().hex[:12])
        return f"fixed_{trial.user_attrs[_KEY_ATTRIBUTE]}"
    return f"{next(iter(retries_of(trial)), trial.number):04d}"


def claim_folder(study: optuna.Study, folder: Path) -> None:
    """Reserve a results folder for a study, unless the study has it already.

    The study stores the key before the folder does. Whichever process creates the file first, the others find
    its key in the study.

    Raises:
        InitxError: The folder has the weights of another study, or of a search.
    """
    file = folder / _OWNER_FILE
    if not file.exists():
        check_no_search(folder)
        key = uuid.uuid4().hex
        retry(study.set_user_attr, f"{_FOLDER_PREFIX}{key}", True)
        with disk_errors("results", folder, every_os_error=True):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": key, "study": study.study_name}, keep=True)
    check_folder(study, folder)


def check_folder(study: optuna.Study, folder: Path) -> None:
    """Raise an `InitxError` for a folder that has the weights of another study, or of a search."""
    file = folder / _OWNER_FILE
    if not file.exists():
        check_no_search(folder)
        return
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        owner = None
    allowed = f"a folder that no study but {study.study_name!r} uses"
    remedy = "Pass another results= to objective, or remove that folder."
    if not isinstance(owner, dict) or "key" not in owner:
        problem = f"`results` {str(folder)!r}: {file} is damaged"
        raise InitxError("results", str(file), allowed, f"Restore a copy of that file. {remedy}", problem)
    if f"{_FOLDER_PREFIX}{owner['key']}" not in study.user_attrs:
        problem = f"`results` {str(folder)!r} holds the weights of another study, {owner.get('study')!r}"
        raise InitxError("results", str(folder), allowed, remedy, problem)


def check_no_search(folder: Path) -> None:
    """Raise an `InitxError` if the folder holds a search, whose trials have the same names as a study's."""
    weights = folder.glob(f"trial_*/{WEIGHT_FILES}")
    # A named trial of `Objective.run` has its attributes there.
    ours = (path for path in weights if not (path.parent / ATTRIBUTES_FILE).exists())
    is_search = settings_in(folder) is not None or any(_NUMBERED.fullmatch(p.parent.name) for p in ours)
    # Check this last: another process may have claimed the folder and started a trial in the meantime.
    if is_search and not (folder / _OWNER_FILE).exists():
        problem = f"`results` {str(folder)!r} holds a search, whose weights the trials would replace"
        remedy = "Pass another results= to objective."
        raise InitxError("results", str(folder), "a folder without a search", remedy, problem)
