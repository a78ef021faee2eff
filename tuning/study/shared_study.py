"""The Optuna study of a search, read and written so that several processes can share it."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from optuna.trial import FrozenTrial, TrialState

from ..storage import (
    STUDY_FILE,
    check_no_keras_tuner,
    keep_keras_tuner_out,
    open_storage,
    quiet_optuna,
    retry,
    storage_label,
)
from .attributes import (
    OUT_OF_RACE_PREFIX,
    OWNER_ATTRIBUTE,
    RACE_PREFIX,
    REASON_ATTRIBUTE,
    SURPLUS_ATTRIBUTE,
)
from .heartbeat import Liveness, is_local, new_owner
from .locks import SETTLE_SECONDS, StudyLock
from .results import TrialResult, read_trial


class SharedStudy:
    """An Optuna study and this process's place in it.

    A trial has one owner, the only process that writes to it (`TrialLease`). Other processes on the same
    machine watch the owner's process; processes elsewhere watch its heartbeat, sent every ten seconds. A
    process that sends no heartbeat for a minute loses its trial.

    Args:
        storage, study_name: As in `OptunaOracle`.
        is_shared: Whether other processes may start the same study at the same time.
        objective: The objective, which names the values of the study and gives their direction.
        folder: Returns the folder of the study's file. It is unknown until a tuner takes the oracle.

    Attributes:
        owner: The owner of this process's trials.
        liveness: Decides whether the owners of other trials are alive.
        pruner: The study's pruner.
    """

    def __init__(
        self,
        storage: Any,
        study_name: str,
        is_shared: bool,
        objective: keras_tuner.Objective,
        folder: Callable[[], str],
    ) -> None:
        self._storage, self._study_name, self._objective, self._folder = (
            storage,
            study_name,
            objective,
            folder,
        )
        self.is_shared = is_shared
        self.owner, self.liveness = new_owner(), Liveness()
        self.pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        self._study: optuna.Study | None = None
        self._lock: StudyLock | None = None

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened or created when it is first used."""
        if self._study is None:
            folder = Path() if self._storage is not None else Path(self._folder())
            storage = open_storage(self._storage, folder)
            directions = optuna.study.StudyDirection
            direction = directions.MAXIMIZE if self._objective.direction == "max" else directions.MINIMIZE
            with quiet_optuna(), warnings.catch_warnings():
                # Metric names have been experimental since Optuna 3.4.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study = optuna.create_study(
                    storage=storage, study_name=self._study_name, direction=direction, load_if_exists=True
                )
                if not self._study.metric_names:
                    # Optuna's dashboards would call it "Objective 0".
                    self._study.set_metric_names([self._objective.name])
            self._study.pruner = self.pruner
        return self._study

    @property
    def location(self) -> str:
        """The storage of the study, as an error may name it."""
        return storage_label(self._storage, Path(self._folder()))

    def check_folder(self) -> None:
        """Raise an `InitxError` if the study is new and its folder has a search of KerasTuner already."""
        folder = Path(self._folder())
        # Opening the study would create it.
        if self._storage is None:
            is_begun = (folder / STUDY_FILE).exists()
        else:
            names = optuna.get_all_study_names(open_storage(self._storage, Path()))
            is_begun = self._study_name in names
        if not is_begun:
            check_no_keras_tuner(folder)

    def mark_folder(self) -> None:
        """Make KerasTuner's own oracles refuse the folder."""
        keep_keras_tuner_out(Path(self._folder()))

    def set_pruner(self, pruner: optuna.pruners.BasePruner) -> None:
        """Set the pruner of the study."""
        self.pruner = pruner
        if self._study is not None:
            self._study.pruner = pruner

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the study."""
        return retry(lambda: self.study.user_attrs)

    def set_attribute(self, name: str, value: Any) -> None:
        """Store an attribute of the study."""
        retry(self.study.set_user_attr, name, value)

    def frozen_trials(self) -> list[FrozenTrial]:
        """Return every trial that any process has started, in the order of their numbers."""
        return started_trials(retry(self.study.get_trials, deepcopy=False))

    def frozen(self, number: int) -> FrozenTrial:
        """Return the trial with that number."""
        return retry(self.study.get_trials, deepcopy=False)[number]

    def results(self) -> tuple[TrialResult, ...]:
        """Return every trial that has started, with all its seeds."""
        attributes = self.attributes()
        return tuple(_read(frozen, attributes) for frozen in self.frozen_trials())

    def result(self, number: int) -> TrialResult:
        """Return one trial, with all its seeds."""
        return _read(self.frozen(number), self.attributes())

    def owns(self, number: int) -> bool:
        """Return whether this process owns a trial."""
        return bool(self.frozen(number).user_attrs.get(OWNER_ATTRIBUTE) == self.owner)

    def sign(self, trial: optuna.trial.Trial) -> None:
        """Make this process the owner of a trial that it asked for."""
        retry(trial.set_user_attr, OWNER_ATTRIBUTE, self.owner)

    def tell(self, trial: optuna.trial.Trial, score: float | None, state: TrialState) -> None:
        """End a trial."""
        try:
            self.study.tell(trial.number, score, state=state)
        except (RuntimeError, ValueError):
            # The grid sampler stops the study after its last point, which raises outside of `optimize`,
            # but the trial has its result by then. The same holds for a retry of a write that got
            # through, and for a trial that another process took over and finished.
            if not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                raise

    def take_stale_trial(self, prepare: Callable[[int], None]) -> optuna.trial.Trial | None:
        """Return a stale trial that this process has taken over, or None.

        The trial keeps its number, its hyperparameters and the seeds that it finished.

        Args:
            prepare: Called with the number of the trial before Optuna opens it.
        """
        for frozen in self._trials_of_others():
            if self.liveness.is_stale(frozen):
                prepare(frozen.number)
                # Optuna has no public way from a number to a running trial; `ask` does the same.
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                try:
                    if not retry(self._take_over, trial):
                        continue
                except optuna.exceptions.UpdateFinishedTrialError:
                    # Its process was alive and finished it.
                    continue
                # If two processes find the trial at the same time, the last one to write owns it.
                time.sleep(SETTLE_SECONDS)
                if self.owns(frozen.number):
                    return trial
        return None

    def _take_over(self, trial: optuna.trial.Trial) -> bool:
        # Between two attempts another process may have taken it over and train it.
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        if frozen.user_attrs.get(OWNER_ATTRIBUTE) != self.owner and not self.liveness.is_stale(frozen):
            return False
        trial.set_user_attr(OWNER_ATTRIBUTE, self.owner)
        if REASON_ATTRIBUTE in frozen.user_attrs:
            # Its last process died before it could end the trial for this reason.
            trial.set_user_attr(REASON_ATTRIBUTE, "")
        return True

    def has_running_others(self) -> bool:
        """Return whether to wait for trials of other processes, since those processes may die.

        A search that is not `is_shared` waits only for processes on another machine, whose death shows
        late, for trials whose owner is not stored yet, and for stale trials.
        """
        for frozen in self._trials_of_others():
            owner = frozen.user_attrs.get(OWNER_ATTRIBUTE)
            # A process may have been killed between `ask` and storing its owner. A stale trial became stale
            # after this process had looked for one to take over, and it will look again.
            if self.is_shared or owner is None or not is_local(owner) or self.liveness.is_stale(frozen):
                return True
        return False

    def others_are_alive(self) -> bool:
        """Return whether another process may be running a trial."""
        return not all(self.liveness.is_stale(frozen) for frozen in self._trials_of_others())

    def _trials_of_others(self) -> list[FrozenTrial]:
        running = [t for t in self.frozen_trials() if t.state == TrialState.RUNNING]
        return [t for t in running if t.user_attrs.get(OWNER_ATTRIBUTE) != self.owner]

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock of the study within a block: one process at a time, the others wait."""
        if self._lock is None:
            self._lock = StudyLock(self.study, self.owner, self.liveness)
        with self._lock.hold(name):
            yield

    def check_lock(self, name: str) -> None:
        """Raise `LockLost` if this process is in a `hold` block of a lock that another process owns now."""
        if self._lock is not None:
            retry(self._lock.check, name)

    def report_race_seed(self, number: int, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of a seed of the race, or raise `LockLost`."""
        self._write_in_race(f"{RACE_PREFIX}{number}_{seed}", dict(record))

    def report_out_of_race(self, number: int, reason: str) -> None:
        """Mark a trial as out of the race, because a seed of the race failed, or raise `LockLost`."""
        self._write_in_race(f"{OUT_OF_RACE_PREFIX}{number}", reason)

    def _write_in_race(self, name: str, value: Any) -> None:
        def write() -> None:
            # A process that waits for a database may lose the lock, so every attempt checks it.
            if self._lock is not None:
                self._lock.check("race")
            self.study.set_user_attr(name, value)

        retry(write)

    def beat(self) -> None:
        """Send a heartbeat for each lock that this process holds."""
        if self._lock is not None:
            self._lock.beat()

    def observe(self) -> None:
        """Look at the heartbeats of others, because `Liveness` notices only what it sees regularly."""
        for frozen in self._trials_of_others():
            self.liveness.is_stale(frozen)


def started_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that a search has started, without those only enqueued or beyond its limit."""
    return [t for t in trials if t.state != TrialState.WAITING and SURPLUS_ATTRIBUTE not in t.user_attrs]


def results_of(study: optuna.Study) -> tuple[TrialResult, ...]:
    """Return every started trial of a study, with all its seeds; no oracle needs to have it open."""
    attributes = study.user_attrs
    return tuple(_read(frozen, attributes) for frozen in started_trials(study.get_trials(deepcopy=False)))


def _read(frozen: FrozenTrial, attributes: Mapping[str, Any]) -> TrialResult:
    out_of_race = str(attributes.get(f"{OUT_OF_RACE_PREFIX}{frozen.number}", ""))
    return read_trial(frozen, _race_records(attributes, frozen.number), out_of_race)


def _race_records(attributes: Mapping[str, Any], number: int) -> dict[int, dict[str, Any]]:
    prefix = f"{RACE_PREFIX}{number}_"
    records = {int(n.removeprefix(prefix)): r for n, r in attributes.items() if n.startswith(prefix)}
    return dict(sorted(records.items()))
