"""`build_probe`: trace a model, choose what to measure, and build the pass."""

from typing import Any

import keras

from keras_initx._graph import Graph, trace
from keras_initx._weights import Snapshot
from keras_initx.diagnostics.batch import is_constant
from keras_initx.diagnostics.probe.attention import attention_steps
from keras_initx.diagnostics.probe.model import Probe
from keras_initx.diagnostics.probe.points import probe_points
from keras_initx.errors import InitxError


def build_probe(
    model: keras.Model, inputs: Any, loss: Any, details: bool = False, keep_gradients: bool = False
) -> Probe:
    """Return the probe of a model for batches of the same shapes as `inputs`.

    Args:
        model: A built model.
        inputs: One batch of its inputs.
        loss: A loss of (y, outputs); None is the model's own.
        details: Whether to measure histograms, and the extremes of each unit, too.
        keep_gradients: Whether to keep the gradients of the weights.

    Raises:
        InitxError: If the model cannot be called on the inputs, has no weighted layer or returns no floats.
    """
    try:
        with Snapshot(model.non_trainable_variables) as before:
            graph = trace(model, inputs)
            before.restore()
    except InitxError as error:
        raise _in_own_words(error) from error
    points = probe_points(graph, _varying(graph, inputs))
    if not points:
        problem = f"`model` {model.name!r} has no layer with a kernel, so there is nothing to measure"
        raise InitxError("model", model.name, "a model with kernels", "", problem)
    types = [keras.backend.standardize_dtype(t.dtype) for t in keras.tree.flatten(graph.results)]
    if not any("float" in name for name in types):
        outputs = f"outputs of type {', '.join(types)}"
        remedy = "Diagnose the model before its argmax: keras.Model(model.inputs, logits)."
        problem = (
            f"`model` must return floats, through which gradients flow, but {model.name!r} has {outputs}"
        )
        raise InitxError(
            "model", f"{model.name} with {outputs}", "a model that returns floats", remedy, problem
        )
    return Probe(model, graph, points, attention_steps(graph), loss, details, keep_gradients)


def _in_own_words(error: InitxError) -> InitxError:
    """Return an error of the tracer with `x` in place of `data`."""
    argument = "x" if error.argument == "data" else error.argument
    remedy, problem = (
        text.replace("data=", "x=").replace("`data`", "`x`") for text in (error.remedy, error.problem)
    )
    return InitxError(argument, error.received, error.allowed, remedy, problem)


def _varying(graph: Graph, inputs: Any) -> set[int]:
    """Return the inputs that differ between samples; all of them, if none does."""
    pairs = zip(graph.inputs, keras.tree.flatten(inputs), strict=True)
    return {number for number, values in pairs if not is_constant(values)} or set(graph.inputs)
