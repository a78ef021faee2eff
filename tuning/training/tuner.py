"""The KerasTuner tuner that trains every trial over several seeds and stores each seed's score."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from ..data import FitArguments, checked_test, copied_callbacks
from ..observers import Observer
from ..parallel import is_chief, wait_for_workers
from ..pruning import LayerStart, Pruner, Pruning, layers_at_start
from ..space import SCHEDULE, SearchSpace
from ..storage import disk_errors, storage_errors
from ..study import PRUNED, SCREENED, OptunaOracle, Sampler, TakenOver
from .callbacks import BestEpoch, NotifyObservers, ReportToPruner, Schedule, StopAtTarget, TunerHooks
from .checkpoints import find_weights, is_better, load_weights, saving_if_better
from .devices import Strategy, tensorflow_strategy
from .job import EndedEarly, Job
from .race import Racing
from .record import mean_metrics, run_record
from .session import seeded
from .tuner_arguments import check_further, check_ranges, check_types, seeds_of, study_oracle, wrapped

# How far apart the seeds of a repeated combination are.
_SEEDS_APART = 1000
# What KerasTuner's base class calls for each epoch and batch, where a subclass defines it.
_HOOKS = ("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")


class InitializerTuner(keras_tuner.Tuner, Racing):
    """A tuner that runs each trial once per seed, because an initializer is a distribution of weights.

    It takes KerasTuner's arguments in KerasTuner's order, and `search` takes those of `fit`. A seed
    determines the weights, the dropout and, for arrays, the order of the batches. Its score is the objective
    at its best epoch, and the trial's score is the mean over seeds. The trial's folder keeps the weights of
    the best seed at its best epoch, on the machine that trained it.

    Args:
        hypermodel: A function that returns a compiled model, with `hp` or without arguments; a
            `keras_tuner.HyperModel`, whose `fit` is called; or a compiled model. None for a
            subclass whose `run_trial` needs none.
        objective: As in `keras_tuner.Tuner`: the name of a metric, a `keras_tuner.Objective`, or a list of
            them.
        max_trials: The number of trials in all.
        seed: The seed of the sampler, and the first seed of each trial. None draws the sampler's seed and
            starts with 0.
        hyperparameters, tune_new_entries, allow_new_entries, max_retries_per_trial,
            max_consecutive_failed_trials: As in `keras_tuner.Tuner`.
        space: The hyperparameters to add to the model's own.
        sampler, storage: As in `OptunaOracle`.
        oracle: An oracle to use instead of `objective`, `max_trials`, `hyperparameters`, the four arguments
            after it, `sampler` and `storage`. One of KerasTuner becomes the sampler of an `OptunaOracle`.
        seeds: The number of seeds of every trial, counted from `seed`, or the seeds themselves; None means
            `executions_per_trial`.
        executions_per_trial: The number of seeds of every trial, by default 3.
        patience: The number of epochs without a better objective after which a seed stops; None never stops.
        jit_compile: Whether to compile under XLA, whatever the model was compiled with; only a training
            step of its own keeps that.
        screening: Whether to end a trial that cannot learn before its training.
        pruner: As in `keras_initx.tuning.search`.
        test_data: Data in the form of `validation_data` on which each seed's best epoch is evaluated, or
            None. It influences no choice.
        metric: The metric to monitor in each epoch; None takes the oracle's objective.
        target: A value of the metric, or None. With a target, a seed's score is the epoch in which it
            reaches the target (`epochs` + 1 if it does not), and the oracle's objective must minimize it.
        observers: Observers of the progress.
        at_start: Called with each trial and the signal of its layers before training, on its first seed.
        strategy: The devices that train each trial together; None is a single device.
        **kwargs: Further arguments of `keras_tuner.Tuner`: `directory`, `project_name`, `overwrite`,
            `optimizer`, `loss`, `metrics`, `max_model_size`, `distribution_strategy`, `tuner_id`.

    Raises:
        InitxError: `oracle` is passed together with an argument that it replaces, or an argument cannot be
            used.
    """

    oracle: OptunaOracle
    # The argument that sets the folder of the trials, by which an error names it.
    folder_argument = "directory"

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        *,
        space: SearchSpace | None = None,
        sampler: Sampler = "tpe",
        storage: Any = None,
        oracle: keras_tuner.Oracle | None = None,
        seeds: int | Sequence[int] | None = None,
        executions_per_trial: int | None = None,
        patience: int | None = None,
        jit_compile: bool = True,
        screening: bool = True,
        pruner: Pruner | Sequence[Pruner] | None = None,
        test_data: Any = None,
        metric: keras_tuner.Objective | None = None,
        target: float | None = None,
        observers: Sequence[Observer] = (),
        at_start: Callable[[Any, Sequence[LayerStart]], None] | None = None,
        strategy: Strategy | None = None,
        **kwargs: Any,
    ) -> None:
        check_further(kwargs)
        check_ranges(max_trials, max_retries_per_trial, max_consecutive_failed_trials, patience, target)
        check_types(hyperparameters, jit_compile, screening)
        own_code = self._has_own("run_trial") or self._has_own("_build_and_fit_model")
        hypermodel = wrapped(hypermodel, space, hyperparameters, lenient=own_code)
        # A space that the user passes is not a new entry. The default space is, unless it could not be used.
        is_chosen = space is not None and not tune_new_entries
        if hypermodel and hyperparameters is not None and (is_chosen or not allow_new_entries):
            hyperparameters = hypermodel.with_space(hyperparameters)
        of_the_oracle = {
            "objective": objective,
            "max_trials": max_trials,
            "hyperparameters": hyperparameters,
            "tune_new_entries": tune_new_entries,
            "allow_new_entries": allow_new_entries,
            "max_retries_per_trial": max_retries_per_trial,
            "max_consecutive_failed_trials": max_consecutive_failed_trials,
            "sampler": sampler,
            "storage": storage,
        }
        oracle = study_oracle(oracle, of_the_oracle, seed)
        distribution = kwargs.get("distribution_strategy")
        self.strategy = (
            tensorflow_strategy(distribution) if distribution is not None else strategy or Strategy()
        )
        self.seeds = seeds_of(seeds, seed or 0, executions_per_trial)
        self.patience, self.test = patience, checked_test(test_data)
        self.observers, self.at_start = tuple(observers), at_start
        self._jit_compile, self._screening, self._pruner = jit_compile, screening, pruner
        self.metric, self.target = metric or oracle.objective, target
        # KerasTuner sets these only after it has built the model.
        for name in ("optimizer", "loss", "metrics", "distribution_strategy"):
            setattr(self, name, kwargs.get(name))
        if hypermodel and any(kwargs.get(name) for name in ("optimizer", "loss", "metrics")):
            hypermodel.override = self._compile
        self.job: Job | None = None
        # The model of the run that trains, and the screened one that it may take.
        self._built: keras.Model | None = None
        self._screened: keras.Model | None = None
        super().__init__(oracle, hypermodel, executions_per_trial=len(self.seeds), **kwargs)
        # KerasTuner replaces the oracle of a chief's worker by a client, which cannot report seeds.
        self.oracle = oracle
        oracle.open()

    def _has_own(self, method: str) -> bool:
        """Return whether a subclass replaces a method of this class."""
        return getattr(type(self), method) is not getattr(InitializerTuner, method)

    def _populate_initial_space(self) -> None:
        explored = self.hypermodel and self.hypermodel.explored
        if explored is None:
            super()._populate_initial_space()
        else:
            self.oracle.update_space(explored)

    def _compile(self, model: keras.Model) -> None:
        """Compile a model with the tuner's own optimizer, loss and metrics."""
        if not model.compiled:
            # KerasTuner reads what it does not replace.
            model.compile()
        self._override_compile_args(model)

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Run trials until none is left; as KerasTuner's chief, wait for the workers instead.

        Args:
            *args, **kwargs: As in `keras.Model.fit`, or as the HyperModel's own `fit` takes them.

        Raises:
            RuntimeError: Three trials in a row raised an exception, or none was completed.
        """
        if is_chief():
            wait_for_workers(self.oracle)
            return
        if not self._has_own("run_trial"):
            self.take(args, kwargs)
        super().search(*args, **kwargs)
        if not self.oracle.is_spent:
            self.oracle.check_any_completed()

    def take(self, args: Sequence[Any], kwargs: Mapping[str, Any], data: FitArguments | None = None) -> None:
        """Prepare everything that depends on the arguments of `fit`, unless they are the same as before."""
        if self.job is not None and self.job.is_of(args, kwargs):
            return
        own_fit = self.hypermodel.has_own_fit or self._has_own("_build_and_fit_model")
        job = Job(args, kwargs, own_fit, self.strategy, self._jit_compile, self._screening, data)
        job.check(self.hypermodel, self.metric)
        self.epochs = job.epochs
        if job.sample is not None:
            self.hypermodel.inputs = job.sample.x
        self.pruning = Pruning(self._pruner, self.epochs, len(self.seeds))
        self.oracle.set_pruner(self.pruning.over_epochs)
        self.job = job

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train every seed that has no stored result; return the mean of the objective and other metrics.

        For a trial that is screened or pruned, the oracle stores the reason and ignores the returned score.
        """
        self.take(args, kwargs)
        # An error of the disk or the storage does not count against the hyperparameters.
        with storage_errors(self.oracle.location), disk_errors(self.folder_argument, Path(self.project_dir)):
            return self._score_or_end(trial)

    def _run_and_update_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        if self._has_own("run_trial"):
            super()._run_and_update_trial(trial, *args, **kwargs)
            return
        metrics = self.run_trial(trial, *args, **kwargs)
        # KerasTuner takes the step from a History, which several seeds do not have.
        records = self.oracle.seed_results(trial.trial_id).values()
        step = round(np.mean([r["best_epoch"] - 1 for r in records])) if records else 0
        self.oracle.update_trial(trial.trial_id, metrics, step=step)

    def _score_or_end(self, trial: Any) -> dict[str, float]:
        try:
            return self._run_seeds(trial)
        except EndedEarly as ended:
            with suppress(TakenOver):
                self.oracle.end_early(trial.trial_id, ended.how, ended.reason)
        except TakenOver:
            # The process that runs the trial now stores its result.
            pass
        # KerasTuner prints a traceback for exceptions, so return a dummy score instead.
        return {self.oracle.objective.name: 0.0}

    def _run_seeds(self, trial: Any) -> dict[str, float]:
        objective = self.oracle.objective
        stored = self.oracle.seed_results(trial.trial_id)
        seeds = self._seeds_of(trial)
        missing = [seed for seed in seeds if seed not in stored]
        for observer in self.observers:
            observer.on_trial_begin(trial, missing)
        job = self.job
        if job is not None and job.sample is not None and (job.screen or self.at_start) and not stored:
            self._screened = self._screen(trial)
        scores = [r["score"] for r in stored.values()]
        folder = Path(self.get_trial_dir(trial.trial_id))
        for seed in missing:
            record, model = self.run_seed(trial, seed)
            self.oracle.check_owned(trial.trial_id)
            better = is_better(record["score"], scores, objective.direction)
            scores.append(record["score"])
            with saving_if_better(better, folder, seed, model, self.folder_argument):
                self.oracle.report_seed(trial.trial_id, seed, record)
            for observer in self.observers:
                observer.on_seed_end(trial, seed, record, self.epochs - record["epochs"])
            if self.pruning.over_seeds is not None and seed != seeds[-1]:
                self._prune_over_seeds(trial)
        records = list(self.oracle.seed_results(trial.trial_id).values())
        return {**mean_metrics(records), objective.name: float(np.mean([r["score"] for r in records]))}

    def _seeds_of(self, trial: Any) -> tuple[int, ...]:
        """Return the seeds of a trial: fresh ones if an earlier trial has the same hyperparameters."""
        # The race takes the seeds after the usual ones, so these start a thousand later.
        shift = _SEEDS_APART * self.oracle.repetition_of(trial.trial_id)
        return tuple((seed + shift) % 2**32 for seed in self.seeds)

    def _screen(self, trial: Any) -> keras.Model:
        """Return the untrained model of the first seed.

        Raises:
            EndedEarly: The model cannot learn.
        """
        reason, job = None, self.job
        assert job is not None
        assert job.models is not None
        assert job.sample is not None
        with seeded(self._seeds_of(trial)[0], self.strategy):
            model = self._try_build(trial.hyperparameters)
            if job.screen is not None:
                reason = job.screen(model, job.models.scratch_for(model))
            if self.at_start is not None:
                signal = None if job.screen is None else job.screen.signal
                layers = layers_at_start(model, job.sample, signal)
        if self.at_start is not None and layers:
            self.oracle.report_start(trial.trial_id, layers)
            self.at_start(trial, layers)
        if reason is not None:
            raise EndedEarly(SCREENED, reason)
        return model

    def _prune_over_seeds(self, trial: Any) -> None:
        """Raise `EndedEarly` for a trial that is worse than the best trial, seed by seed."""
        others = [t.scores() for t in self.oracle.results() if t.status == "completed"]
        scores = self.oracle.result(trial.trial_id).scores()
        if self.pruning.is_behind(scores, others, self.oracle.objective.direction):
            raise EndedEarly(PRUNED, f"worse than the best trial after {len(scores)} seeds")

    def _try_build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the model to train; named as in KerasTuner, whose subclasses may call it."""
        same_model, self._screened = self._screened, None
        model = self.hypermodel.build(hp)
        if self.max_model_size is not None and model.count_params() > self.max_model_size:
            more = f"{model.count_params()} parameters are more than max_model_size={self.max_model_size}"
            raise keras_tuner.errors.FailedTrialError(f"Oversized model: {more}")
        models = None if self.job is None else self.job.models
        self._built = model if models is None else models.adopt(model, same_model)
        return self._built

    def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Build and train a model, and return what its `fit` returns; a subclass may replace it."""
        model = self._try_build(trial.hyperparameters)
        return self.hypermodel.fit(trial.hyperparameters, model, *args, **kwargs)

    def run_seed(self, trial: Any, seed: int) -> tuple[dict[str, Any], keras.Model]:
        """Train one seed; return its record and the model at its best epoch.

        Raises:
            EndedEarly: The pruner stopped it.
        """
        with seeded(seed, self.strategy):
            return self._train(trial, seed)

    def _train(self, trial: Any, seed: int) -> tuple[dict[str, Any], keras.Model]:
        started = time.monotonic()
        seeds = self._seeds_of(trial)
        # A seed of the race reports no epochs: the study accepts no values for a finished trial.
        first_step = seeds.index(seed) * self.epochs if seed in seeds else None
        report = ReportToPruner(self.oracle, trial.trial_id, first_step, self.metric)
        target = StopAtTarget(self.metric, self.target)
        name = trial.hyperparameters.values.get(SCHEDULE) if self.hypermodel.schedules else None
        schedule = [Schedule(name, self.epochs)] if name else []
        best = BestEpoch(self.metric, self.epochs if self.patience is None else self.patience)
        self._built = None
        notify = NotifyObservers(self.observers, self.epochs)
        returned = self._fit(trial, seed, [best, notify, *schedule, report, target])
        # A subclass may build a model without `_try_build`.
        model = self._built or best.model
        if report.pruned_after:
            raise EndedEarly(PRUNED, f"behind other trials after epoch {report.pruned_after} of seed {seed}")
        record = run_record(returned, best, self.metric, self.epochs, seed)
        if self.target is not None:
            # A run that misses the target needs at least one epoch more.
            record["score"] = float(target.reached or self.epochs + 1)
        record["seconds"] = round(time.monotonic() - started, 3)
        if self.test is not None:
            rows = self.test.rows
            size = None if rows is None else self.strategy.evaluation_batch(rows)
            record["test"] = self.test.evaluate(model, size)
        return record, model

    def _fit(self, trial: Any, seed: int, callbacks: list[Any]) -> Any:
        """Build and train a model with the user's callbacks and these; return the result of its `fit`."""
        assert self.job is not None
        own = copied_callbacks(self.job.callbacks)
        seeds = self._seeds_of(trial)
        self._configure_tensorboard_dir(own, trial, seeds.index(seed) if seed in seeds else seed)
        if any(getattr(type(self), name) is not getattr(keras_tuner.Tuner, name) for name in _HOOKS):
            own.append(TunerHooks(self, trial))
        # Before the model is built: what a function makes of the data then depends on the seed alone.
        args, kwargs = self.job.for_run([*own, *callbacks])
        return self._build_and_fit_model(trial, *args, **kwargs)

    def on_trial_end(self, trial: Any) -> None:
        """Report the end of a trial to the oracle, then to the observers."""
        super().on_trial_end(trial)
        ended = self.oracle.get_trial(trial.trial_id)
        # Checked afterwards, because the trial may be lost during the report.
        is_owned = self.oracle.owns(trial.trial_id)
        status = self.oracle.result(trial.trial_id).status if is_owned else "taken over"
        for observer in self.observers:
            observer.on_trial_end(ended, status)

    def load_model(self, trial: Any) -> keras.Model:
        """Return a new model with the weights of the trial's best seed at its best epoch.

        Raises:
            NoWeights: The weights are in the results folder of another machine, which trained that seed.
        """
        model = self.hypermodel.build(trial.hyperparameters)
        load_weights(model, lambda: self._best_file(trial.trial_id), self.folder_argument)
        return model

    def save(self) -> None:
        """Do nothing: the study contains everything."""

    def reload(self) -> None:
        """Read the study again."""
        self.oracle.reload()

    def _best_file(self, trial_id: str) -> Path:
        folder, scores = Path(self.get_trial_dir(trial_id)), self.oracle.result(trial_id).scores()
        return find_weights(folder, scores, self.oracle.objective.direction, self.folder_argument)
