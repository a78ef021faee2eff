"""What a search remembers: an Optuna study, read and written as the processes that share it must."""

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
from ..storage import no_retry, open_storage, place_of, quiet_optuna, retry
from .attributes import ENDED, OUT, OWNER, PULSE, RACE, REASON, SEED, START, SURPLUS, seed_records
from .heartbeat import Heartbeat, Liveness, is_here, this_process
from .locks import StudyLock
from .results import TrialResult, read_trial

# Seconds between two looks at whether a trial is still this process's.
_LOOK = 1.0

T = TypeVar("T")


class TakenOver(Exception):
    """A trial of this process has been given to another one, which did not hear of this one for too long."""


class StudyMemory:
    """The part of an oracle that has the study: every record is written as soon as it is known.

    A trial has one owner, who alone writes to it. Its owner is seen by its process on the same machine, and
    elsewhere by a sign of life every ten seconds; whose signs fail to come for a minute has lost its trial,
    and hears of it at the next thing that it has to report.

    Args:
        storage, study_name, shared: As in `OptunaOracle`.
    """

    objective: keras_tuner.Objective
    _project_dir: str

    def __init__(self, storage: Any, study_name: str, shared: bool) -> None:
        self._storage, self._study_name, self._shared = storage, study_name, shared
        self._study: optuna.Study | None = None
        self._pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        self._running: dict[str, optuna.trial.Trial] = {}
        self._ended: dict[str, str] = {}
        self._looked: dict[str, float] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._earlier: dict[str, frozenset[int]] = {}
        self._me = this_process()
        self._watcher = Liveness()
        self._pulse = Heartbeat(self._beat, self._me)
        self._claims: StudyLock | None = None

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened or created at the first use."""
        if self._study is None:
            # The folder is known once a tuner has the oracle.
            folder = Path() if self._storage is not None else Path(self._project_dir)
            storage = open_storage(self._storage, folder)
            directions = optuna.study.StudyDirection
            direction = directions.MAXIMIZE if self.objective.direction == "max" else directions.MINIMIZE
            with quiet_optuna(), warnings.catch_warnings():
                # Metric names are experimental, as they have been since Optuna 3.4.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study = optuna.create_study(
                    storage=storage, study_name=self._study_name, direction=direction, load_if_exists=True
                )
                if not self._study.metric_names:
                    # Optuna's pages call it "Objective 0" without.
                    self._study.set_metric_names([self.objective.name])
            self._study.pruner = self._pruner
        return self._study

    @property
    def place(self) -> str:
        """Where the study is kept, as an error may name it."""
        return place_of(self._storage, Path(self._project_dir))

    def attributes(self) -> dict[str, Any]:
        """Those of the study."""
        return retry(lambda: self.study.user_attrs)

    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials that have begun, those of other processes too, in the order of their numbers."""
        return begun(retry(self.study.get_trials, deepcopy=False))

    def frozen(self, trial_id: str) -> FrozenTrial:
        """A trial of the study by its id."""
        return retry(self.study.get_trials, deepcopy=False)[int(trial_id)]

    def results(self) -> tuple[TrialResult, ...]:
        """All trials that have begun, with every seed."""
        attributes = self.attributes()
        return tuple(_read(frozen, attributes) for frozen in self.frozen_trials())

    def result(self, trial_id: str) -> TrialResult:
        """One trial, with every seed."""
        return _read(self.frozen(trial_id), self.attributes())

    def seed_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """What is known of each seed of a trial: seed to the record that `report_seed` stored."""
        return seed_records(self.frozen(trial_id))

    def report_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Stores the result of one seed at once, so that a crash in the next one does not lose it.

        Raises:
            TakenOver: The trial is another process's now.
        """

        def write() -> None:
            self._store_values(trial_id)
            self._running[trial_id].set_user_attr(f"{SEED}{seed}", dict(record))

        self._if_mine(trial_id, write)

    def report_start(self, trial_id: str, layers: Sequence[LayerStart]) -> None:
        """Stores the signal of a trial before its training, layer by layer.

        Raises:
            TakenOver: The trial is another process's now.
        """
        start = as_record(layers)
        self._if_mine(trial_id, lambda: self._running[trial_id].set_user_attr(START, start))

    def report_epoch(self, trial_id: str, step: int, value: float) -> bool:
        """Stores the objective after one epoch, at a step of the trial; returns whether to prune it now.

        Where no pruner reads them, values are stored once a second, and with the seed: epochs may be short.

        Raises:
            TakenOver: The trial is another process's now.
        """
        self._values.setdefault(trial_id, {})[step] = value
        prunes = not isinstance(self._pruner, optuna.pruners.NopPruner)
        if prunes or self._is_due(trial_id):
            self._if_mine(trial_id, lambda: self._store_values(trial_id))
        # Optuna's pruners look at the last step of a trial, which a seed that runs again has yet to come to.
        if not prunes or step in self._earlier[trial_id]:
            return False
        return self._if_mine(trial_id, self._running[trial_id].should_prune)

    def end_early(self, trial_id: str, how: str, reason: str) -> None:
        """Notes that a trial is ended as "screened" or "pruned": the study learns that it was bad.

        Raises:
            TakenOver: The trial is another process's now.
        """

        def write() -> None:
            self._running[trial_id].set_user_attr(ENDED, how)
            self._running[trial_id].set_user_attr(REASON, reason)

        self.check_mine(trial_id)
        self._if_mine(trial_id, write)
        self._ended[trial_id] = reason

    def _if_mine(self, trial_id: str, write: Callable[[], T]) -> T:
        """What a write to a trial returns, each try of which is made only if the trial is this process's.

        Raises:
            TakenOver: The trial is another process's now.
        """

        def tried() -> T:
            # To read a trial back costs twice what a value costs.
            if self._is_due(trial_id):
                self._read_back(trial_id)
            # A process that is cut off may lose its trial meanwhile: whether it has, the next try asks anew.
            looked = self._looked.pop(trial_id)
            result = write()
            self._looked[trial_id] = looked
            return result

        return retry(tried)

    def _is_due(self, trial_id: str) -> bool:
        return time.monotonic() - self._looked.get(trial_id, float("-inf")) > _LOOK

    def _read_back(self, trial_id: str) -> None:
        frozen = self.study.get_trials(deepcopy=False)[int(trial_id)]
        if frozen.user_attrs.get(OWNER) != self._me:
            raise TakenOver(f"trial {int(trial_id)} was taken over by another process")
        self._looked[trial_id] = time.monotonic()
        # The first look comes before the first value of this process.
        self._earlier.setdefault(trial_id, frozenset(frozen.intermediate_values))

    def _store_values(self, trial_id: str) -> None:
        """Stores what `report_epoch` kept, but for the steps that the trial had before."""
        values = self._values.get(trial_id, {})
        for step in tuple(values):
            # A seed that is run again after a crash has the values that it had.
            if step not in self._earlier[trial_id]:
                self._running[trial_id].report(values[step], step)
            del values[step]

    def _forget(self, trial_id: str) -> None:
        """Drops what was kept of a trial that is at an end here: this process may be given it once more."""
        del self._running[trial_id]
        for kept in (self._looked, self._values, self._earlier, self._ended):
            kept.pop(trial_id, None)

    def prune_by(self, pruner: optuna.pruners.BasePruner) -> None:
        """Sets the pruner that `report_epoch` asks."""
        self._pruner = pruner
        if self._study is not None:
            self._study.pruner = pruner

    def race_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """The records of the seeds that a finished trial was given afterwards."""
        return _race(self.attributes(), int(trial_id))

    def report_race(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Stores the result of such a seed.

        Raises:
            ClaimLost: Another process runs the race now.
        """
        self._report_in_race(f"{RACE}{int(trial_id)}_{seed}", dict(record))

    def report_out(self, trial_id: str, reason: str) -> None:
        """Notes that such a seed failed: the trial is out of the race.

        Raises:
            ClaimLost: Another process runs the race now.
        """
        self._report_in_race(f"{OUT}{int(trial_id)}", reason)

    def check_claim(self, name: str) -> None:
        """Raises `ClaimLost` if this process is in a block of that name that another one is in now."""
        if self._claims is not None:
            retry(self._claims.check, name)

    def _report_in_race(self, name: str, value: Any) -> None:
        def report() -> None:
            if self._claims is not None:
                self._claims.check("race")
            self.study.set_user_attr(name, value)

        # Who waits for a database may be given up meanwhile.
        retry(report)

    def check_mine(self, trial_id: str) -> None:
        """Raises `TakenOver` if a trial that this process runs is another's now; else stores its epochs."""
        self._looked.pop(trial_id, None)
        self._if_mine(trial_id, lambda: self._store_values(trial_id))

    def others_run(self) -> bool:
        """Whether other processes run trials that this one is to wait for, since they may die.

        Without `shared` only for those of another machine, of which that is not known at once, and for those
        that nobody has signed yet.
        """
        for frozen in self._of_others():
            if self._watcher.has_lost(frozen):
                continue
            owner = frozen.user_attrs.get(OWNER)
            # Whoever asked for a trial and has not signed it may have been killed between the two.
            if self._shared or owner is None or not is_here(owner):
                return True
        return False

    def give_back(self) -> None:
        """Lets other processes have what this one has not finished, at once."""
        self._pulse.stop()
        for trial_id, trial in self._running.items():
            # Without a database they find out by themselves.
            with suppress(Exception), no_retry():
                if self.is_mine(trial_id):
                    trial.set_user_attr(OWNER, {})

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """A block that one process of the search is in at a time; the others wait."""
        if self._claims is None:
            self._claims = StudyLock(self.study, self._me, self._watcher)
        self._pulse.start()
        try:
            with self._claims.alone(name):
                yield
        finally:
            if not self._running:
                self._pulse.stop()

    def is_mine(self, trial_id: str) -> bool:
        """Whether a trial is this process's."""
        return bool(self.frozen(trial_id).user_attrs.get(OWNER) == self._me)

    def _of_others(self) -> list[FrozenTrial]:
        running = [t for t in self.frozen_trials() if t.state == TrialState.RUNNING]
        return [t for t in running if t.user_attrs.get(OWNER) != self._me]

    def _beat(self) -> None:
        if self._claims is not None:
            self._claims.beat()
        for trial_id, trial in tuple(self._running.items()):
            if self.is_mine(trial_id):
                trial.set_user_attr(PULSE, time.time())
        # That a sign fails to come is known only to who has looked before.
        for frozen in self._of_others():
            self._watcher.has_lost(frozen)


def begun(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those of a study's trials that are a search's: neither only proposed, nor one too many."""
    return [t for t in trials if t.state != TrialState.WAITING and SURPLUS not in t.user_attrs]


def results_of(study: optuna.Study) -> tuple[TrialResult, ...]:
    """All trials of a study that have begun, with every seed; also of a study that no oracle has open."""
    attributes = study.user_attrs
    return tuple(_read(frozen, attributes) for frozen in begun(study.get_trials(deepcopy=False)))


def _read(frozen: FrozenTrial, attributes: Mapping[str, Any]) -> TrialResult:
    out = str(attributes.get(f"{OUT}{frozen.number}", ""))
    return read_trial(frozen, _race(attributes, frozen.number), out)


def _race(attributes: Mapping[str, Any], number: int) -> dict[int, dict[str, Any]]:
    prefix = f"{RACE}{number}_"
    found = {int(n.removeprefix(prefix)): r for n, r in attributes.items() if n.startswith(prefix)}
    return dict(sorted(found.items()))
