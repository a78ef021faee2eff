"""Keras callbacks of a run: best epoch, observers, pruner, target, learning rate schedule."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from ..observers import Observer
from ..study import OptunaOracle


def losses_are_finite(metric: keras_tuner.Objective, logs: Mapping[str, Any]) -> bool:
    """Return whether the losses that belong to a metric are finite, where the logs of an epoch have them.

    They are the loss and the validation loss. For a metric of one of several outputs, the losses of this
    output stand for the validation loss, since the validation data may lack the labels of another output.
    """
    names = {"loss"}
    for part in getattr(metric, "objectives", [metric]):
        own = part.name.removeprefix("val_")
        outputs = [name.removesuffix("_loss") for name in logs if name.endswith("_loss")]
        # The longest one, since the name of another output may be its beginning.
        output = max((out for out in outputs if own.startswith(f"{out}_")), key=len, default=None)
        names |= {"val_loss"} if output is None else {f"{output}_loss", f"val_{output}_loss"}
    return all(np.isfinite(logs[name]) for name in names & logs.keys())


def value_of(metric: keras_tuner.Objective, logs: Mapping[str, Any] | None) -> float | None:
    """Return the value of an epoch: None if its logs lack the metric, NaN if a loss is not finite.

    A model that predicts NaN has a finite accuracy: it predicts class 0.
    """
    if not logs or not metric.has_value(logs):
        return None
    return float(metric.get_value(logs)) if losses_are_finite(metric, logs) else math.nan


class BestEpoch(keras.callbacks.EarlyStopping):
    """Early stopping that counts an epoch whose value or loss is not finite as the worst one.

    Keras's own callback keeps a NaN of the first epoch as the best value, because no later value is better.

    Args:
        objective: What to monitor; it may combine several metrics.
        patience: The number of epochs without a better value after which the run ends.

    Attributes:
        values: The monitored value of each epoch that has one, by epoch from 0; NaN if a loss is not finite.
        logs: All metrics of these epochs.
    """

    def __init__(self, objective: keras_tuner.Objective, patience: int) -> None:
        super().__init__(
            objective.name, mode=objective.direction, patience=patience, restore_best_weights=True
        )
        self._objective = objective
        self._worst = -np.inf if objective.direction == "max" else np.inf
        self.best: float | None = None
        self.values: dict[int, float] = {}
        self.logs: dict[int, dict[str, Any]] = {}

    def on_train_begin(self, logs: object = None) -> None:
        """Reset the records, so that only the last call counts if custom training calls `fit` repeatedly."""
        super().on_train_begin(logs)
        self.values, self.logs = {}, {}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Note the value of the epoch, and the weights if it is the best."""
        value = value_of(self._objective, logs)
        if value is not None:
            self.values[epoch], self.logs[epoch] = value, dict(logs or {})
        super().on_epoch_end(epoch, logs)

    def get_monitor_value(self, logs: Mapping[str, float] | None) -> float | None:
        # A training loop may leave it out in some epochs, as `validation_freq` does.
        value = value_of(self._objective, logs)
        return value if value is None or np.isfinite(value) else self._worst


class NotifyObservers(keras.callbacks.Callback):
    """Notifies the observers of every epoch, and ends a run whose loss is not finite."""

    def __init__(self, observers: Sequence[Observer], epochs: int) -> None:
        super().__init__()
        self._observers, self._epochs = observers, epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        for observer in self._observers:
            observer.on_epoch_end(self._epochs)
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self.model.stop_training = True


class TunerHooks(keras.callbacks.Callback):
    """Calls the methods of a tuner that KerasTuner calls for each epoch and batch of a trial."""

    def __init__(self, tuner: keras_tuner.Tuner, trial: Any) -> None:
        super().__init__()
        self._tuner, self._trial = tuner, trial

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call `tuner.on_epoch_begin`."""
        self._tuner.on_epoch_begin(self._trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Call `tuner.on_epoch_end`."""
        self._tuner.on_epoch_end(self._trial, self.model, epoch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Call `tuner.on_batch_begin`."""
        self._tuner.on_batch_begin(self._trial, self.model, batch, logs)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call `tuner.on_batch_end`."""
        self._tuner.on_batch_end(self._trial, self.model, batch, logs)


class ReportToPruner(keras.callbacks.Callback):
    """Stores the metric after each epoch, and ends a run that the pruner rejects.

    Args:
        oracle: Stores the values.
        trial_id: The trial.
        first_step: The step of the run's first epoch; None stores nothing.
        metric: The metric.

    Attributes:
        pruned_after: The number of epochs after which the pruner ended the run; 0 if it did not.
    """

    def __init__(
        self, oracle: OptunaOracle, trial_id: str, first_step: int | None, metric: keras_tuner.Objective
    ) -> None:
        super().__init__()
        self._oracle, self._trial_id, self._first_step = oracle, trial_id, first_step
        self._metric = metric
        # A search for few epochs minimizes its objective but may maximize the metric. The pruner reads the
        # metric as an objective, so its sign changes.
        self._sign = 1.0 if metric.direction == oracle.objective.direction else -1.0
        self.pruned_after = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = value_of(self._metric, logs)
        if self._first_step is None or value is None:
            return
        if self._oracle.report_epoch(self._trial_id, self._first_step + epoch, self._sign * value):
            self.pruned_after = epoch + 1
            self.model.stop_training = True


class StopAtTarget(keras.callbacks.Callback):
    """Ends a run that has reached its target.

    Args:
        metric: The metric to compare with the target.
        target: The value to reach; None never ends a run.

    Attributes:
        reached: The epoch in which the run reached the target, from 1; None if it did not.
    """

    def __init__(self, metric: keras_tuner.Objective, target: float | None) -> None:
        super().__init__()
        self._metric, self._target = metric, target
        self.reached: int | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = value_of(self._metric, logs)
        if self._target is None or value is None or not np.isfinite(value):
            return
        if (value >= self._target) if self._metric.direction == "max" else (value <= self._target):
            self.reached = epoch + 1
            self.model.stop_training = True


class Schedule(keras.callbacks.Callback):
    """Lowers the learning rate epoch by epoch, outside of the compiled training step.

    rate(e) = rate (1 - e / E) for "linear", and rate (1 + cos(pi e / E)) / 2 for "cosine", where e is the
    epoch from 0 and E the largest number of epochs. "constant" keeps the rate.

    Args:
        name: One of `SCHEDULES`.
        epochs: E.
    """

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self._name, self._epochs = name, epochs

    def on_train_begin(self, logs: object = None) -> None:
        """Read the initial learning rate."""
        self._initial_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Set the learning rate of the epoch."""
        share = epoch / self._epochs
        factors = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        self.model.optimizer.learning_rate = self._initial_rate * factors[self._name]
