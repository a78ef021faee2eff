"""The values of variables as they were, to be put back; large ones wait on disk and not in memory."""

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

# A second copy of a model of several GB may not fit beside it.
_IN_MEMORY = 16 * 2**20
# The hook is process-wide while it lasts.
_LOCK = threading.RLock()


class Snapshot:
    """What some variables held when they were added, bit by bit.

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
        self._places: dict[int, tuple[keras.Variable, int, int, Any]] = {}
        variables = list(variables)
        if 4 * sum(math.prod(variable.shape) for variable in variables) > _IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        for variable in variables:
            self.add(variable)

    def add(self, variable: keras.Variable) -> None:
        """Keeps the value that a variable has now; of one that is kept already, the earlier."""
        if id(variable) in self._places:
            return
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        place = self._file.seek(0, 2)
        self._file.write(value.reshape(-1).view("uint8").data)
        self._places[id(variable)] = (variable, place, value.nbytes, value.dtype)

    def restore(self) -> None:
        """Gives every variable back what it held."""
        for variable, place, size, dtype in self._places.values():
            self._file.seek(place)
            value = np.frombuffer(self._file.read(size), dtype=dtype)
            variable.assign(value.reshape(tuple(variable.shape)))

    def close(self) -> None:
        """Lets the values go."""
        self._file.close()

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Puts back every generator of random numbers that is drawn from meanwhile, Keras's global one too.

    That one is no variable of any model, so that only its draws show it.
    """
    thread = threading.get_ident()
    with _LOCK, Snapshot() as before:
        true_next = keras.random.SeedGenerator.next

        def kept(generator: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == thread:
                # While shapes are inferred the state has no value, and is not written either.
                with contextlib.suppress(Exception):
                    before.add(generator.state)
            return true_next(generator, *args, **kwargs)

        keras.random.SeedGenerator.next = kept
        try:
            yield
        finally:
            keras.random.SeedGenerator.next = true_next
            before.restore()


@contextlib.contextmanager
def untouched(model: keras.Model) -> Iterator[Snapshot]:
    """Puts back all that a pass may change: weights, statistics, metrics, generators of random numbers.

    Yields what the variables were, for who puts them back before the end, too.
    """
    state = random.getstate()
    try:
        with generators_kept(), _losses_kept(model), Snapshot(_all_variables(model)) as before:
            try:
                yield before
            finally:
                before.restore()
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _losses_kept(model: keras.Model) -> Iterator[None]:
    """Puts back what layers have added to the loss, which in a compiled pass are tensors without values.

    Keras clears them at the next call, and has no public way to write them: a test reads them afterwards.
    """
    kept = [(layer, list(layer._losses)) for layer in all_layers(model)]
    try:
        yield
    finally:
        for layer, losses in kept:
            layer._losses[:] = losses


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """All that a pass may change: weights, statistics, generators, metrics, states of stateful cells."""
    cells = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
    states = [v for cell in cells for v in keras.tree.flatten(cell.states) if isinstance(v, keras.Variable)]
    metrics = [v for metric in getattr(model, "metrics", []) for v in metric.variables]
    return [*model.variables, *metrics, *states]
