"""The KerasTuner tuner that trains every trial over several seeds and keeps each seed's score."""

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
from .checkpoints import find, is_better, saving_if_better
from .devices import Strategy, tensorflow_strategy
from .model_cache import Batch, CompiledModels
from .race import Racing
from .session import reset_layer_names


class EndedEarly(Exception):
    """A trial that is not worth going on with.

    Attributes:
        how: "screened" or "pruned".
        reason: Why, in words.
    """

    def __init__(self, how: str, reason: str) -> None:
        super().__init__(reason)
        self.how, self.reason = how, reason


class InitializerTuner(keras_tuner.Tuner, Racing):
    """Runs each trial once for every seed: an initializer is a distribution, not a set of weights.

    A seed decides the weights, the order of the batches and the dropout. Its score is the objective
    at its best epoch, and the trial's score the mean over seeds. The weights of the best seed at its
    best epoch are kept in the trial's folder, on the machine that trained it.

    Args:
        oracle: An `OptunaOracle`, which stores each seed's result as soon as it is known.
        hypermodel: As in `keras_tuner.Tuner`.
        train, validation: Pairs (x, y).
        test: A pair (x, y) on which each seed's best epoch is evaluated, or None. It decides nothing.
        seeds: The seeds of every trial.
        epochs, batch_size: As in `keras.Model.fit`.
        patience: Epochs without a better objective after which a seed stops; None never stops.
        jit_compile: Whether to compile under XLA.
        screening: Whether a trial that cannot learn is ended before its training.
        pruning: When a trial that falls behind is ended; None never.
        metric: What is watched in each epoch; None is the oracle's objective.
        target: Where it is given, a seed's score is the epoch in which the metric reaches it (one more than
            all where it does not), and the oracle's objective is the least number of epochs.
        observers: Who is told of the progress.
        at_start: Who is shown what the layers of each trial compute before its training, on its first seed.
        strategy: Which devices train each trial together; None is one.
        **kwargs: As in `keras_tuner.Tuner`; a `distribution_strategy` of TensorFlow goes before `strategy`.
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
        given = kwargs.get("distribution_strategy")
        self.strategy = tensorflow_strategy(given) if given is not None else strategy or Strategy()
        train = self.strategy.shared(train, batch_size)
        self.train, self.validation, self.test = train, validation, test
        self.seeds, self.epochs, self.batch_size = tuple(seeds), epochs, batch_size
        self.patience = patience
        self.observers, self.at_start = tuple(observers), at_start
        size = min(batch_size, len(train[0]))
        jit_compile = jit_compile and self.strategy.jit_compile
        sample = (train[0][:size], train[1][:size])
        self.models = CompiledModels(jit_compile, sample, validation=validation)
        # Rows from everywhere: files may be in the order of the classes.
        rows = np.linspace(0, len(train[0]) - 1, num=2 * size).astype(int)
        samples = [(train[0][rows[start::2]], train[1][rows[start::2]]) for start in (0, 1)]
        self.screen = Screen(samples) if screening else None
        self._sample = samples[0]
        self.metric, self.target = metric or oracle.objective, target
        self.pruning = pruning or Pruning(None, epochs, len(self.seeds))
        oracle.set_pruner(self.pruning.over_epochs)
        super().__init__(oracle, hypermodel, **kwargs)
        # On a worker of KerasTuner's chief it would be a client now, which knows of no seeds.
        self.oracle = oracle
        if oracle.study.user_attrs:
            oracle.reload()

    def search(self, *args: Any, **kwargs: Any) -> None:
        """Runs trials until none is left; as KerasTuner's chief it waits for those of its workers."""
        if is_chief():
            wait_for_workers(self.oracle)
        else:
            super().search(*args, **kwargs)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains every seed that has no stored result; returns the mean of the objective.

        Of a trial that cannot learn, or falls behind, the oracle knows why, and takes no score.
        """
        # What a disk or the storage does is no matter of the hyperparameters.
        with storage_errors(self.oracle.location), disk_errors("results", Path(self.project_dir)):
            return self._scored(trial)

    def _scored(self, trial: Any) -> dict[str, float]:
        try:
            return self._run_seeds(trial)
        except EndedEarly as ended:
            with suppress(TakenOver):
                self.oracle.end_early(trial.trial_id, ended.how, ended.reason)
        except TakenOver:
            # Another process has it, and tells how it ends.
            pass
        # Of an exception KerasTuner would print the traceback; it wants a number.
        return {self.oracle.objective.name: 0.0}

    def _run_seeds(self, trial: Any) -> dict[str, float]:
        objective = self.oracle.objective
        stored = self.oracle.seed_results(trial.trial_id)
        todo = [seed for seed in self.seeds if seed not in stored]
        for observer in self.observers:
            observer.on_trial_begin(trial, todo)
        screened: keras.Model | None = None
        if (self.screen is not None or self.at_start is not None) and not stored:
            screened = self._look_at(trial)
        scores = [r["score"] for r in stored.values()]
        folder = Path(self.get_trial_dir(trial.trial_id))
        for seed in todo:
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
                self._compare(trial)
        scores = [r["score"] for r in self.oracle.seed_results(trial.trial_id).values()]
        return {objective.name: float(np.mean(scores))}

    def _look_at(self, trial: Any) -> keras.Model:
        """The model of the first seed, as it is before training; a trial that cannot learn ends here."""
        reason = None
        with self._session(self.seeds[0]):
            model = self._model(trial)
            if self.screen is not None:
                reason = self.screen(model, self.models.beside(model))
            if self.at_start is not None:
                seen = None if self.screen is None else self.screen.seen
                layers = layers_at_start(model, self._sample, seen)
        if self.at_start is not None and layers:
            self.oracle.report_start(trial.trial_id, layers)
            self.at_start(trial, layers)
        if reason is not None:
            raise EndedEarly(SCREENED, reason)
        return model

    def _compare(self, trial: Any) -> None:
        """Ends a trial that is worse than the best one, seed by seed."""
        frozen = self.oracle.frozen_trials()
        done = [seed_records(t) for t in frozen if t.state == TrialState.COMPLETE]
        others = [{seed: r["score"] for seed, r in records.items()} for records in done if records]
        scores = {seed: r["score"] for seed, r in self.oracle.seed_results(trial.trial_id).items()}
        if self.pruning.is_behind(scores, others, self.oracle.objective.direction):
            raise EndedEarly(PRUNED, f"worse than the best trial after {len(scores)} seeds")

    @contextmanager
    def _session(self, seed: int) -> Iterator[None]:
        # Layer names count up, and an integer-seeded initializer may read them: they start anew, as
        # KerasTuner has them, so that a resumed search draws what an uninterrupted one would.
        reset_layer_names()
        keras.utils.set_random_seed(seed)
        # Not around the new session: TensorFlow keeps its strategy in the graph that this resets.
        with self.strategy.scope():
            yield

    def _model(self, trial: Any, twin: keras.Model | None = None) -> keras.Model:
        return self.models.ready(self.hypermodel.build(trial.hyperparameters), twin)

    def run_seed(
        self, trial: Any, seed: int, twin: keras.Model | None = None
    ) -> tuple[dict[str, Any], keras.Model]:
        """Trains one seed; returns its record and the model at its best epoch.

        Args:
            trial: The trial.
            seed: The seed.
            twin: As in `CompiledModels.ready`.

        Raises:
            EndedEarly: The pruner stopped it.
        """
        with self._session(seed):
            return self._train(trial, seed, twin)

    def _train(self, trial: Any, seed: int, twin: keras.Model | None) -> tuple[dict[str, Any], keras.Model]:
        started = time.monotonic()
        metric = self.metric
        model = self._model(trial, twin)
        # The study takes no values of a finished trial.
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
            # One batch: another batch size would be another XLA module.
            validation_batch_size=self.strategy.batch(len(self.validation[0])),
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
        if self.target is not None:
            # Whoever did not get there needs one epoch more than all, at least.
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
            size = self.strategy.batch(len(self.test[0]))
            results = model.evaluate(*self.test, batch_size=size, verbose=0, return_dict=True)
            record["test"] = {name: float(value) for name, value in results.items()}
        return record, model

    def on_trial_end(self, trial: Any) -> None:
        """Tells the oracle, then the observers."""
        super().on_trial_end(trial)
        # Only then: it may have been lost as it was told.
        mine = self.oracle.owns(trial.trial_id)
        ended = self.oracle.get_trial(trial.trial_id)
        status = self.oracle.result(trial.trial_id).status if mine else "taken over"
        for observer in self.observers:
            observer.on_trial_end(ended, status)

    def load_model(self, trial: Any) -> keras.Model:
        """A new model with the weights of the trial's best seed at its best epoch.

        Raises:
            NoWeights: They are in the results folder of the machine that trained that seed.
        """
        model = self.hypermodel.build(trial.hyperparameters)
        # The file holds the optimizer's state too, which has nowhere to go before its variables exist.
        model.optimizer.build(model.trainable_variables)
        with suppress(FileNotFoundError):
            model.load_weights(self._best_file(trial.trial_id))
            return model
        # Another process has put those of a better seed in their place.
        model.load_weights(self._best_file(trial.trial_id))
        return model

    def save(self) -> None:
        """Does nothing: the study has all there is to keep."""

    def _best_file(self, trial_id: str) -> Path:
        scores = self.oracle.result(trial_id).scores()
        return find(Path(self.get_trial_dir(trial_id)), scores, self.oracle.objective.direction)


def _best(values: Any, direction: str) -> float | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    return max(known) if direction == "max" else min(known)
