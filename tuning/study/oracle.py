"""A KerasTuner oracle whose memory, sampler and storage are an Optuna study.

KerasTuner keeps trials in files that it truncates in place, and forgets a trial that was running when
its process died. A study is a database: every write is atomic, and a restarted search continues where it
stopped.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras_tuner
import numpy as np
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import TrialState

from ..space import allows, filled, parameters_of, space_from
from ..storage import retry
from .attributes import (
    EXHAUSTED_ATTRIBUTE,
    FAILED_RUNS_ATTRIBUTE,
    METRICS_ATTRIBUTE,
    REASON_ATTRIBUTE,
    VALUES_ATTRIBUTE,
    reason_of,
    values_of,
)
from .lease import TakenOver, TrialLease
from .locks import locked
from .proposals import Proposals
from .reporting import StudyReporting
from .samplers import GivenValues, OracleSampler, check_sampler
from .shared_study import SharedStudy
from .trials import ActiveValues, combination, hyperparameters_of, metrics_record, to_keras_tuner, trial_id_of

Sampler: TypeAlias = str | optuna.samplers.BaseSampler | keras_tuner.Oracle

_SPACE_ATTRIBUTE = "keras_tuner_space"
# Seconds between two checks of the trials of other processes, once nothing else is left to do.
_POLL_SECONDS = 1.0
_UNFINISHED = (kt_trial.TrialStatus.RUNNING, kt_trial.TrialStatus.IDLE)


class OptunaOracle(StudyReporting, keras_tuner.Oracle):
    """A KerasTuner oracle that asks an Optuna study for hyperparameters and reports the results to it.

    It works with any `keras_tuner.Tuner`. A `Choice` becomes a categorical parameter, not a position in a
    list, so no sampler takes neighbours in the list for similar values.

    Args:
        objective: As in `keras_tuner.Oracle`: the name of a metric, or a `keras_tuner.Objective`.
        max_trials: The number of trials in all, including trials of earlier processes. None continues
            until the sampler has no more values; only the grid ends by itself.
        sampler: "tpe", "random", "grid" (every combination of a space without ranges and without
            conditions, in a random order; the space must be known before the first trial), "gp" (needs
            PyTorch), "cmaes" (needs cmaes), an `optuna.samplers.BaseSampler`, or another
            `keras_tuner.Oracle` that proposes the values. A sampler of Optuna is reseeded (`reseed_rng`) if
            the study already has trials or is shared.
        storage: As in `open_storage`: a URL, a journal file, or an Optuna storage. None is a SQLite file
            `study.db` in the tuner's project folder.
        study_name: The study's name in the storage.
        seed: The seed of a sampler that is chosen by name. None draws a seed, which the study stores.
        enqueue: Candidates to try first, as dictionaries of values by name. Missing values are sampled.
            They count towards `max_trials`.
        shared: Whether other processes may start the same study at the same time.
        repeats: Whether a combination may be proposed again. KerasTuner never tries one twice, and ends a
            search that has tried every combination; a trial over fresh random seeds is worth repeating.
        **kwargs: As in `keras_tuner.Oracle`.

    Raises:
        InitxError: The sampler is unknown or its package is missing; a grid has a range, a condition or
            `enqueue`; a candidate is not in the space.
    """

    hyperparameters: keras_tuner.HyperParameters
    trials: dict[str, kt_trial.Trial]

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
        repeats: bool = False,
        **kwargs: Any,
    ) -> None:
        check_sampler(sampler)
        keras_tuner.Oracle.__init__(self, objective=objective, max_trials=max_trials, seed=seed, **kwargs)
        if isinstance(sampler, keras_tuner.Oracle):
            sampler = OracleSampler(sampler, self.get_space, self.objective, repeats)
        # The folder is unknown until a tuner takes the oracle.
        place = SharedStudy(storage, study_name, shared, self.objective, lambda: self._project_dir)
        StudyReporting.__init__(self, place)
        self.seed = seed
        revises = type(self).populate_space is not OptunaOracle.populate_space
        self._proposals = Proposals(self, sampler, repeats, revises)
        self.enqueue(enqueue)
        self._lock = threading.RLock()
        self.trials_here: int | None = None
        self._space_written: dict[str, Any] = {}
        # The trials that this process started and ended. `start_order` and `end_order` also list the trials
        # of other processes.
        self._started_here: set[str] = set()
        self._ended_here: list[str] = []
        self._is_loaded = False
        # Whether no trial has begun here since the last search ended.
        self._is_idle = True

    @property
    def is_spent(self) -> bool:
        """Return whether this process has started all of the `trials_here` trials that it may run."""
        return self.trials_here is not None and len(self._started_here) >= self.trials_here

    def enqueue(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Add candidates to try first; they have no effect once a trial has started.

        Raises:
            InitxError: `candidates` is not empty and the sampler is the grid, or it is not a list of
                dictionaries.
        """
        self._proposals.enqueue(candidates)

    def open(self) -> None:
        """Read the study, if it has been begun."""
        if self.study.user_attrs:
            self.reload()

    def begin(self) -> None:
        """Create the study, and enqueue the candidates unless a trial has started."""
        self._proposals.begin()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values that the sampler has drawn for a new trial; a subclass may return others.

        Its answer has the form of `keras_tuner.Oracle.populate_space`, with the status RUNNING or STOPPED.
        """
        return {"status": kt_trial.TrialStatus.RUNNING, "values": self._proposals.drawn(trial_id)}

    @locked
    def create_trial(self, tuner_id: str) -> kt_trial.Trial:
        """Return the next trial: one to retry, a stale trial of another process, or a new trial.

        While other processes run the last trials, return an idle trial, because one of them may die.
        """
        if tuner_id in self.ongoing_trials:
            return self.ongoing_trials[tuner_id]
        if not self._is_loaded:
            self.reload()
        if self._retry_queue:
            return self._begin(tuner_id, self._reset(self.trials[self._retry_queue.pop()]))
        if self.is_spent:
            return kt_trial.Trial(self.get_space(), "stopped", kt_trial.TrialStatus.STOPPED)
        # KerasTuner's chief stays until every tuner in this set has received a STOPPED trial.
        self.tuner_ids.add(tuner_id)
        trial = self.shared.take_stale_trial(self._proposals.use_sampler) or self._proposals.ask()
        if trial is None:
            if self.shared.has_running_others():
                time.sleep(_POLL_SECONDS)
                return kt_trial.Trial(self.get_space(), "idle", kt_trial.TrialStatus.IDLE)
            self.tuner_ids.remove(tuner_id)
            if self._is_idle and self.verbose:
                print(self.nothing_to_run())
            self._is_idle = True
            return kt_trial.Trial(self.get_space(), "stopped", kt_trial.TrialStatus.STOPPED)
        trial_id = trial_id_of(trial.number)
        new_trial = kt_trial.Trial(self._suggest(trial), trial_id, kt_trial.TrialStatus.RUNNING)
        self._run_times[trial_id] = trial.user_attrs.get(FAILED_RUNS_ATTRIBUTE, 0)
        self.trials[trial_id] = new_trial
        if trial_id not in self.start_order:
            self.start_order.append(trial_id)
        self._started_here.add(trial_id)
        self.leases[trial_id] = TrialLease(self.shared, trial)
        return self._begin(tuner_id, new_trial)

    def _begin(self, tuner_id: str, trial: kt_trial.Trial) -> kt_trial.Trial:
        self.ongoing_trials[tuner_id] = trial
        self._is_idle = False
        self.heartbeat.start()
        self._display.on_trial_begin(trial)
        return trial

    def _reset(self, trial: kt_trial.Trial) -> kt_trial.Trial:
        """Prepare a trial for another run, which reports its metrics and epochs from the start."""
        trial.status, trial.metrics = kt_trial.TrialStatus.RUNNING, type(trial.metrics)()
        self.leases[trial.trial_id].begin_run()
        return trial

    @locked
    def end_trial(self, trial: kt_trial.Trial) -> None:
        """Store how the trial ended, or queue it to run again, unless another process has taken it over.

        Raises:
            RuntimeError: `max_consecutive_failed_trials` trials in a row raised.
        """
        ended = self.trials[trial.trial_id]
        ended.hyperparameters, ended.status, ended.message = (
            trial.hyperparameters,
            trial.status,
            trial.message,
        )
        self.update_space(ended.hyperparameters)
        try:
            runs_again = self._end(ended)
        except TakenOver:
            ended.status, runs_again = kt_trial.TrialStatus.INVALID, False
        self._close(ended, runs_again)

    def _end(self, trial: kt_trial.Trial) -> bool:
        """Store a trial as ended, or as failed so far; return whether it runs again."""
        name, lease = trial.trial_id, self.leases[trial.trial_id]
        lease.check()
        lease.write(lambda: self._store_values(lease.trial, trial.hyperparameters.values))
        if lease.end_reason:
            trial.status, trial.message = kt_trial.TrialStatus.INVALID, lease.end_reason
            lease.tell(None, TrialState.PRUNED)
            return False
        if trial.status == kt_trial.TrialStatus.COMPLETED:
            self.score_trial(trial)
            if trial.score is None or np.isnan(trial.score):
                trial.status = kt_trial.TrialStatus.INVALID
                trial.message = f"the objective {self.objective.name} is {trial.score}"
        self._run_times[name] += 1
        # KerasTuner's own, which also prints how many runs are left.
        if self._retry(trial):
            lease.set_attribute(FAILED_RUNS_ATTRIBUTE, self._run_times[name])
            return True
        if trial.metrics.metrics:
            lease.set_attribute(METRICS_ATTRIBUTE, metrics_record(trial))
        if trial.status == kt_trial.TrialStatus.COMPLETED:
            lease.tell(float(trial.score), TrialState.COMPLETE)
        else:
            lease.set_attribute(REASON_ATTRIBUTE, reason_of(trial.message))
            lease.tell(None, TrialState.FAIL)
        return False

    def _store_values(self, running: optuna.trial.Trial, values: Mapping[str, Any]) -> None:
        """Store every value that the builds of a trial used.

        Hyperparameters that first appeared during a build become parameters too, with the value that the
        build used: some samplers learn only from parameters that every trial has.
        """
        if running.user_attrs.get(VALUES_ATTRIBUTE) == values:
            return
        known, sampler = hyperparameters_of(values, self.hyperparameters), self.study.sampler
        active = [p for p in parameters_of(self.hyperparameters.space) if known.is_active(p.hyperparameter)]
        late = {
            p: p.stored(values[p.hyperparameter.name])
            for p in active
            if p.hyperparameter.name in values and p.name not in running.params
        }
        try:
            for parameter, stored in late.items():
                # A default may lie outside of its range.
                if allows(parameter.distribution, stored):
                    self.study.sampler = GivenValues({parameter.name: stored})
                    parameter.suggest(running)
        finally:
            self.study.sampler = sampler
        # Last, because a retry after a failed write would find it and leave the rest out.
        running.set_user_attr(VALUES_ATTRIBUTE, dict(values))

    def _close(self, trial: kt_trial.Trial, runs_again: bool) -> None:
        if not runs_again:
            # This process may get the trial again.
            del self.leases[trial.trial_id]
            self.end_order.append(trial.trial_id)
            self._ended_here.append(trial.trial_id)
        if not self.leases:
            self.heartbeat.stop()
        for tuner_id in [k for k, t in self.ongoing_trials.items() if t is trial]:
            del self.ongoing_trials[tuner_id]
        self._display.on_trial_end(trial)
        self._check_consecutive_failures()

    def _check_consecutive_failures(self) -> None:
        """Raise if the last trials of this process failed; a resumed search counts from zero."""
        limit = self.max_consecutive_failed_trials
        last = [self.trials[trial_id] for trial_id in self._ended_here[-limit:]]
        if len(last) == limit and all(t.status == kt_trial.TrialStatus.FAILED for t in last):
            message = f"Number of consecutive failures exceeded the limit of {limit}."
            reason = f"Trial {last[0].trial_id} failed first: {reason_of(last[0].message)}".removesuffix(".")
            raise RuntimeError(f"{message} {reason}. Correct it, and resume the search.")

    def get_best_trials(self, num_trials: int = 1) -> list[kt_trial.Trial]:
        """Return the best completed trials of the study, whichever process ran them."""
        completed = [t for t in self.frozen_trials() if t.state == TrialState.COMPLETE]
        completed.sort(key=lambda t: float(t.value or 0.0), reverse=self.objective.direction == "max")
        return [self.get_trial(trial_id_of(t.number)) for t in completed[:num_trials]]

    def get_trial(self, trial_id: str) -> kt_trial.Trial:
        """Return the trial with that id, from this process or from the study."""
        trial = self.trials.get(trial_id)  # That of another process may have ended since it was read.
        if trial is None or (trial_id not in self._started_here and trial.status in _UNFINISHED):
            trial = to_keras_tuner(self.frozen(trial_id), self.hyperparameters)
        return trial

    def repetition_of(self, trial_id: str) -> int:
        """Return how many earlier trials have the same values, for example to choose fresh random seeds."""
        trials = {t.number: combination(values_of(t)) for t in self.frozen_trials()}
        number = int(trial_id)
        return sum(values == trials[number] for earlier, values in trials.items() if earlier < number)

    @property
    def trial_limit(self) -> int | None:
        """The largest number of trials: `max_trials` or the size of a smaller grid; None if unlimited."""
        return self._proposals.limit

    def remaining_trials(self) -> int | None:
        """Return the number of trials left to start or to finish; None if unlimited."""
        limit = self.trial_limit
        if limit is None:
            return None
        trials = self.frozen_trials()
        last = len(trials) if self.attributes().get(EXHAUSTED_ATTRIBUTE) else limit
        return max(0, min(limit, last) - sum(t.state.is_finished() for t in trials))

    def get_space(self) -> keras_tuner.HyperParameters:
        """Return a copy of the space."""
        space = ActiveValues()
        space.merge(self.hyperparameters.space)
        space.values = dict(self.hyperparameters.values)
        return space

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Add new hyperparameters to the space, and to the study for the next process.

        Raises:
            RuntimeError: There are new hyperparameters and `allow_new_entries` is False.
        """
        super().update_space(hyperparameters)
        if self.hyperparameters.get_config() != self._space_written:
            self.read_space()
            self._space_written, self._proposals.exhausted = self.hyperparameters.get_config(), False
            if self.attributes().get(_SPACE_ATTRIBUTE) != self._space_written:
                self.shared.set_attribute(_SPACE_ATTRIBUTE, self._space_written)
                self.shared.set_attribute(EXHAUSTED_ATTRIBUTE, False)

    def read_space(self) -> None:
        """Add the hyperparameters that the study has, from other processes, to those of this one.

        The study's come first, because Optuna accepts no other choices for a parameter that it knows.
        """
        config = self.attributes().get(_SPACE_ATTRIBUTE)
        if config not in (None, self.hyperparameters.get_config()):
            own, self.hyperparameters = self.hyperparameters, space_from(config)
            self.hyperparameters.merge(own, overwrite=False)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> kt_trial.Trial:
        """Register metrics of a running trial; `end_trial` stores them in the study."""
        trial = self.trials[trial_id]
        self._check_objective_found(metrics)
        parts = getattr(self.objective, "objectives", ())
        directions = {o.name: o.direction for o in (self.objective, *parts)}
        for name, value in metrics.items():
            if not trial.metrics.exists(name):
                # KerasTuner infers the direction of the other metrics.
                trial.metrics.register(name, direction=directions.get(name))
            trial.metrics.update(name, value, step=step)
        return trial

    def save(self) -> None:
        """Mark the project folder; every change is in the study already."""
        if hasattr(self, "_directory"):
            self.shared.mark_folder()

    def reload(self) -> None:
        """Read the space and the trials of every process from the study.

        Raises:
            InitxError: The project folder has a search of KerasTuner, and the study is new.
        """
        # An oracle without a tuner has no folder.
        if hasattr(self, "_directory"):
            self.shared.check_folder()
        self._is_loaded = True
        self.read_space()
        trials = self.frozen_trials()
        for frozen in trials:
            trial_id = trial_id_of(frozen.number)
            if trial_id not in self.leases:
                self.trials[trial_id] = to_keras_tuner(frozen, self.hyperparameters)
        self.trials = dict(sorted(self.trials.items()))
        self.start_order = [trial_id_of(t.number) for t in trials]
        ended = sorted((t.datetime_complete, t.number) for t in trials if t.datetime_complete is not None)
        self.end_order = [trial_id_of(number) for _, number in ended]

    def _suggest(self, trial: optuna.trial.Trial) -> keras_tuner.HyperParameters:
        """Return the trial's hyperparameters; a trial that another process began keeps its values."""
        values = trial.user_attrs.get(VALUES_ATTRIBUTE)
        if values is None:
            space = self.hyperparameters.space
            values = filled(space, lambda parameter: retry(parameter.suggest, trial)).values
            retry(trial.set_user_attr, VALUES_ATTRIBUTE, values)
        return hyperparameters_of(values, self.hyperparameters)
