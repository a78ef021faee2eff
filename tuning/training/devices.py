"""Several devices of one machine for one trial: each has the model, and its share of every batch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx.errors import InitxError, unknown_name

MIRRORED = "mirrored"
STRATEGIES = (MIRRORED,)

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Strategy:
    """How the devices of this machine share the work.

    Attributes:
        replicas: How many devices there are.
        jit_compile: Whether the training step can be compiled under XLA.
        equal: Whether a batch must be shared equally, that of a last and smaller one apart.
        scope: In it models are made, and trained.
    """

    replicas: int = 1
    jit_compile: bool = True
    equal: bool = False
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext

    def shared(self, train: Pair, batch_size: int) -> Pair:
        """The rows of which every batch can be shared equally: all but the last few at most.

        Raises:
            InitxError: A batch that cannot.
        """
        rows = len(train[0])
        if batch_size % self.replicas and self.replicas > 1:
            allowed = f"a multiple of {self.replicas}, the number of devices"
            remedy = "It counts the rows of all devices together."
            raise InitxError("batch_size", batch_size, allowed, remedy)
        # Of a part without rows batch normalization would take the mean, which is no number.
        self.batch(rows)
        kept = rows - rows % batch_size % self.replicas
        return train[0][:kept], train[1][:kept]

    def batch(self, rows: int) -> int:
        """The batch size with which so many rows are evaluated in the fewest steps.

        Raises:
            InitxError: A device would have none.
        """
        if rows < self.replicas:
            raise InitxError("data", f"{rows} rows", f"one for each of {self.replicas} devices, at least")
        # The rest is a batch of its own, of which a device may have no row: here that does no harm.
        return rows - rows % self.replicas if self.equal else rows


def strategy_of(name: str | None, workers: object = None) -> Strategy:
    """The strategy of that name.

    Args:
        name: "mirrored", or None for one device.
        workers: The processes that the devices would be shared among, or None.

    Raises:
        InitxError: An unknown name; with `workers`; a backend that has no such strategy.
    """
    if name is None:
        return Strategy()
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES, "None is one device.")
    if workers is not None:
        remedy = "Leave one of the two out: workers train several trials, each on a device of its own."
        raise InitxError("strategy", name, "None with workers", remedy)
    backend = keras.backend.backend()
    if backend not in _MAKERS:
        remedy = "Set KERAS_BACKEND to one of these before keras is imported."
        raise InitxError("strategy", name, f"None on the backend {backend}; {' or '.join(_MAKERS)}", remedy)
    return _MAKERS[backend]()


def tensorflow_strategy(given: Any) -> Strategy:
    """A `tf.distribute.Strategy` of the user's own."""
    # TensorFlow's optimizers leave the step of one device to add up the gradients of all: XLA has no word
    # for that.
    return Strategy(given.num_replicas_in_sync, False, True, given.scope)


def _on_tensorflow() -> Strategy:
    # Nobody else needs TensorFlow to be there.
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) < 2:
        return Strategy()
    return tensorflow_strategy(tf.distribute.MirroredStrategy([device.name for device in found]))


def _on_jax() -> Strategy:
    found = keras.distribution.list_devices()
    if len(found) < 2:
        return Strategy()
    return Strategy(len(found), scope=_WholeOrShared(devices=found).scope)


class _WholeOrShared(keras.distribution.DataParallel):
    """Data parallelism that gives every device the whole of a batch which it cannot share equally.

    The validation data are one batch, of as many rows as there are.
    """

    def get_data_layout(self, data_shape: Any) -> Any:
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return layout


_MAKERS: dict[str, Callable[[], Strategy]] = {"tensorflow": _on_tensorflow, "jax": _on_jax}
