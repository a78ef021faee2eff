"""A KerasTuner oracle whose memory, sampler and storage are an Optuna study.

KerasTuner keeps trials in files that it truncates in place, and forgets a trial that was running when
its process died. A study is a database: every write is whole, and a restarted search goes on where it was.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any, TypeAlias

import keras_tuner
import numpy as np
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from ..space import check_known, grid_of, grid_size, suggest
from ..storage import retry
from .attributes import OWNER, REASON, SURPLUS
from .keras_tuner_sampler import OracleSampler
from .locks import SETTLE_SECONDS
from .memory import StudyMemory, TakenOver
from .samplers import check_sampler, make_sampler

Sampler: TypeAlias = str | optuna.samplers.BaseSampler | keras_tuner.Oracle

_SPACE, _SEED = "keras_tuner_space", "sampler_seed"
# Seconds between two looks at the trials of other processes, when nothing else is left to do.
_EVERY = 1.0
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


class OptunaOracle(StudyMemory, keras_tuner.Oracle):
    """Asks an Optuna study for hyperparameters and tells it the result.

    Works with any `keras_tuner.Tuner`. Names stay names: a `Choice` is a categorical parameter, not
    a position in a list, so neighbours in the list are not taken for alike.

    Args:
        objective: As in `keras_tuner.Oracle`: a metric's name, or a `keras_tuner.Objective`.
        max_trials: How many trials to run in all, those of earlier processes included. None goes on
            until the sampler has no more (only the grid ends by itself).
        sampler: "tpe", "random", "grid" (every combination of a space without ranges and without
            conditions, in a random order), "gp" (needs PyTorch), "cmaes" (needs cmaes), an
            `optuna.samplers.BaseSampler`, or another `keras_tuner.Oracle` that proposes the values. One of
            Optuna's is reseeded (`reseed_rng`) where the study has trials already or is shared.
        storage: As in `open_storage`: a URL, a journal file, an Optuna storage; None is a SQLite file
            `study.db` in the tuner's project folder.
        study_name: The study's name in the storage.
        seed: Seed of the sampler, if that is a name; None draws one, which the study keeps.
        enqueue: Candidates to try before any other, as values by name; what they leave out is sampled.
            They are part of `max_trials`.
        shared: Whether other processes may begin the study in the same moment.
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
        seed: int | None = 0,
        enqueue: Sequence[Mapping[str, Any]] = (),
        shared: bool = False,
        **kwargs: Any,
    ) -> None:
        check_sampler(sampler)
        keras_tuner.Oracle.__init__(self, objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        if isinstance(sampler, keras_tuner.Oracle):
            sampler = OracleSampler(sampler, self.get_space, self.objective)
        StudyMemory.__init__(self, storage, study_name, shared)
        self.seed = seed
        self._sampler, self._reseeded = sampler, False
        self._enqueue: tuple[dict[str, Any], ...] = ()
        self.enqueue(enqueue)
        self._lock = threading.RLock()
        self.trials_here: int | None = None
        self._space_written: dict[str, Any] = {}

    @property
    def is_spent(self) -> bool:
        """Whether this process has begun as many trials as it may, by `trials_here`."""
        return self.trials_here is not None and len(self.start_order) >= self.trials_here

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

    @_locked
    def create_trial(self, tuner_id: str) -> kt_trial.Trial:
        """The next trial: first one that a dead process left running, then a new one.

        While other processes still run the last ones it is an idle one, since one of them may die.
        """
        if tuner_id in self.ongoing_trials:
            return self.ongoing_trials[tuner_id]
        if self.is_spent:
            return kt_trial.Trial(self.get_space(), "stopped", kt_trial.TrialStatus.STOPPED)
        # KerasTuner's chief stays until all who asked it have heard that there is no more.
        self.tuner_ids.add(tuner_id)
        trial = self._orphan() or self._new()
        if trial is None:
            if self.others_run():
                time.sleep(_EVERY)
                return kt_trial.Trial(self.get_space(), "idle", kt_trial.TrialStatus.IDLE)
            self.tuner_ids.remove(tuner_id)
            return kt_trial.Trial(self.get_space(), "stopped", kt_trial.TrialStatus.STOPPED)
        hyperparameters = self._suggest(trial)
        made = kt_trial.Trial(hyperparameters, _trial_id(trial.number), kt_trial.TrialStatus.RUNNING)
        self.trials[made.trial_id] = made
        self.ongoing_trials[tuner_id] = made
        self.start_order.append(made.trial_id)
        self._running[made.trial_id] = trial
        self._pulse.start()
        self._display.on_trial_begin(made)
        return made

    @_locked
    def end_trial(self, trial: kt_trial.Trial) -> None:
        """Tells the study how the trial ended; nothing of one that another process has taken over.

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
        try:
            self._end(known)
        except TakenOver:
            known.status = kt_trial.TrialStatus.INVALID
        self._close(known)

    def _end(self, known: kt_trial.Trial) -> None:
        name, running, score = known.trial_id, self._running[known.trial_id], None
        self.check_mine(name)
        if name in self._ended:
            known.status, known.message = kt_trial.TrialStatus.INVALID, self._ended[name]
            self._if_mine(name, lambda: self._tell(running, None, TrialState.PRUNED))
            return
        if known.status == kt_trial.TrialStatus.COMPLETED:
            self.score_trial(known)
            score = known.score
        if score is None or score != score:
            reason = _last_line(known.message) or f"the objective {self.objective.name} is {score}"
            known.status, known.message = kt_trial.TrialStatus.FAILED, known.message or reason
            self._if_mine(name, lambda: running.set_user_attr(REASON, reason))
            self._if_mine(name, lambda: self._tell(running, None, TrialState.FAIL))
        else:
            value = float(score)
            self._if_mine(name, lambda: self._tell(running, value, TrialState.COMPLETE))

    def _close(self, known: kt_trial.Trial) -> None:
        self._forget(known.trial_id)
        if not self._running:
            self._pulse.stop()
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
        if (config := self.hyperparameters.get_config()) != self._space_written:
            retry(self.study.set_user_attr, _SPACE, config)
            self._space_written = config

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
        config = self.attributes().get(_SPACE)
        if config is not None:
            self.hyperparameters = keras_tuner.HyperParameters.from_config(config)

    def _orphan(self) -> optuna.trial.Trial | None:
        """A trial left running by a process that is no more, to be taken over.

        It keeps its number, its hyperparameters and the seeds that it finished.
        """
        for frozen in self._of_others():
            if self._watcher.has_lost(frozen):
                self._use_sampler(frozen.number)
                # Optuna has no public way from a number to a running trial; `ask` does the same.
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                try:
                    if not retry(self._sign, trial):
                        continue
                except optuna.exceptions.UpdateFinishedTrialError:
                    # Whoever ran it was not gone.
                    continue
                # Another process may have found it in the same moment: the last to sign has it.
                time.sleep(SETTLE_SECONDS)
                if self.is_mine(_trial_id(frozen.number)):
                    return trial
        return None

    def _sign(self, trial: optuna.trial.Trial) -> bool:
        # Between two tries another process may have signed, and train it.
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        if frozen.user_attrs.get(OWNER) != self._me and not self._watcher.has_lost(frozen):
            return False
        trial.set_user_attr(OWNER, self._me)
        if REASON in frozen.user_attrs:
            # It did not end as its last process was about to say.
            trial.set_user_attr(REASON, "")
        return True

    def _new(self) -> optuna.trial.Trial | None:
        number = len(self.frozen_trials())
        limit = self.trial_limit
        if limit is not None and number >= limit:
            return None
        if not number:
            self.begin()
        self._use_sampler(number)
        trial = retry(self.study.ask)
        retry(trial.set_user_attr, OWNER, self._me)
        if trial.number != number:
            # Another process asked, too: what is drawn is a matter of the trial's own number.
            self._use_sampler(trial.number)
        rank = sum(t.number <= trial.number for t in self.frozen_trials())
        stopped = isinstance(self._sampler, OracleSampler) and self._sampler.stopped
        if stopped or (limit is not None and rank > limit):
            retry(trial.set_user_attr, SURPLUS, True)
            retry(self._tell, trial, None, TrialState.FAIL)
            return None
        return trial

    def begin(self) -> None:
        """Creates the study, and puts the candidates into it if no trial has begun."""
        if self.frozen_trials():
            return
        for values in self._enqueue:
            check_known(self.hyperparameters, values)
        if self._enqueue and self._shared:
            with self.alone("begin"):
                self._put_candidates()
        else:
            self._put_candidates()

    def _put_candidates(self) -> None:
        for values in self._enqueue:
            retry(self.study.enqueue_trial, values, skip_if_exists=True)

    def _use_sampler(self, number: int) -> None:
        if self._sampler == "grid":
            # The order of the grid is part of the search: the same in every process.
            self.study.sampler = make_sampler("grid", self._seed_of_all(), grid_of(self.hyperparameters))
        elif isinstance(self._sampler, str):
            # A resumed search must not draw the numbers that its first process drew; nor a search of the
            # next seed those of the next trial, as from the sum of the two.
            mixed = np.random.SeedSequence([self._seed_of_all() % 2**32, number]).generate_state(1)[0]
            self.study.sampler = make_sampler(self._sampler, int(mixed))
        else:
            if not self._reseeded and (self._shared or self.frozen_trials()):
                # It begins with the random numbers that another process began with.
                self._sampler.reseed_rng()
            self._reseeded = True
            self.study.sampler = self._sampler

    def _seed_of_all(self) -> int:
        """The seed; where none was given, one that is drawn once for all processes of the search."""
        if self.seed is None:
            with self.alone("seed") if self._shared else nullcontext():
                drawn = self.attributes().get(_SEED)
                if drawn is None:
                    drawn = int(np.random.SeedSequence().generate_state(1)[0])
                    retry(self.study.set_user_attr, _SEED, drawn)
                self.seed = int(drawn)
        return self.seed

    def _suggest(self, trial: optuna.trial.Trial) -> keras_tuner.HyperParameters:
        hyperparameters = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            hyperparameters.merge([hp])
            if hyperparameters.is_active(hp):
                hyperparameters.values[hp.name] = retry(suggest, trial, hp)
        return hyperparameters

    def _tell(self, trial: optuna.trial.Trial, score: float | None, state: TrialState) -> None:
        try:
            self.study.tell(trial.number, score, state=state)
        except (RuntimeError, ValueError):
            # The grid sampler stops the study after its last point, which only `optimize` allows; by
            # then the trial has its result. So it has if it was told twice, or by who took it over.
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
