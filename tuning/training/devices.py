"""Several devices of one machine for one trial: each holds the model and gets its share of every batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx.errors import InitxError, unknown_name

from ..data import FitArguments

MIRRORED = "mirrored"
STRATEGIES = (MIRRORED,)


@dataclass(frozen=True)
class Strategy:
    """The devices of this machine, and how they share the work.

    Attributes:
        replicas: The number of devices.
        jit_compile: Whether XLA can compile the training step.
        equal: Whether every device must get a row of each batch, the last one included.
        scope: Returns the context in which models are built and trained.
    """

    replicas: int = 1
    jit_compile: bool = True
    equal: bool = False
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext

    def even(self, rows: int, batch_size: int) -> int:
        """Return how many of the training rows to use, so that every batch can be shared equally.

        Raises:
            InitxError: `batch_size` is not a multiple of the number of devices, or there are fewer rows than
                devices.
        """
        if batch_size % self.replicas and self.replicas > 1:
            allowed = f"a multiple of {self.replicas}, the number of devices"
            raise InitxError("batch_size", batch_size, allowed, "It counts the rows of all devices together.")
        self.evaluation_batch(rows)
        # Batch normalization on a device without rows would take the mean of nothing, which is NaN.
        return rows - rows % batch_size % self.replicas

    def evaluation_batch(self, rows: int) -> int:
        """Return the batch size that evaluates the rows in the fewest steps.

        Raises:
            InitxError: There are fewer rows than devices.
        """
        if rows < self.replicas:
            problem = f"`data` has a part of {rows} rows, but {self.replicas} devices need a row each"
            raise InitxError("data", rows, f"at least {self.replicas} rows", "Pass more rows.", problem)
        # The remaining rows form a second batch. A device may get none of them, which is harmless here.
        return rows - rows % self.replicas if self.equal else rows


def devices_of(
    strategy: str | None, workers: object, data: FitArguments | None, test: FitArguments | None
) -> Strategy:
    """Return the devices that train each trial, after a check that they can share every batch of arrays.

    Args:
        strategy, workers: As in `strategy_of`.
        data: The arguments of `fit`; None if they are not known.
        test: The test data, or None.

    Raises:
        InitxError: If the strategy is unknown or impossible here, or if the devices cannot share the
            batches of one of the parts.
    """
    devices = strategy_of(strategy, workers)
    if data is not None and data.rows is not None:
        devices.even(data.rows, data.batch_size)
    for part in (data and data.validation, test):
        if part is not None and part.rows is not None:
            devices.evaluation_batch(part.rows)
    return devices


def strategy_of(name: str | None, workers: object = None) -> Strategy:
    """Return the strategy with that name.

    Args:
        name: "mirrored", or None for one device.
        workers: The `Workers` of the search, or None.

    Raises:
        InitxError: The name is unknown, is combined with `workers`, or is not available on this backend.
    """
    if name is None:
        return Strategy()
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES, "None uses one device.")
    if workers is not None:
        remedy = "Use only one of the two: workers train several trials, each on its own device."
        raise InitxError("strategy", name, "None with workers", remedy)
    backend = keras.backend.backend()
    if backend not in _FACTORIES:
        remedy = f"Set KERAS_BACKEND to {' or '.join(_FACTORIES)} before Keras is imported."
        raise InitxError("strategy", name, f"None on the backend {backend}", remedy)
    return _FACTORIES[backend]()


def tensorflow_strategy(strategy: Any) -> Strategy:
    """Return the `Strategy` of a user's `tf.distribute.Strategy`."""
    # TensorFlow's optimizers leave the compiled step of one device to add the gradients of all devices,
    # which XLA cannot express.
    return Strategy(strategy.num_replicas_in_sync, False, True, strategy.scope)


def _on_tensorflow() -> Strategy:
    # A late import, because the other backends work without TensorFlow.
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        return Strategy()
    return tensorflow_strategy(tf.distribute.MirroredStrategy([device.name for device in devices]))


def _on_jax() -> Strategy:
    devices = keras.distribution.list_devices()
    if len(devices) < 2:
        return Strategy()
    return Strategy(len(devices), scope=_WholeOrShared(devices=devices).scope)


class _WholeOrShared(keras.distribution.DataParallel):
    """Data parallelism that copies a batch to every device if it cannot be shared equally.

    The validation data are one batch, with any number of rows.
    """

    def get_data_layout(self, data_shape: Any) -> Any:
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return layout


_FACTORIES: dict[str, Callable[[], Strategy]] = {"tensorflow": _on_tensorflow, "jax": _on_jax}
