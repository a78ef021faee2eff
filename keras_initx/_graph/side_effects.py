"""Hold back what a layer's `call` does besides its result: losses, assignments, metric updates."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._graph.hooks import patched_attribute


@contextlib.contextmanager
def held_back(model: keras.Model) -> Iterator[None]:
    """Ignore `add_loss`, `Variable.assign` and the updates of the model's metrics in this thread.

    A symbolic tensor has no value to add or assign, and a trace must change nothing. The caller holds a lock:
    the hooks affect the whole process.
    """
    thread = threading.get_ident()
    add_loss, assign = keras.Layer.add_loss, keras.Variable.assign

    def add_no_loss(layer: keras.Layer, loss: Any) -> None:
        if threading.get_ident() != thread:
            add_loss(layer, loss)

    def assign_nothing(variable: keras.Variable, value: Any) -> Any:
        # Returns what the variable would be.
        return value if threading.get_ident() == thread else assign(variable, value)

    layers = model._flatten_layers(include_self=True, recursive=True)
    metrics = {id(metric): metric for layer in layers for metric in layer.metrics}
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, keras.Variable, "assign", assign)
        stack.callback(setattr, keras.Layer, "add_loss", add_loss)
        keras.Layer.add_loss, keras.Variable.assign = add_no_loss, assign_nothing
        for metric in metrics.values():
            stack.enter_context(patched_attribute(metric, "update_state", _no_update(metric, thread)))
        yield


def _no_update(metric: keras.Metric, thread: int) -> Any:
    """Return an `update_state` that does nothing in this thread."""
    update = metric.update_state

    def update_state(*args: Any, **kwargs: Any) -> Any:
        return None if threading.get_ident() == thread else update(*args, **kwargs)

    return update_state
