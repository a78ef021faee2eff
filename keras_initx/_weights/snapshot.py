"""Keep the values of variables and put them back; large values wait on disk, not in memory."""

import contextlib
import io
import math
import random
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import IO, Any

import keras
import numpy as np

from keras_initx._weights.layers import all_layers

# In bytes. A second copy of a model of several GB may not fit in memory.
_IN_MEMORY = 16 * 2**20
# `generators_kept` patches Keras for the whole process.
_LOCK = threading.RLock()


class Snapshot:
    """The values of some variables when they were added, bit for bit.

    Example:

    >>> weight = keras.Variable([1.0, 2.0])
    >>> with Snapshot([weight]) as before:
    ...     _ = weight.assign([5.0, 6.0])
    ...     before.restore()
    >>> keras.ops.convert_to_numpy(weight).tolist()
    [1.0, 2.0]
    """

    def __init__(self, variables: Iterable[keras.Variable] = ()) -> None:
        self._file: IO[bytes] = io.BytesIO()
        # The variable, the offset and the number of bytes in the file, and the dtype.
        self._entries: dict[int, tuple[keras.Variable, int, int, Any]] = {}
        variables = list(variables)
        if 4 * sum(math.prod(variable.shape) for variable in variables) > _IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        for variable in variables:
            self.add(variable)

    def add(self, variable: keras.Variable) -> None:
        """Keep the current value of a variable, unless an earlier value is already kept."""
        if id(variable) in self._entries:
            return
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        offset = self._file.seek(0, 2)
        self._file.write(value.reshape(-1).view("uint8").data)
        self._entries[id(variable)] = (variable, offset, value.nbytes, value.dtype)

    def restore(self) -> None:
        """Assign to every variable the value that was kept."""
        for variable, offset, size, dtype in self._entries.values():
            self._file.seek(offset)
            value = np.frombuffer(self._file.read(size), dtype=dtype)
            variable.assign(value.reshape(tuple(variable.shape)))

    def close(self) -> None:
        """Release the values."""
        self._file.close()

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore every random generator that is drawn from inside the block, Keras's global one included.

    The global generator is not a variable of any model, so only its draws reveal it.
    """
    thread = threading.get_ident()
    with _LOCK, Snapshot() as before:
        true_next = keras.random.SeedGenerator.next

        def recording_next(generator: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == thread:
                # While shapes are inferred, the state has no value and is not written either.
                with contextlib.suppress(Exception):
                    before.add(generator.state)
            return true_next(generator, *args, **kwargs)

        keras.random.SeedGenerator.next = recording_next
        try:
            yield
        finally:
            keras.random.SeedGenerator.next = true_next
            before.restore()


@contextlib.contextmanager
def untouched(model: keras.Model) -> Iterator[Snapshot]:
    """Restore everything that a pass may change: weights, statistics, metrics, random generators.

    Yields:
        The values of the variables, so that the caller can put them back before the end of the block, too.
    """
    state = random.getstate()
    variables = [*model.variables, *pass_states(model)]
    try:
        with generators_kept(), losses_kept(model), Snapshot(variables) as before:
            try:
                yield before
            finally:
                before.restore()
    finally:
        random.setstate(state)


@contextlib.contextmanager
def losses_kept(model: keras.Model) -> Iterator[None]:
    """Restore the losses that layers have added, which a compiled pass replaces by tensors without values.

    Keras clears them at the next call, and has no public way to write them: a test reads them afterwards.
    """
    losses = [(layer, list(layer._losses)) for layer in all_layers(model)]
    try:
        yield
    finally:
        for layer, values in losses:
            layer._losses[:] = values


def pass_states(model: keras.Model) -> list[keras.Variable]:
    """Return the variables that a call may change: statistics, generators, metrics, states of cells."""
    return [*model.non_trainable_variables, *_metric_states(model), *_cell_states(model)]


def _metric_states(model: keras.Model) -> list[keras.Variable]:
    metrics = {id(metric): metric for layer in all_layers(model) for metric in layer.metrics}
    return [variable for metric in metrics.values() for variable in metric.variables]


def _cell_states(model: keras.Model) -> list[keras.Variable]:
    recurrent = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
    states = keras.tree.flatten([layer.states for layer in recurrent])
    return [state for state in states if isinstance(state, keras.Variable)]
