"""The KerasTuner tuner that trains every trial over several seeds and keeps each seed's score."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import keras_tuner
import numpy as np

from .compiled import Batch, CompiledModels
from .oracle import OptunaOracle


class Observer(Protocol):
    """Who is told how a search goes on: a progress bar, a dashboard."""

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """A trial starts, of which `seeds` are still to be run."""

    def on_epoch_end(self, epochs: int) -> None:
        """An epoch of at most `epochs` ended."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """A seed's result is stored; early stopping saved `skipped_epochs`."""

    def on_trial_end(self, trial: Any, status: str) -> None:
        """A trial ended as "completed" or "failed"."""


class InitializerTuner(keras_tuner.Tuner):
    """Runs each trial once for every seed: an initializer is a distribution, not a set of weights.

    A seed decides the weights, the order of the batches and the dropout. Its score is the objective
    at its best epoch, and the trial's score the mean over seeds. The weights of the best seed at its
    best epoch are kept in the trial's folder.

    Args:
        oracle: An `OptunaOracle`, which stores each seed's result as soon as it is known.
        hypermodel: As in `keras_tuner.Tuner`.
        train, validation: Pairs (x, y).
        test: A pair (x, y) on which each seed's best epoch is evaluated, or None. It decides nothing.
        seeds: The seeds of every trial.
        epochs, batch_size: As in `keras.Model.fit`.
        patience: Epochs without a better objective after which a seed stops; None never stops.
        jit_compile: Whether to compile under XLA.
        observers: Who is told of the progress.
        **kwargs: As in `keras_tuner.Tuner`.
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
        observers: Sequence[Observer] = (),
        **kwargs: Any,
    ) -> None:
        self.train, self.validation, self.test = train, validation, test
        self.seeds, self.epochs, self.batch_size = tuple(seeds), epochs, batch_size
        self.patience = patience
        self.observers = tuple(observers)
        size = min(batch_size, len(train[0]))
        self.models = CompiledModels(jit_compile, (train[0][:size], train[1][:size]))
        super().__init__(oracle, hypermodel, **kwargs)
        if oracle.study.user_attrs:
            oracle.reload()

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains every seed that has no stored result; returns the mean of the objective."""
        objective = self.oracle.objective
        stored = self.oracle.seed_results(trial.trial_id)
        todo = [seed for seed in self.seeds if seed not in stored]
        for observer in self.observers:
            observer.on_trial_begin(trial, todo)
        best = _best((r["score"] for r in stored.values()), objective.direction)
        for seed in todo:
            record, model = self.run_seed(trial, seed)
            better = _best((best, record["score"]), objective.direction) != best
            if best is None or better:
                best = record["score"]
                self._keep(trial.trial_id, model)
            self.oracle.report_seed(trial.trial_id, seed, record)
            for observer in self.observers:
                observer.on_seed_end(trial, seed, record, self.epochs - record["epochs"])
        scores = [r["score"] for r in self.oracle.seed_results(trial.trial_id).values()]
        return {objective.name: float(np.mean(scores))}

    def run_seed(self, trial: Any, seed: int) -> tuple[dict[str, Any], keras.Model]:
        """Trains one seed; returns its record and the model at its best epoch."""
        started = time.monotonic()
        objective = self.oracle.objective
        # Layer names count up, and an integer-seeded initializer may read them: they start anew, as
        # KerasTuner has them, so that a resumed search draws what an uninterrupted one would.
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
        model = self.models.ready(self.hypermodel.build(trial.hyperparameters))
        patience = self.epochs if self.patience is None else self.patience
        history = model.fit(
            *self.train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation_data=self.validation,
            # One batch: another batch size would be another XLA module.
            validation_batch_size=len(self.validation[0]),
            verbose=0,
            callbacks=[
                _BestEpoch(objective.name, objective.direction, patience),
                _Watch(self.observers, self.epochs),
            ],
        ).history
        values = history[objective.name]
        finite = [v if np.isfinite(v) else None for v in values]
        score = _best(finite, objective.direction)
        if score is None:
            raise FloatingPointError(f"{objective.name} was not finite in any epoch of seed {seed}")
        diverged = [i for i, loss in enumerate(history["loss"]) if not np.isfinite(loss)]
        record = {
            "score": float(score),
            "best_epoch": finite.index(score) + 1,
            "epochs": len(values),
            "curves": {name: [float(v) for v in curve] for name, curve in history.items()},
            "seconds": round(time.monotonic() - started, 3),
            "diverged_in_epoch": diverged[0] + 1 if diverged else None,
        }
        if self.test is not None:
            results = model.evaluate(*self.test, batch_size=len(self.test[0]), verbose=0, return_dict=True)
            record["test"] = {name: float(value) for name, value in results.items()}
        return record, model

    def on_trial_end(self, trial: Any) -> None:
        """Tells the oracle, then the observers."""
        super().on_trial_end(trial)
        ended = self.oracle.get_trial(trial.trial_id)
        for observer in self.observers:
            observer.on_trial_end(ended, str(ended.status).lower())

    def load_model(self, trial: Any) -> keras.Model:
        """A new model with the weights of the trial's best seed at its best epoch."""
        model = self.hypermodel.build(trial.hyperparameters)
        # The file holds the optimizer's state too, which has nowhere to go before its variables exist.
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._weights_file(trial.trial_id))
        return model

    def save(self) -> None:
        """Does nothing: the study has all there is to keep."""

    def _keep(self, trial_id: str, model: keras.Model) -> None:
        target = self._weights_file(trial_id)
        partial = target.with_name(f"partial.{target.name}")
        model.save_weights(partial)
        # Whole or not at all, whenever the process is killed.
        partial.replace(target)

    def _weights_file(self, trial_id: str) -> Path:
        return Path(self.get_trial_dir(trial_id)) / "best.weights.h5"


class _BestEpoch(keras.callbacks.EarlyStopping):
    """Early stopping that takes a value which is not finite for the worst.

    Keras's own keeps a NaN of the first epoch for the best: no later value is better than that.
    """

    def __init__(self, monitor: str, direction: str, patience: int) -> None:
        super().__init__(monitor, mode=direction, patience=patience, restore_best_weights=True)
        self._worst = -np.inf if direction == "max" else np.inf

    def get_monitor_value(self, logs: Mapping[str, float] | None) -> float | None:
        value = super().get_monitor_value(logs)
        return value if value is None or np.isfinite(value) else self._worst


class _Watch(keras.callbacks.Callback):
    """Tells the observers of every epoch, and ends a run whose loss is no number any more."""

    def __init__(self, observers: Sequence[Observer], epochs: int) -> None:
        super().__init__()
        self._observers, self._epochs = observers, epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        for observer in self._observers:
            observer.on_epoch_end(self._epochs)
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True


def _best(values: Any, direction: str) -> float | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    return max(known) if direction == "max" else min(known)
