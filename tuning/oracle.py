"""A KerasTuner oracle whose memory, sampler and storage are an Optuna study.

KerasTuner keeps trials in files that it truncates in place, and forgets a trial that was running when
its process died. A study is a database: every write is whole, and a restarted search goes on where it was.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

import keras_tuner
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from .oracles import OracleSampler
from .pruning import quiet_optuna
from .records import ENDED, OWNER, RACE, REASON, SEED, SURPLUS, is_orphan, seed_records, this_process
from .results import TrialResult, read_trial
from .samplers import check_sampler, make_sampler
from .space import check_known, grid_of, grid_size, suggest
from .storages import open_storage, place_of

Sampler: TypeAlias = str | optuna.samplers.BaseSampler | keras_tuner.Oracle

_SPACE = "keras_tuner_space"
# Seconds in which two processes that want the same trial both sign it.
_TO_SIGN = 0.5
_STATUS = {
    TrialState.COMPLETE: kt_trial.TrialStatus.COMPLETED,
    TrialState.FAIL: kt_trial.TrialStatus.FAILED,
    # FAILED would count among the trials that raised in a row, after which KerasTuner gives up.
    TrialState.PRUNED: kt_trial.TrialStatus.INVALID,
    TrialState.RUNNING: kt_trial.TrialStatus.RUNNING,
    TrialState.WAITING: kt_trial.TrialStatus.IDLE,
}


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    """One thread at a time: `keras_tuner.synchronized` keeps its lock for ever after an exception."""

    @wraps(method)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class OptunaOracle(keras_tuner.Oracle):
    """Asks an Optuna study for hyperparameters and tells it the result.

    Works with any `keras_tuner.Tuner`. Names stay names: a `Choice` is a categorical parameter, not
    a position in a list, so neighbours in the list are not taken for alike.

    Args:
        objective: As in `keras_tuner.Oracle`: a metric's name, or a `keras_tuner.Objective`.
        max_trials: How many trials to run in all, those of earlier processes included. None goes on
            until the sampler has no more (only the grid ends by itself).
        sampler: "tpe", "random", "grid" (every combination of a space without ranges and without
            conditions, in a random order), "gp" (needs PyTorch), "cmaes" (needs cmaes), an
            `optuna.samplers.BaseSampler`, or another `keras_tuner.Oracle` that proposes the values.
        storage: As in `open_storage`: a URL, a journal file, an Optuna storage; None is a SQLite file
            `study.db` in the tuner's project folder.
        study_name: The study's name in the storage.
        seed: Seed of the sampler.
        enqueue: Candidates to try before any other, as values by name; what they leave out is sampled.
            They are part of `max_trials`.
        **kwargs: As in `keras_tuner.Oracle`.

    Raises:
        InitxError: An unknown sampler, or one whose package is missing; a grid over a range, under a
            condition or with `enqueue`; a candidate that is not in the space.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = None,
        sampler: Sampler = "tpe",
        storage: Any = None,
        study_name: str = "keras-initx",
        seed: int = 0,
        enqueue: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        if isinstance(sampler, keras_tuner.Oracle):
            sampler = OracleSampler(sampler, self.get_space)
        elif isinstance(sampler, str):
            check_sampler(sampler)
        super().__init__(objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        self.seed = seed
        self._sampler = sampler
        self._enqueue: tuple[dict[str, Any], ...] = ()
        self.enqueue(enqueue)
        self._storage = storage
        self._study_name = study_name
        self._study: optuna.Study | None = None
        self._running: dict[str, optuna.trial.Trial] = {}
        self._ended: dict[str, str] = {}
        self._pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        self._lock = threading.RLock()

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened or created at the first use."""
        if self._study is None:
            # The folder is known once a tuner has the oracle.
            folder = Path() if self._storage is not None else Path(self._project_dir)
            storage = open_storage(self._storage, folder)
            maximize = self.objective.direction == "max"
            direction = (
                optuna.study.StudyDirection.MAXIMIZE if maximize else optuna.study.StudyDirection.MINIMIZE
            )
            with quiet_optuna():
                self._study = optuna.create_study(
                    storage=storage, study_name=self._study_name, direction=direction, load_if_exists=True
                )
            self._study.pruner = self._pruner
        return self._study

    @property
    def place(self) -> str:
        """Where the study is kept, as an error may name it."""
        return place_of(self._storage, Path(self._project_dir))

    def frozen_trials(self) -> list[FrozenTrial]:
        """All trials that have begun, those of other processes too, in the order of their numbers."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.state != TrialState.WAITING and SURPLUS not in t.user_attrs]

    def frozen(self, trial_id: str) -> FrozenTrial:
        """A trial of the study by its id."""
        return self.study.get_trials(deepcopy=False)[int(trial_id)]

    def enqueue(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Adds candidates to those that are tried before any other, if no trial has begun.

        Raises:
            InitxError: There are some, and the sampler is the grid; no dictionaries.
        """
        if self._sampler == "grid" and candidates:
            raise InitxError("enqueue", candidates, "nothing for a grid, which tries everything anyway")
        if isinstance(candidates, Mapping) or not all(isinstance(v, Mapping) for v in candidates):
            raise InitxError("enqueue", candidates, "a list of dictionaries, each with values by name")
        self._enqueue = (*self._enqueue, *(dict(values) for values in candidates))

    def seed_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """What is known of each seed of a trial: seed to the record that `report_seed` stored."""
        return seed_records(self.frozen(trial_id))

    def report_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Stores the result of one seed at once, so that a crash in the next one does not lose it."""
        self._running[trial_id].set_user_attr(f"{SEED}{seed}", dict(record))

    def race_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """The records of the seeds that a finished trial was given afterwards."""
        prefix = f"{RACE}{int(trial_id)}_"
        attributes = self.study.user_attrs
        found = {int(n.removeprefix(prefix)): r for n, r in attributes.items() if n.startswith(prefix)}
        return dict(sorted(found.items()))

    def report_race(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Stores the result of such a seed."""
        self.study.set_user_attr(f"{RACE}{int(trial_id)}_{seed}", dict(record))

    def results(self) -> tuple[TrialResult, ...]:
        """All trials that have begun, with every seed."""
        return tuple(self.result(str(t.number)) for t in self.frozen_trials())

    def result(self, trial_id: str) -> TrialResult:
        """One trial, with every seed."""
        return read_trial(self.frozen(trial_id), self.race_results(trial_id))

    def prune_by(self, pruner: optuna.pruners.BasePruner) -> None:
        """Sets the pruner that `report_epoch` asks."""
        self._pruner = pruner
        if self._study is not None:
            self._study.pruner = pruner

    def report_epoch(self, trial_id: str, step: int, value: float) -> bool:
        """Stores the objective after one epoch, at a step of the trial; returns whether to prune it now."""
        trial = self._running[trial_id]
        # A seed that is run again after a crash has the values that it had.
        if step not in self.frozen(trial_id).intermediate_values:
            trial.report(value, step)
        return trial.should_prune()

    def end_early(self, trial_id: str, how: str, reason: str) -> None:
        """Notes that a trial is ended as "screened" or "pruned": the study learns that it was bad."""
        self._running[trial_id].set_user_attr(ENDED, how)
        self._running[trial_id].set_user_attr(REASON, reason)
        self._ended[trial_id] = reason

    @_locked
    def create_trial(self, tuner_id: str) -> kt_trial.Trial:
        """The next trial: first one that a dead process left running, then a new one."""
        if tuner_id in self.ongoing_trials:
            return self.ongoing_trials[tuner_id]
        trial = self._orphan() or self._new()
        if trial is None:
            return kt_trial.Trial(self.get_space(), "stopped", kt_trial.TrialStatus.STOPPED)
        hyperparameters = self._suggest(trial)
        made = kt_trial.Trial(hyperparameters, _trial_id(trial.number), kt_trial.TrialStatus.RUNNING)
        self.trials[made.trial_id] = made
        self.ongoing_trials[tuner_id] = made
        self.start_order.append(made.trial_id)
        self._running[made.trial_id] = trial
        self._display.on_trial_begin(made)
        return made

    @_locked
    def end_trial(self, trial: kt_trial.Trial) -> None:
        """Tells the study how the trial ended.

        Raises:
            RuntimeError: As many trials in a row raised as `max_consecutive_failed_trials` allows.
        """
        known = self.trials[trial.trial_id]
        known.hyperparameters, known.status, known.message = (
            trial.hyperparameters,
            trial.status,
            trial.message,
        )
        self.update_space(known.hyperparameters)
        running = self._running.pop(trial.trial_id)
        score = None
        if trial.trial_id in self._ended:
            known.status, known.message = kt_trial.TrialStatus.INVALID, self._ended.pop(trial.trial_id)
            self._tell(running, None, TrialState.PRUNED)
            self._close(known)
            return
        if known.status == kt_trial.TrialStatus.COMPLETED:
            self.score_trial(known)
            score = known.score
        if score is None or score != score:
            reason = _last_line(known.message) or f"the objective {self.objective.name} is {score}"
            known.status, known.message = kt_trial.TrialStatus.FAILED, known.message or reason
            running.set_user_attr(REASON, reason)
            self._tell(running, None, TrialState.FAIL)
        else:
            self._tell(running, float(score), TrialState.COMPLETE)
        self._close(known)

    def _close(self, known: kt_trial.Trial) -> None:
        self.end_order.append(known.trial_id)
        for tuner_id in [k for k, t in self.ongoing_trials.items() if t is known]:
            del self.ongoing_trials[tuner_id]
        self._display.on_trial_end(known)
        self._check_consecutive_failures()

    def get_best_trials(self, num_trials: int = 1) -> list[kt_trial.Trial]:
        """The best completed trials of the study, whichever process ran them."""
        done = [t for t in self.frozen_trials() if t.state == TrialState.COMPLETE]
        done.sort(key=lambda t: float(t.value or 0.0), reverse=self.objective.direction == "max")
        return [self._as_keras_tuner(t) for t in done[:num_trials]]

    def get_trial(self, trial_id: str) -> kt_trial.Trial:
        """The trial of that id, from this process or from the study."""
        return self.trials.get(trial_id) or self._as_keras_tuner(self.frozen(trial_id))

    @property
    def trial_limit(self) -> int | None:
        """How many trials there can be: `max_trials`, or the size of a smaller grid; None without limit."""
        if self._sampler != "grid":
            return self.max_trials
        size = grid_size(self.hyperparameters)
        return size if self.max_trials is None else min(self.max_trials, size)

    def remaining_trials(self) -> int | None:
        """How many trials are left to start or to finish; None where there is no limit."""
        limit = self.trial_limit
        if limit is None:
            return None
        return max(0, limit - sum(t.state.is_finished() for t in self.frozen_trials()))

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Adds new hyperparameters to the space, and to the study for the next process."""
        super().update_space(hyperparameters)
        self.study.set_user_attr(_SPACE, self.hyperparameters.get_config())

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> kt_trial.Trial:
        """Registers metrics of a running trial; the study hears of them at the end."""
        trial = self.trials[trial_id]
        self._check_objective_found(metrics)
        for name, value in metrics.items():
            if not trial.metrics.exists(name):
                direction = self.objective.direction if name == self.objective.name else None
                trial.metrics.register(name, direction=direction or "max")
            trial.metrics.update(name, value, step=step)
        return trial

    def save(self) -> None:
        """Does nothing: every change is in the study already."""

    def reload(self) -> None:
        """Takes the space from the study; its trials are read whenever they are asked for."""
        config = self.study.user_attrs.get(_SPACE)
        if config is not None:
            self.hyperparameters = keras_tuner.HyperParameters.from_config(config)

    def _orphan(self) -> optuna.trial.Trial | None:
        """A trial left running by a process of this machine that is no more, to be taken over.

        It keeps its number, its hyperparameters and the seeds that it finished.
        """
        mine = {t.number for t in self._running.values()}
        for frozen in self.frozen_trials():
            if frozen.state == TrialState.RUNNING and frozen.number not in mine and is_orphan(frozen):
                self._use_sampler(frozen.number)
                # Optuna has no public way from a number to a running trial; `ask` does the same.
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                trial.set_user_attr(OWNER, this_process())
                # Another process may have found it in the same moment: the last to sign has it.
                time.sleep(_TO_SIGN)
                if self.frozen(_trial_id(frozen.number)).user_attrs[OWNER] == this_process():
                    return trial
        return None

    def _new(self) -> optuna.trial.Trial | None:
        number = len(self.frozen_trials())
        limit = self.trial_limit
        if limit is not None and number >= limit:
            return None
        if not number:
            self.begin()
        self._use_sampler(number)
        trial = self.study.ask()
        trial.set_user_attr(OWNER, this_process())
        if trial.number != number:
            # Another process asked, too: what is drawn is a matter of the trial's own number.
            self._use_sampler(trial.number)
        rank = sum(t.number <= trial.number for t in self.frozen_trials())
        if limit is not None and rank > limit:
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, None, TrialState.FAIL)
            return None
        return trial

    def begin(self) -> None:
        """Creates the study, and puts the candidates into it if no trial has begun."""
        if self.frozen_trials():
            return
        for values in self._enqueue:
            check_known(self.hyperparameters, values)
        for values in self._enqueue:
            self.study.enqueue_trial(values, skip_if_exists=True)

    def _use_sampler(self, number: int) -> None:
        if self._sampler == "grid":
            # The order of the grid is part of the search: the same in every process.
            self.study.sampler = make_sampler("grid", self.seed, grid_of(self.hyperparameters))
        elif isinstance(self._sampler, str):
            # A resumed search must not draw the numbers that its first process drew.
            self.study.sampler = make_sampler(self._sampler, self.seed + number)
        else:
            self.study.sampler = self._sampler

    def _suggest(self, trial: optuna.trial.Trial) -> keras_tuner.HyperParameters:
        hyperparameters = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            hyperparameters.merge([hp])
            if hyperparameters.is_active(hp):
                hyperparameters.values[hp.name] = suggest(trial, hp)
        return hyperparameters

    def _tell(self, trial: optuna.trial.Trial, score: float | None, state: TrialState) -> None:
        try:
            self.study.tell(trial.number, score, state=state)
        except RuntimeError:
            # The grid sampler stops the study after its last point, which only `optimize` allows; by
            # then the trial has its result.
            if not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                raise

    def _as_keras_tuner(self, frozen: FrozenTrial) -> kt_trial.Trial:
        hyperparameters = self.get_space()
        hyperparameters.values = dict(frozen.params)
        hyperparameters.ensure_active_values()
        trial = kt_trial.Trial(hyperparameters, _trial_id(frozen.number), _STATUS[frozen.state])
        trial.score = frozen.value if frozen.state == TrialState.COMPLETE else None
        trial.message = frozen.user_attrs.get(REASON)
        return trial


def _trial_id(number: int) -> str:
    return f"{number:04d}"


def _last_line(message: str | None) -> str:
    lines = (message or "").strip().splitlines()
    return lines[-1] if lines else ""
