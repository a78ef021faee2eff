"""What watches a run while it trains: its best epoch, its target, the pruner, the observers."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import keras
import keras_tuner
import numpy as np

from ..study import OptunaOracle


class Epochs(Protocol):
    """Who is told of every epoch."""

    def on_epoch_end(self, epochs: int) -> None:
        """An epoch of at most `epochs` ended."""


class BestEpoch(keras.callbacks.EarlyStopping):
    """Early stopping that takes a value which is not finite for the worst.

    Keras's own keeps a NaN of the first epoch for the best: no later value is better than that.
    """

    def __init__(self, monitor: str, direction: str, patience: int) -> None:
        super().__init__(monitor, mode=direction, patience=patience, restore_best_weights=True)
        self._worst = -np.inf if direction == "max" else np.inf

    def get_monitor_value(self, logs: Mapping[str, float] | None) -> float | None:
        value = super().get_monitor_value(logs)
        return value if value is None or np.isfinite(value) else self._worst


class NotifyObservers(keras.callbacks.Callback):
    """Tells the observers of every epoch, and ends a run whose loss is no number any more."""

    def __init__(self, observers: Sequence[Epochs], epochs: int) -> None:
        super().__init__()
        self._observers, self._epochs = observers, epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        for observer in self._observers:
            observer.on_epoch_end(self._epochs)
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True


class ReportToPruner(keras.callbacks.Callback):
    """Stores the objective after each epoch, and ends a run that the pruner has no hope for."""

    def __init__(
        self, oracle: OptunaOracle, trial_id: str, first_step: int | None, metric: keras_tuner.Objective
    ) -> None:
        super().__init__()
        self._oracle, self._trial_id, self._first = oracle, trial_id, first_step
        self._name = metric.name
        # A study that looks for few epochs prunes what has a low accuracy.
        self._sign = 1.0 if metric.direction == oracle.objective.direction else -1.0
        self.pruned_after = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = (logs or {}).get(self._name)
        if self._first is None or value is None:
            return
        if self._oracle.report_epoch(self._trial_id, self._first + epoch, self._sign * value):
            self.pruned_after = epoch + 1
            self.model.stop_training = True


class StopAtTarget(keras.callbacks.Callback):
    """Ends a run that has reached its target.

    Attributes:
        reached: The epoch in which it did, from 1; None where it did not.
    """

    def __init__(self, metric: keras_tuner.Objective, target: float | None) -> None:
        super().__init__()
        self._metric, self._target = metric, target
        self.reached: int | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = (logs or {}).get(self._metric.name)
        if self._target is None or value is None or not np.isfinite(value):
            return
        if (value >= self._target) if self._metric.direction == "max" else (value <= self._target):
            self.reached = epoch + 1
            self.model.stop_training = True


class Schedule(keras.callbacks.Callback):
    """Lowers the learning rate epoch by epoch, which no trace has to know of.

    rate(e) = rate (1 - e / E), "linear", or rate (1 + cos(pi e / E)) / 2, "cosine": e is the epoch from 0,
    E how many there are at most.

    Args:
        name: One of `SCHEDULES`.
        epochs: E.
    """

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self._name, self._epochs = name, epochs

    def on_train_begin(self, logs: object = None) -> None:
        """Reads the rate that it begins with."""
        self._first = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Sets the rate of the epoch."""
        share = epoch / self._epochs
        factors = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        self.model.optimizer.learning_rate = self._first * factors[self._name]
