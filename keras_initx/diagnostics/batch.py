"""What a model is diagnosed on: one batch of the user's data, or noise."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch, batch_of, by_name, fixed_batch, inputs_of, labelled_batch, noise, trace
from keras_initx._weights import Snapshot
from keras_initx.errors import InitxError


def batch_for(model: keras.Model, x: Any, y: Any, loss: Any, samples: int) -> Batch:
    """Up to `samples` samples, with their targets and weights where there are some.

    Raises:
        InitxError: As `diagnose` does for its data.
    """
    batch = _noise(model, samples, y) if x is None else _batch(model, x, y, samples)
    if isinstance(loss, str):
        try:
            keras.losses.get(loss)
        except ValueError as error:
            raise InitxError("loss", loss, "a loss that Keras knows by this name") from error
    if batch.y is None and loss is not None:
        raise InitxError("loss", loss, "a loss together with y", "Pass y=, or a dataset of (x, y).")
    if batch.y is not None and loss is None and not getattr(model, "compiled", False):
        remedy = "Pass loss=, compile the model, or leave y out."
        raise InitxError("loss", None, "a loss, since y is given and the model is not compiled", remedy)
    return batch


def _noise(model: keras.Model, samples: int, y: Any) -> Batch:
    if y is not None:
        raise InitxError("x", None, "the samples that y belongs to")
    with Snapshot(model.non_trainable_variables) as before:
        graph = trace(model)
        before.restore()
    inputs = noise(graph, fixed_batch(model) or samples, seed=0)
    if all(are_same(values) for values in keras.tree.flatten(inputs)):
        allowed = "data: what noise there is for inputs of yes and no is the same for all samples"
        raise InitxError("x", None, allowed)
    return Batch(inputs)


def _batch(model: keras.Model, x: Any, y: Any, samples: int) -> Batch:
    size = fixed_batch(model) or samples
    is_labelled = isinstance(x, tuple) and inputs_of(model, x) is not x
    if y is None and not is_labelled:
        batch = labelled_batch(by_name(model, x, "x"), size)
        # Batches may be dictionaries, too.
        batch = batch._replace(x=by_name(model, batch.x, "x"))
    else:
        x, y, *weights = (x, y) if y is not None else x
        x, weights = by_name(model, x, "x"), [w for w in weights if w is not None]
        _check_labelled(x, y, weights)
        parts = batch_of(x, size, "x"), batch_of(y, size, "y"), *(batch_of(w, size, "x[2]") for w in weights)
        batch = Batch(*parts)
    count = len(keras.tree.flatten(batch.x)[0])
    if count < 2:
        raise InitxError("x", f"{count} sample", "two or more: samples are compared")
    return batch


def _check_labelled(x: Any, y: Any, weights: list[Any]) -> None:
    """Raises an `InitxError` for targets or weights that are not one for each sample."""
    if hasattr(x, "__iter__") and not isinstance(x, list | tuple | dict) and not hasattr(x, "shape"):
        allowed = "None, where x gives batches: their own targets are taken"
        raise InitxError("y", f"targets beside {type(x).__name__}", allowed)
    counts = [_count(v) for v in keras.tree.flatten(x)]
    for name, part in (("targets", y), ("weights", weights)):
        for given in map(_count, keras.tree.flatten(part)):
            if given is not None and counts[0] is not None and given != counts[0]:
                raise InitxError("y", f"{given} {name}", f"as many as there are samples: {counts[0]}")
    if any(v.dtype.kind in "USO" for v in keras.tree.flatten(y) if isinstance(v, np.ndarray)):
        remedy = "np.unique(labels, return_inverse=True)[1] makes numbers of names."
        raise InitxError("y", "strings", "numbers: classes are counted from 0", remedy)


def _count(values: Any) -> int | None:
    shape = getattr(values, "shape", None)
    return int(shape[0]) if shape else None


def are_same(values: Any) -> bool:
    """Whether an input is the same for all samples."""
    found = np.asarray(ops.convert_to_numpy(values))
    return np.array_equal(np.broadcast_to(found[:1], found.shape), found)
