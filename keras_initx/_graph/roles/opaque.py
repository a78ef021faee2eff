"""Find the kernels at the end of a layer that the trace could not open."""

import contextlib
from typing import Any

import keras

from keras_initx._graph.call_recorder import intercepted
from keras_initx._graph.hooks import own_weights
from keras_initx._graph.records import Step


def end_kernels(step: Step) -> tuple[keras.Variable, ...]:
    """Return the kernels whose product is the result of a step.

    For a layer that the trace could not open, these are the kernels of the last layer that it calls. The
    backend traces the layer to show the order of the calls. All kernels are returned if that fails, or if
    the layer has only kernels of its own.
    """
    if not step.opaque or len(step.kernels) < 2:
        return step.kernels
    for layer in reversed(_called_layers(step)):
        last = {id(v) for v in own_weights(layer)}
        if kernels := tuple(v for v in step.kernels if id(v) in last):
            return kernels
    return step.kernels


def _called_layers(step: Step) -> list[keras.Layer]:
    """Return the layers that a layer calls, in order; [] if the backend cannot trace it."""
    called: list[keras.Layer] = []

    def on_layer(layer: keras.Layer, args: Any, kwargs: Any) -> Any:
        called.append(layer)
        return NotImplemented

    with intercepted(on_layer), contextlib.suppress(Exception):
        keras.Operation.compute_output_spec(step.operation, *step.call.args, **step.call.kwargs)
        return called
    return []
