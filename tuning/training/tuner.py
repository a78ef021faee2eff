"""The KerasTuner tuner that trains every trial over several seeds and stores each seed's score."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from optuna.trial import TrialState

from ..observers import Observer
from ..parallel import is_chief, wait_for_workers
from ..pruning import LayerStart, Pruning, Screen, layers_at_start
from ..space import SCHEDULE
from ..storage import disk_errors, storage_errors
from ..study import PRUNED, SCREENED, OptunaOracle, TakenOver, seed_records
from .callbacks import BestEpoch, NotifyObservers, ReportToPruner, Schedule, StopAtTarget
from .checkpoints import find_weights, is_better, saving_if_better
from .devices import Strategy, tensorflow_strategy
from .model_cache import Batch, CompiledModels
from .race import Racing
from .session import reset_layer_names


class EndedEarly(Exception):
    """Raised to end a hopeless trial before it is finished.

    Attributes:
        how: "screened" or "pruned".
        reason: Why, in words.
    """

    def __init__(self, how: str, reason: str) -> None:
        super().__init__(reason)
        self.how, self.reason = how, reason


class InitializerTuner(keras_tuner.Tuner, Racing):
    """A tuner that runs each trial once per seed, because an initializer is a distribution of weights.

    A seed determines the weights, the order of the batches and the dropout. Its score is the objective at
    its best epoch, and the trial's score is the mean over seeds. The trial's folder keeps the weights of
    the best seed at its best epoch, on the machine that trained it.

    Args:
        oracle: An `OptunaOracle`, which stores each seed's result as soon as it is known.
        hypermodel: As in `keras_tuner.Tuner`.
        train, validation: Pairs (x, y).
        test: A pair (x, y) on which each seed's best epoch is evaluated, or None. It influences no choice.
        seeds: The seeds of every trial.
        epochs, batch_size: As in `keras.Model.fit`.
        patience: The number of epochs without a better objective after which a seed stops; None never stops.
        jit_compile: Whether to compile under XLA.
        screening: Whether to end a trial that cannot learn before its training.
        pruning: The pruners that end a trial that falls behind; None prunes nothing.
        metric: The metric to monitor in each epoch; None takes the oracle's objective.
        target: A value of the metric, or None. With a target, a seed's score is the epoch in which it
            reaches the target (`epochs` + 1 if it does not), and the oracle's objective must minimize it.
        observers: Observers of the progress.
        at_start: Called with each trial and the signal of its layers before training, on its first seed.
        strategy: The devices that train each trial together; None is a single device.
        **kwargs: As in `keras_tuner.Tuner`; TensorFlow's `distribution_strategy` overrides `strategy`.
    """

    oracle: OptunaOracle

    def __init__(
        self,
        oracle: OptunaOracle,
        hypermodel: keras_tuner.HyperModel | Callable[..., keras.Model],
        train: Batch,
        validation: Batch,
        test: Batch | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        epochs: int = 20,
        batch_size: int = 64,
        patience: int | None = None,
        jit_compile: bool = True,
        screening: bool = True,
        pruning: Pruning | None = None,
        metric: keras_tuner.Objective | None = None,
        target: float | None = None,
        observers: Sequence[Observer] = (),
        at_start: Callable[[Any, Sequence[LayerStart]], None] | None = None,
        strategy: Strategy | None = None,
        **kwargs: Any,
    ) -> None:
        distribution = kwargs.get("distribution_strategy")
        self.strategy = strategy or Strategy()
        if distribution is not None:
            self.strategy = tensorflow_strategy(distribution)
        train = self.strategy.trim(train, batch_size)
        self.train, self.validation, self.test = train, validation, test
        self.seeds, self.epochs, self.batch_size = tuple(seeds), epochs, batch_size
        self.patience = patience
        self.observers, self.at_start = tuple(observers), at_start
        size = min(batch_size, len(train[0]))
        jit_compile = jit_compile and self.strategy.jit_compile
        sample = (train[0][:size], train[1][:size])
        self.models = CompiledModels(jit_compile, sample, validation=validation)
        # Rows from all parts of the data, because files may be sorted by class.
        rows = np.linspace(0, len(train[0]) - 1, num=2 * size).astype(int)
        samples = [(train[0][rows[start::2]], train[1][rows[start::2]]) for start in (0, 1)]
        self.screen = Screen(samples) if screening else None
        self._sample = samples[0]
        self.metric, self.target = metric or oracle.objective, target
        self.pruning = pruning or Pruning(None, epochs, len(self.seeds))
        oracle.set_pruner(self.pruning.over_epochs)
        super().__init__(oracle, hypermodel, **kwargs)
        # KerasTuner replaces the oracle of a chief's worker by a client, which cannot report seeds.
        self.oracle = oracle
        if oracle.study.user_attrs:
            oracle.reload()

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Run trials until none is left; as KerasTuner's chief, wait for the workers instead."""
        if is_chief():
            wait_for_workers(self.oracle)
        else:
            super().search(*args, **kwargs)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train every seed that has no stored result; return the mean of the objective.

        For a trial that is screened or pruned, the oracle stores the reason and ignores the returned score.
        """
        # An error of the disk or the storage does not count against the hyperparameters.
        with storage_errors(self.oracle.location), disk_errors("results", Path(self.project_dir)):
            return self._score_or_end(trial)

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
        missing = [seed for seed in self.seeds if seed not in stored]
        for observer in self.observers:
            observer.on_trial_begin(trial, missing)
        screened: keras.Model | None = None
        if (self.screen is not None or self.at_start is not None) and not stored:
            screened = self._screen(trial)
        scores = [r["score"] for r in stored.values()]
        folder = Path(self.get_trial_dir(trial.trial_id))
        for seed in missing:
            record, model = self.run_seed(trial, seed, screened)
            screened = None
            self.oracle.check_owned(trial.trial_id)
            better = is_better(record["score"], scores, objective.direction)
            scores.append(record["score"])
            with saving_if_better(better, folder, seed, model):
                self.oracle.report_seed(trial.trial_id, seed, record)
            for observer in self.observers:
                observer.on_seed_end(trial, seed, record, self.epochs - record["epochs"])
            if self.pruning.over_seeds is not None and seed != self.seeds[-1]:
                self._prune_over_seeds(trial)
        scores = [r["score"] for r in self.oracle.seed_results(trial.trial_id).values()]
        return {objective.name: float(np.mean(scores))}

    def _screen(self, trial: Any) -> keras.Model:
        """Return the untrained model of the first seed.

        Raises:
            EndedEarly: The model cannot learn.
        """
        reason = None
        with self._session(self.seeds[0]):
            model = self._model(trial)
            if self.screen is not None:
                reason = self.screen(model, self.models.scratch_for(model))
            if self.at_start is not None:
                signal = None if self.screen is None else self.screen.signal
                layers = layers_at_start(model, self._sample, signal)
        if self.at_start is not None and layers:
            self.oracle.report_start(trial.trial_id, layers)
            self.at_start(trial, layers)
        if reason is not None:
            raise EndedEarly(SCREENED, reason)
        return model

    def _prune_over_seeds(self, trial: Any) -> None:
        """Raise `EndedEarly` for a trial that is worse than the best trial, seed by seed."""
        completed = [t for t in self.oracle.frozen_trials() if t.state == TrialState.COMPLETE]
        records_of = [records for records in map(seed_records, completed) if records]
        others = [{seed: r["score"] for seed, r in records.items()} for records in records_of]
        scores = {seed: r["score"] for seed, r in self.oracle.seed_results(trial.trial_id).items()}
        if self.pruning.is_behind(scores, others, self.oracle.objective.direction):
            raise EndedEarly(PRUNED, f"worse than the best trial after {len(scores)} seeds")

    @contextmanager
    def _session(self, seed: int) -> Iterator[None]:
        # Layer names count up, and the draw of an initializer with an integer seed may depend on them. They
        # restart here, as in KerasTuner, so that a resumed search draws what an uninterrupted one would.
        reset_layer_names()
        keras.utils.set_random_seed(seed)
        # The scope starts after the reset, because TensorFlow keeps its strategy in the graph that is reset.
        with self.strategy.scope():
            yield

    def _model(self, trial: Any, same_model: keras.Model | None = None) -> keras.Model:
        return self.models.adopt(self.hypermodel.build(trial.hyperparameters), same_model)

    def run_seed(
        self, trial: Any, seed: int, same_model: keras.Model | None = None
    ) -> tuple[dict[str, Any], keras.Model]:
        """Train one seed; return its record and the model at its best epoch.

        Args:
            trial: The trial.
            seed: The seed.
            same_model: As in `CompiledModels.adopt`.

        Raises:
            EndedEarly: The pruner stopped it.
        """
        with self._session(seed):
            return self._train(trial, seed, same_model)

    def _train(
        self, trial: Any, seed: int, same_model: keras.Model | None
    ) -> tuple[dict[str, Any], keras.Model]:
        started = time.monotonic()
        metric = self.metric
        model = self._model(trial, same_model)
        # A seed of the race reports no epochs: the study accepts no values for a finished trial.
        first_step = self.seeds.index(seed) * self.epochs if seed in self.seeds else None
        report = ReportToPruner(self.oracle, trial.trial_id, first_step, self.metric)
        target = StopAtTarget(self.metric, self.target)
        schedule = trial.hyperparameters.values.get(SCHEDULE)
        patience = self.epochs if self.patience is None else self.patience
        history = model.fit(
            *self.train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation_data=self.validation,
            # A single batch, because another batch size would compile another XLA module.
            validation_batch_size=self.strategy.evaluation_batch(len(self.validation[0])),
            verbose=0,
            callbacks=[
                BestEpoch(metric.name, metric.direction, patience),
                NotifyObservers(self.observers, self.epochs),
                *([Schedule(schedule, self.epochs)] if schedule else []),
                report,
                target,
            ],
        ).history
        if report.pruned_after:
            raise EndedEarly(PRUNED, f"behind other trials after epoch {report.pruned_after} of seed {seed}")
        values = history[metric.name]
        finite = [v if np.isfinite(v) else None for v in values]
        score = _best(finite, metric.direction)
        if score is None:
            raise FloatingPointError(f"{metric.name} was not finite in any epoch of seed {seed}")
        diverged = [i for i, loss in enumerate(history.get("loss", ())) if not np.isfinite(loss)]
        if diverged and diverged[0] == 0:
            # A model that predicts NaN has a finite accuracy: it predicts class 0.
            raise FloatingPointError(f"the loss was not finite in the first epoch of seed {seed}")
        if self.target is not None:
            # A run that misses the target needs at least one epoch more.
            reached = target.reached or self.epochs + 1
        record = {
            "score": float(score) if self.target is None else float(reached),
            "best_epoch": finite.index(score) + 1,
            "epochs": len(values),
            "curves": {name: [float(v) for v in curve] for name, curve in history.items()},
            "seconds": round(time.monotonic() - started, 3),
            "diverged_in_epoch": diverged[0] + 1 if diverged else None,
        }
        if self.test is not None:
            size = self.strategy.evaluation_batch(len(self.test[0]))
            results = model.evaluate(*self.test, batch_size=size, verbose=0, return_dict=True)
            record["test"] = {name: float(value) for name, value in results.items()}
        return record, model

    def on_trial_end(self, trial: Any) -> None:
        """Report the end of a trial to the oracle, then to the observers."""
        super().on_trial_end(trial)
        # Checked afterwards, because the trial may be lost during the report.
        is_owned = self.oracle.owns(trial.trial_id)
        ended = self.oracle.get_trial(trial.trial_id)
        status = self.oracle.result(trial.trial_id).status if is_owned else "taken over"
        for observer in self.observers:
            observer.on_trial_end(ended, status)

    def load_model(self, trial: Any) -> keras.Model:
        """Return a new model with the weights of the trial's best seed at its best epoch.

        Raises:
            NoWeights: The weights are in the results folder of another machine, which trained that seed.
        """
        model = self.hypermodel.build(trial.hyperparameters)
        # The file also contains the optimizer's state, whose variables must exist before it is loaded.
        model.optimizer.build(model.trainable_variables)
        with suppress(FileNotFoundError):
            model.load_weights(self._best_file(trial.trial_id))
            return model
        # Another process has just replaced the file by the weights of a better seed.
        model.load_weights(self._best_file(trial.trial_id))
        return model

    def save(self) -> None:
        """Do nothing: the study contains everything."""

    def _best_file(self, trial_id: str) -> Path:
        scores = self.oracle.result(trial_id).scores()
        return find_weights(Path(self.get_trial_dir(trial_id)), scores, self.oracle.objective.direction)


def _best(values: Any, direction: str) -> float | None:
    """Return the best of the values that are not None; None if all are."""
    finite = [v for v in values if v is not None]
    if not finite:
        return None
    return max(finite) if direction == "max" else min(finite)
