"""Take the one batch that a model is diagnosed on: the user's data, or noise."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch, batch_of, by_name, fixed_batch, inputs_of, labelled_batch, noise, trace
from keras_initx._weights import Snapshot
from keras_initx.errors import InitxError


def batch_for(model: keras.Model, x: Any, y: Any, loss: Any, samples: int) -> Batch:
    """Return at most `samples` samples, with their targets and sample weights if the data have them.

    A model that is fixed to one sample, as with stateful cells, gets one.

    Raises:
        InitxError: For the reasons that `diagnose` lists for its data.
    """
    batch = _noise(model, samples, y) if x is None else _batch(model, x, y, samples)
    if isinstance(loss, str):
        try:
            keras.losses.get(loss)
        except ValueError as error:
            allowed = "the name of a loss that Keras knows"
            raise InitxError("loss", loss, allowed, 'Examples: "mse", "categorical_crossentropy".') from error
    if batch.y is None and loss is not None:
        problem = f"`loss={loss!r}` needs targets"
        raise InitxError("loss", loss, "None without targets", "Pass y=, or a dataset of (x, y).", problem)
    if batch.y is not None and loss is None and not getattr(model, "compiled", False):
        remedy = "Pass loss=, compile the model, or leave y out."
        problem = (
            f"`y` is given, but there is no loss: `loss` is None and model {model.name!r} is not compiled"
        )
        raise InitxError("loss", None, "a loss if y is given", remedy, problem)
    return batch


def _noise(model: keras.Model, samples: int, y: Any) -> Batch:
    if y is not None:
        raise InitxError("x", None, "the samples that `y` belongs to", "Pass both, or neither.")
    with Snapshot(model.non_trainable_variables) as before:
        graph = trace(model)
        before.restore()
    size = fixed_batch(model) or samples
    inputs = noise(graph, size, seed=0)
    if size > 1 and all(is_constant(values) for values in keras.tree.flatten(inputs)):
        problem = f"`x` is needed: noise for the boolean inputs of {model.name!r} is the same for all samples"
        raise InitxError("x", None, "data if all inputs are boolean", "Pass data: x=.", problem)
    return Batch(inputs)


def _batch(model: keras.Model, x: Any, y: Any, samples: int) -> Batch:
    size = fixed_batch(model) or samples
    is_labelled = isinstance(x, tuple) and inputs_of(model, x) is not x
    if y is None and not is_labelled:
        batch = labelled_batch(by_name(model, x, "x"), size)
        # The batches of a dataset may be dictionaries too.
        batch = batch._replace(x=by_name(model, batch.x, "x"))
    else:
        x, y, *weights = (x, y) if y is not None else x
        x, weights = by_name(model, x, "x"), [w for w in weights if w is not None]
        _check_labelled(x, y, weights)
        parts = batch_of(x, size, "x"), batch_of(y, size, "y"), *(batch_of(w, size, "x[2]") for w in weights)
        batch = Batch(*parts)
    count = len(keras.tree.flatten(batch.x)[0])
    if count < 2 and size > 1:
        problem = f"`x` must have at least 2 samples to compare, got {count}"
        raise InitxError("x", f"{count} sample", "at least 2 samples", "Pass a larger batch.", problem)
    return batch


def _check_labelled(x: Any, y: Any, weights: list[Any]) -> None:
    """Raise an `InitxError` unless there is one target and one weight for each sample."""
    if hasattr(x, "__iter__") and not isinstance(x, list | tuple | dict) and not hasattr(x, "shape"):
        kind = type(x).__name__
        problem = f"`y` must be None if `x` yields batches, got targets in addition to a {kind}"
        remedy = "Let x yield batches of (x, y)."
        raise InitxError(
            "y", f"targets in addition to a {kind}", "None if `x` yields batches", remedy, problem
        )
    count = _length(keras.tree.flatten(x)[0])
    for name, part in (("targets", y), ("weights", weights)):
        for length in map(_length, keras.tree.flatten(part)):
            if length is not None and count is not None and length != count:
                problem = f"`x` has {count} samples, but there are {length} {name}"
                remedy = "Pass one for each sample."
                raise InitxError("y", f"{length} {name}", f"{count} {name}", remedy, problem)
    if any(v.dtype.kind in "USO" for v in keras.tree.flatten(y) if isinstance(v, np.ndarray)):
        remedy = "Number the classes from 0: np.unique(labels, return_inverse=True)[1]."
        raise InitxError("y", "strings", "numbers", remedy, "`y` must be numbers, got strings")


def check_classes(model: keras.Model, batch: Batch, loss: Any, results: Any) -> None:
    """Raise an `InitxError` for class numbers that no output stands for: backends crash or return NaN.

    Args:
        model: The model, whose own loss counts if `loss` is None.
        batch: The batch, with targets.
        loss: A loss of (y, outputs), or None.
        results: The outputs of the traced model.
    """
    losses = keras.tree.flatten(getattr(model, "loss", None) if loss is None else loss)
    targets, outputs = keras.tree.flatten(batch.y), keras.tree.flatten(results)
    if len(targets) != len(outputs) or len(losses) not in (1, len(targets)):
        return
    for y, out, one in zip(targets, outputs, losses * (len(targets) // len(losses)), strict=True):
        if not _is_sparse(one) or math.prod(y.shape) != math.prod(out.shape[:-1]):
            continue
        values = np.asarray(ops.convert_to_numpy(y)).ravel()
        units, ignored = out.shape[-1], getattr(one, "ignore_class", None)
        wrong = values[((values < 0) | (values >= units)) & (values != ignored)]
        if wrong.size:
            allowed = f"class numbers from 0 to {units - 1} for its {units} outputs"
            is_shifted = values.min() == 1 and values.max() == units
            remedy = (
                "Subtract 1."
                if is_shifted
                else f"Give the model {int(values.max()) + 1} outputs, or number the classes from 0."
            )
            if wrong.min() < 0 or not np.array_equal(values, np.round(values)):
                remedy = "Number the classes from 0: np.unique(labels, return_inverse=True)[1]."
            raise InitxError("y", wrong[0], allowed, remedy, f"`y` must have {allowed}, got {wrong[0]:g}")


def _is_sparse(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.replace("_", "").lower() == "sparsecategoricalcrossentropy"


def _length(values: Any) -> int | None:
    shape = getattr(values, "shape", None)
    return int(shape[0]) if shape else None


def is_constant(values: Any) -> bool:
    """Return whether an input is the same for all samples."""
    array = np.asarray(ops.convert_to_numpy(values))
    return np.array_equal(np.broadcast_to(array[:1], array.shape), array)
