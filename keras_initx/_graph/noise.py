"""What a model is calibrated on: a batch of the user's data, or noise of the kind that each input takes."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph.records import Graph, Step
from keras_initx.errors import InitxError

# Operations through which whole numbers go on as they are.
_PASSING = frozenset(
    ["Cast", "ConvertToTensor", "Reshape", "ExpandDims", "Squeeze", "Copy", "Flatten", "GetItem", "Transpose"]
)
# Reads whole numbers as yes and no, or as weights of 0 and 1.
_MASKING = frozenset(
    [
        "Equal",
        "NotEqual",
        "Greater",
        "GreaterEqual",
        "Less",
        "LessEqual",
        "LogicalAnd",
        "LogicalOr",
        "LogicalNot",
        "Where",
        "Multiply",
        "Masking",
        "Softmax",
        "DotProductAttention",
        "Subtract",
    ]
)


def noise(graph: Graph, batch: int, seed: int) -> Any:
    """A batch of noise in the structure of the model's inputs.

    Floating-point inputs are standard normal, so that a `Rescaling` or `Normalization` at the start gives
    that; whole numbers that are looked up are within their table, bytes are those of images, and what masks
    is ones.

    Args:
        graph: The traced model.
        batch: The number of samples.
        seed: Makes it repeatable.

    Raises:
        InitxError: An input of strings, or of whole numbers of which the graph does not tell the range.
    """
    rng = np.random.default_rng(seed)
    flat = keras.tree.flatten(graph.symbolic)
    made = [
        _one(graph, number, tensor, batch, rng) for number, tensor in zip(graph.inputs, flat, strict=True)
    ]
    return keras.tree.pack_sequence_as(graph.symbolic, made)


def _one(graph: Graph, number: int, tensor: Any, batch: int, rng: np.random.Generator) -> Any:
    shape = (batch, *tensor.shape[1:]) if tensor.shape else ()
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    readers = list(_readers(graph, number))
    rows = min((r for step in readers if (r := _rows(step)) is not None), default=None)
    if rows is not None:
        return ops.convert_to_tensor(rng.integers(0, rows, size=shape), dtype=dtype)
    if "float" in dtype:
        values = rng.standard_normal(shape, dtype="float32")
        for step in readers:
            values = _before(step.operation, values)
        return ops.convert_to_tensor(values, dtype=dtype)
    if dtype == "uint8":
        # The pixels of an image, whatever reads them.
        return ops.convert_to_tensor(rng.integers(0, 256, size=shape), dtype=dtype)
    if dtype == "bool" or (dtype != "string" and readers and all(s.kind in _MASKING for s in readers)):
        return ops.ones(shape, dtype=dtype)
    received = f"an input of {dtype} that nothing tells the values of"
    raise InitxError(
        f"model input {tensor.name!r}", received, "floats, or ids of an Embedding", "Pass data=."
    )


def _readers(graph: Graph, number: int) -> Iterator[Step]:
    """The steps that read an input's own values."""
    tensors, seen = [number], {number}
    while tensors:
        for step in graph.consumers(tensors.pop()):
            if step.kind in _PASSING:
                new = [t for t in step.outputs if t not in seen]
                seen.update(new)
                tensors += new
            else:
                yield step


def _rows(step: Step) -> int | None:
    """How many rows the table has that a step looks up; None for a step that does not."""
    layer = step.operation
    if isinstance(layer, keras.layers.Embedding):
        return int(layer.input_dim)
    if isinstance(layer, keras.layers.CategoryEncoding):
        return int(layer.num_tokens)
    if step.kind == "OneHot":
        return int(layer.num_classes)
    if step.kind == "Take":
        table = keras.tree.flatten(step.call.args)[0]
        shape = tuple(table.shape)
        axis = getattr(layer, "axis", None) or 0
        return int(shape[axis]) if shape and not isinstance(table, keras.KerasTensor) else None
    return None


def _before(layer: Any, values: np.ndarray) -> np.ndarray:
    """What a layer of preprocessing has to be given to return `values`."""
    if isinstance(layer, keras.layers.Rescaling):
        return (values - np.asarray(layer.offset, "float32")) / np.asarray(layer.scale, "float32")
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        mean, variance = (
            np.asarray(ops.convert_to_numpy(v), "float32") for v in (layer.mean, layer.variance)
        )
        return values * np.sqrt(variance) + mean
    return values
