"""Draw a batch of noise of the kind that each input of a model takes: floats, ids, pixels or a mask."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph.inputs.kinds import is_mask, readers, table_rows
from keras_initx._graph.records import Graph
from keras_initx.errors import InitxError


def noise(graph: Graph, batch: int, seed: int) -> Any:
    """Return a batch of noise in the structure of the model's inputs.

    Floating-point inputs are standard normal; if a `Rescaling` or `Normalization` reads them, its result is.
    Integers that are looked up are row numbers of their look-up table, uint8 inputs are the pixels of images,
    and masks are ones.

    Args:
        graph: The traced model.
        batch: The number of samples.
        seed: An integer that makes the noise repeatable.

    Raises:
        InitxError: An input takes strings, or integers whose range the graph does not show.
    """
    rng = np.random.default_rng(seed)
    flat = keras.tree.flatten(graph.symbolic)
    values, refused = [], []
    for number, tensor in zip(graph.inputs, flat, strict=True):
        value = _one_input(graph, number, tensor, batch, rng)
        values.append(value)
        if value is None:
            refused.append(tensor)
    if refused:
        raise _refusal(refused)
    return keras.tree.pack_sequence_as(graph.symbolic, values)


def _one_input(graph: Graph, number: int, tensor: Any, batch: int, rng: np.random.Generator) -> Any:
    """Return noise for one input; None if none is known."""
    shape = (batch, *tensor.shape[1:]) if tensor.shape else ()
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    rows = table_rows(graph, number)
    if rows is not None:
        return ops.convert_to_tensor(rng.integers(0, rows, size=shape), dtype=dtype)
    if "float" in dtype:
        values = rng.standard_normal(shape, dtype="float32")
        for step, _ in readers(graph, number):
            values = _undone(step.operation, values)
        return ops.convert_to_tensor(values, dtype=dtype)
    if dtype == "uint8":
        # The pixels of an image, regardless of the steps that read them.
        return ops.convert_to_tensor(rng.integers(0, 256, size=shape), dtype=dtype)
    if dtype == "bool" or (dtype != "string" and is_mask(graph, number)):
        return ops.ones(shape, dtype=dtype)
    return None


def _refusal(tensors: list[Any]) -> InitxError:
    """Return the error for inputs that noise cannot replace."""
    names = ", ".join(repr(tensor.name) for tensor in tensors)
    dtypes = dict.fromkeys(keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors)
    kinds = ["strings"] if dtypes.pop("string", "") is None else []
    kinds += [f"{' and '.join(dtypes)} values of unknown range"] if dtypes else []
    received = " and ".join(kinds)
    subject, takes = ("input", "takes") if len(tensors) == 1 else ("inputs", "take")
    return InitxError(
        f"model {subject} {names}",
        received,
        "floats, or ids of an Embedding",
        "Pass data=.",
        f"Model {subject} {names} {takes} {received}, so noise cannot replace data",
    )


def _undone(layer: Any, values: np.ndarray) -> np.ndarray:
    """Return the input for which a preprocessing layer returns `values`."""
    if isinstance(layer, keras.layers.Rescaling):
        return (values - np.asarray(layer.offset, "float32")) / np.asarray(layer.scale, "float32")
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        mean, variance = (
            np.asarray(ops.convert_to_numpy(v), "float32") for v in (layer.mean, layer.variance)
        )
        return values * np.sqrt(variance) + mean
    return values
