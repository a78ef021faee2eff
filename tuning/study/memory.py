"""The Optuna study behind an oracle, read and written so that several processes can share it."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import keras_tuner
import optuna
from optuna.trial import FrozenTrial, TrialState

from ..pruning import LayerStart, as_record
from ..storage import no_retry, open_storage, quiet_optuna, retry, storage_label
from .attributes import (
    ENDING_ATTRIBUTE,
    HEARTBEAT_ATTRIBUTE,
    OUT_OF_RACE_PREFIX,
    OWNER_ATTRIBUTE,
    RACE_PREFIX,
    REASON_ATTRIBUTE,
    SEED_PREFIX,
    START_ATTRIBUTE,
    SURPLUS_ATTRIBUTE,
    seed_records,
)
from .heartbeat import Heartbeat, Liveness, is_local, new_owner
from .locks import SETTLE_SECONDS, StudyLock
from .results import TrialResult, read_trial

# Seconds after which a process checks again that it still owns its trial.
_CHECK_SECONDS = 1.0

T = TypeVar("T")


class TakenOver(Exception):
    """Another process runs the trial now, because it received no heartbeat of this one for too long."""


class StudyMemory:
    """The part of an oracle that holds the study and writes every record as soon as it is known.

    A trial has one owner, the only process that writes to it. Other processes on the same machine watch the
    owner's process; processes elsewhere watch its heartbeat, sent every ten seconds. A process that sends no
    heartbeat for a minute loses its trial; its next write raises `TakenOver`.

    Args:
        storage, study_name, shared: As in `OptunaOracle`.
    """

    objective: keras_tuner.Objective
    _project_dir: str

    def __init__(self, storage: Any, study_name: str, shared: bool) -> None:
        self._storage, self._study_name, self.is_shared = storage, study_name, shared
        self._study: optuna.Study | None = None
        self._pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        # The trials that this process runs. This dictionary and the next four have trial ids as keys.
        self._running: dict[str, optuna.trial.Trial] = {}
        self._end_reasons: dict[str, str] = {}
        # When this process last checked that it owns the trial.
        self._checked_at: dict[str, float] = {}
        # The values that are not stored yet, by step.
        self._pending: dict[str, dict[int, float]] = {}
        # The steps that an earlier process stored.
        self._earlier_steps: dict[str, frozenset[int]] = {}
        self._owner = new_owner()
        self._liveness = Liveness()
        self._heartbeat = Heartbeat(self._beat, self._owner)
        self._study_lock: StudyLock | None = None

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened or created when it is first used."""
        if self._study is None:
            # The folder is unknown until a tuner takes the oracle.
            folder = Path() if self._storage is not None else Path(self._project_dir)
            storage = open_storage(self._storage, folder)
            directions = optuna.study.StudyDirection
            direction = directions.MAXIMIZE if self.objective.direction == "max" else directions.MINIMIZE
            with quiet_optuna(), warnings.catch_warnings():
                # Metric names have been experimental since Optuna 3.4.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study = optuna.create_study(
                    storage=storage, study_name=self._study_name, direction=direction, load_if_exists=True
                )
                if not self._study.metric_names:
                    # Optuna's dashboards would call it "Objective 0".
                    self._study.set_metric_names([self.objective.name])
            self._study.pruner = self._pruner
        return self._study

    @property
    def location(self) -> str:
        """The storage of the study, as an error may name it."""
        return storage_label(self._storage, Path(self._project_dir))

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the study."""
        return retry(lambda: self.study.user_attrs)

    def frozen_trials(self) -> list[FrozenTrial]:
        """Return every trial that any process has started, in the order of their numbers."""
        return started_trials(retry(self.study.get_trials, deepcopy=False))

    def frozen(self, trial_id: str) -> FrozenTrial:
        """Return the study's trial of that id."""
        return retry(self.study.get_trials, deepcopy=False)[int(trial_id)]

    def results(self) -> tuple[TrialResult, ...]:
        """Return every trial that has started, with all its seeds."""
        attributes = self.attributes()
        return tuple(_read(frozen, attributes) for frozen in self.frozen_trials())

    def result(self, trial_id: str) -> TrialResult:
        """Return one trial, with all its seeds."""
        return _read(self.frozen(trial_id), self.attributes())

    def seed_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """Return the records that `report_seed` stored for a trial, by seed."""
        return seed_records(self.frozen(trial_id))

    def report_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of one seed at once, so that a crash in the next seed does not lose it.

        Raises:
            TakenOver: Another process owns the trial now.
        """

        def write() -> None:
            self._store_pending(trial_id)
            self._running[trial_id].set_user_attr(f"{SEED_PREFIX}{seed}", dict(record))

        self._write_if_owned(trial_id, write)

    def report_start(self, trial_id: str, layers: Sequence[LayerStart]) -> None:
        """Store the signal of each layer before training.

        Raises:
            TakenOver: Another process owns the trial now.
        """
        start = as_record(layers)
        self._write_if_owned(trial_id, lambda: self._running[trial_id].set_user_attr(START_ATTRIBUTE, start))

    def report_epoch(self, trial_id: str, step: int, value: float) -> bool:
        """Store the objective after one epoch, at a step of the trial; return whether to prune it now.

        Without a pruner nothing reads the values, so they are stored once a second and with the seed:
        epochs may be short.

        Raises:
            TakenOver: Another process owns the trial now.
        """
        self._pending.setdefault(trial_id, {})[step] = value
        prunes = not isinstance(self._pruner, optuna.pruners.NopPruner)
        if prunes or self._is_check_due(trial_id):
            self._write_if_owned(trial_id, lambda: self._store_pending(trial_id))
        # Optuna's pruners look at the last step of a trial, which a seed that runs again has not reached.
        if not prunes or step in self._earlier_steps[trial_id]:
            return False
        return self._write_if_owned(trial_id, self._running[trial_id].should_prune)

    def end_early(self, trial_id: str, how: str, reason: str) -> None:
        """Mark a trial as ended early, which the study counts as a bad result.

        Args:
            trial_id: The trial.
            how: "screened" or "pruned".
            reason: Why, in words.

        Raises:
            TakenOver: Another process owns the trial now.
        """

        def write() -> None:
            self._running[trial_id].set_user_attr(ENDING_ATTRIBUTE, how)
            self._running[trial_id].set_user_attr(REASON_ATTRIBUTE, reason)

        self.check_owned(trial_id)
        self._write_if_owned(trial_id, write)
        self._end_reasons[trial_id] = reason

    def _write_if_owned(self, trial_id: str, write: Callable[[], T]) -> T:
        """Call `write` while this process owns the trial, with retries; return what it returns.

        Raises:
            TakenOver: Another process owns the trial now.
        """

        def attempt() -> T:
            # Reading a trial takes twice as long as writing a value.
            if self._is_check_due(trial_id):
                self._check_owner(trial_id)
            # A process that is cut off may lose its trial, so a retry after a failed write checks again.
            checked_at = self._checked_at.pop(trial_id)
            result = write()
            self._checked_at[trial_id] = checked_at
            return result

        return retry(attempt)

    def _is_check_due(self, trial_id: str) -> bool:
        return time.monotonic() - self._checked_at.get(trial_id, float("-inf")) > _CHECK_SECONDS

    def _check_owner(self, trial_id: str) -> None:
        frozen = self.study.get_trials(deepcopy=False)[int(trial_id)]
        if frozen.user_attrs.get(OWNER_ATTRIBUTE) != self._owner:
            raise TakenOver(f"another process took over trial {int(trial_id)}")
        self._checked_at[trial_id] = time.monotonic()
        # The first check precedes the first value of this process.
        self._earlier_steps.setdefault(trial_id, frozenset(frozen.intermediate_values))

    def _store_pending(self, trial_id: str) -> None:
        """Store the pending values, except at steps that an earlier process stored."""
        values = self._pending.get(trial_id, {})
        for step in tuple(values):
            # A seed that runs again after a crash reproduces the values that are stored already.
            if step not in self._earlier_steps[trial_id]:
                self._running[trial_id].report(values[step], step)
            del values[step]

    def _forget(self, trial_id: str) -> None:
        """Drop the state of a trial that this process has ended or lost; it may get the trial again."""
        del self._running[trial_id]
        for state in (self._checked_at, self._pending, self._earlier_steps, self._end_reasons):
            state.pop(trial_id, None)

    def set_pruner(self, pruner: optuna.pruners.BasePruner) -> None:
        """Set the pruner that `report_epoch` asks."""
        self._pruner = pruner
        if self._study is not None:
            self._study.pruner = pruner

    def report_race_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of a seed of the race.

        Raises:
            LockLost: Another process runs the race now.
        """
        self._write_in_race(f"{RACE_PREFIX}{int(trial_id)}_{seed}", dict(record))

    def report_out_of_race(self, trial_id: str, reason: str) -> None:
        """Mark a trial as out of the race, because a seed of the race failed.

        Raises:
            LockLost: Another process runs the race now.
        """
        self._write_in_race(f"{OUT_OF_RACE_PREFIX}{int(trial_id)}", reason)

    def check_lock(self, name: str) -> None:
        """Raise `LockLost` if this process is in a `hold` block of a lock that another process owns now."""
        if self._study_lock is not None:
            retry(self._study_lock.check, name)

    def _write_in_race(self, name: str, value: Any) -> None:
        def write() -> None:
            # A process that waits for a database may lose the lock, so every attempt checks it.
            if self._study_lock is not None:
                self._study_lock.check("race")
            self.study.set_user_attr(name, value)

        retry(write)

    def check_owned(self, trial_id: str) -> None:
        """Store the pending values of a trial; raise `TakenOver` if another process owns it now."""
        self._checked_at.pop(trial_id, None)
        self._write_if_owned(trial_id, lambda: self._store_pending(trial_id))

    def has_running_others(self) -> bool:
        """Return whether to wait for trials of other processes, since those processes may die.

        A search that is not `shared` waits only for processes on another machine, whose death shows late,
        for trials whose owner is not stored yet, and for stale trials.
        """
        for frozen in self._trials_of_others():
            owner = frozen.user_attrs.get(OWNER_ATTRIBUTE)
            # A process may have been killed between `ask` and storing its owner. A stale trial became stale
            # after this process had looked for one to take over, and it will look again.
            if self.is_shared or owner is None or not is_local(owner) or self._liveness.is_stale(frozen):
                return True
        return False

    def others_are_alive(self) -> bool:
        """Return whether another process may be running a trial."""
        return not all(self._liveness.is_stale(frozen) for frozen in self._trials_of_others())

    def release(self) -> None:
        """Release the unfinished trials of this process, so that others can take them over at once."""
        self._heartbeat.stop()
        for trial_id, trial in self._running.items():
            # If the database is unreachable, others notice the missing heartbeat.
            with suppress(Exception), no_retry():
                if self.owns(trial_id):
                    trial.set_user_attr(OWNER_ATTRIBUTE, {})

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock of the study within a block: one process at a time, the others wait."""
        if self._study_lock is None:
            self._study_lock = StudyLock(self.study, self._owner, self._liveness)
        self._heartbeat.start()
        try:
            with self._study_lock.hold(name):
                yield
        finally:
            if not self._running:
                self._heartbeat.stop()

    def owns(self, trial_id: str) -> bool:
        """Return whether this process owns a trial."""
        return bool(self.frozen(trial_id).user_attrs.get(OWNER_ATTRIBUTE) == self._owner)

    def sign(self, trial: optuna.trial.Trial) -> None:
        """Make this process the owner of a trial that it asked for."""
        retry(trial.set_user_attr, OWNER_ATTRIBUTE, self._owner)

    def take_stale_trial(self, prepare: Callable[[int], None]) -> optuna.trial.Trial | None:
        """Return a stale trial that this process has taken over, or None.

        The trial keeps its number, its hyperparameters and the seeds that it finished.

        Args:
            prepare: Called with the number of the trial before Optuna opens it.
        """
        for frozen in self._trials_of_others():
            if self._liveness.is_stale(frozen):
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
                if self.owns(str(frozen.number)):
                    return trial
        return None

    def _take_over(self, trial: optuna.trial.Trial) -> bool:
        # Between two attempts another process may have taken it over and train it.
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        if frozen.user_attrs.get(OWNER_ATTRIBUTE) != self._owner and not self._liveness.is_stale(frozen):
            return False
        trial.set_user_attr(OWNER_ATTRIBUTE, self._owner)
        if REASON_ATTRIBUTE in frozen.user_attrs:
            # Its last process died before it could end the trial for this reason.
            trial.set_user_attr(REASON_ATTRIBUTE, "")
        return True

    def tell(self, trial: optuna.trial.Trial, score: float | None, state: TrialState) -> None:
        """End a trial in the study."""
        try:
            self.study.tell(trial.number, score, state=state)
        except (RuntimeError, ValueError):
            # The grid sampler stops the study after its last point, which raises outside of `optimize`,
            # but the trial has its result by then. The same holds for a retry of a write that got
            # through, and for a trial that another process took over and finished.
            if not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                raise

    def _trials_of_others(self) -> list[FrozenTrial]:
        running = [t for t in self.frozen_trials() if t.state == TrialState.RUNNING]
        return [t for t in running if t.user_attrs.get(OWNER_ATTRIBUTE) != self._owner]

    def _beat(self) -> None:
        if self._study_lock is not None:
            self._study_lock.beat()
        for trial_id, trial in tuple(self._running.items()):
            if self.owns(trial_id):
                trial.set_user_attr(HEARTBEAT_ATTRIBUTE, time.time())
        # `Liveness` needs to see the heartbeats of others regularly to notice one that stops.
        for frozen in self._trials_of_others():
            self._liveness.is_stale(frozen)


def started_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that a search has started: neither only enqueued nor beyond its limit."""
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
