"""Take the one batch that a model is diagnosed on: the user's data, or noise."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import (
    Batch,
    batch_of,
    by_name,
    check_finite,
    fixed_batch,
    inputs_of,
    labelled_batch,
    noise,
    output_losses,
    output_names,
    trace,
)
from keras_initx._weights import Snapshot
from keras_initx.errors import InitxError

# Differences that rounding to half precision explains, in a label and in the sum of a row of labels.
_ROUNDING, _SUM_ROUNDING = 1e-3, 1e-2


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
        check_finite(y, "y")
        check_finite(weights, "x[2]")
        parts = batch_of(x, size, "x"), batch_of(y, size, "y"), *(batch_of(w, size, "x[2]") for w in weights)
        batch = Batch(*parts)
    # Training reads all samples, not only those that are measured.
    check_finite(x, "x")
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


def check_classes(
    model: keras.Model,
    y: Any,
    weights: Any,
    loss: Any,
    results: Any,
    argument: str = "y",
    numbers_only: bool = False,
) -> None:
    """Raise an `InitxError` for labels that a crossentropy does not take.

    Backends crash on them, or return NaN, or losses whose minimum is not a prediction.

    Args:
        model: The model, whose own loss counts if `loss` is None.
        y: The targets.
        weights: The sample weights, or None.
        loss: A loss of (y, outputs), or None.
        results: The outputs of the model for as many samples, or symbolic ones of their shapes.
        argument: The name of the targets in errors.
        numbers_only: Whether to check class numbers alone, not labels that training takes although no output
            reaches them.
    """
    losses, names = output_losses(model, results, loss), output_names(model, results)
    if isinstance(y, dict) and names:
        if set(y) != set(names):
            return
        y = [y[name] for name in names]
    targets, outputs = keras.tree.flatten(y), keras.tree.flatten(results)
    if len(targets) != len(outputs) or len(losses) != len(outputs):
        return
    for target, out, one in zip(targets, outputs, losses, strict=True):
        kind, values = _loss_name(one), np.asarray(ops.convert_to_numpy(target))
        is_last_axis = values.shape == tuple(out.shape) and getattr(one, "axis", -1) in (-1, values.ndim - 1)
        if kind == "sparsecategoricalcrossentropy" and values.size == math.prod(out.shape[:-1]):
            _check_numbers(values.ravel(), out.shape[-1], getattr(one, "ignore_class", None), argument)
        elif numbers_only:
            continue
        elif kind in ("binarycrossentropy", "binaryfocalcrossentropy"):
            _check_binary(_weighted(values, weights), argument)
        elif kind in ("categoricalcrossentropy", "categoricalfocalcrossentropy") and is_last_axis:
            _check_rows(_weighted(values, weights).reshape(-1, out.shape[-1]), argument)


def has_loss(model: keras.Model, loss: Any, word: str) -> bool:
    """Return whether a loss, or the model's own if it is None, has a word like "categorical" in its name."""
    losses = getattr(model, "loss", None) if loss is None else loss
    return any(word in _loss_name(one) for one in keras.tree.flatten(losses))


def _check_numbers(values: np.ndarray, units: int, ignored: int | None, argument: str) -> None:
    """Raise an `InitxError` unless all values are numbers of one of `units` classes."""
    is_whole = values == np.round(values)
    wrong = values[((values < 0) | (values >= units) | ~is_whole) & (values != ignored)]
    if not wrong.size:
        return
    allowed = f"class numbers from 0 to {units - 1} for its {units} outputs"
    if not is_whole.all():
        remedy = (
            "Number the classes from 0: np.unique(labels, return_inverse=True)[1]; or take mse for numbers."
        )
        wrong = values[~is_whole]
    elif wrong.min() < 0:
        remedy = "Number the classes from 0: np.unique(labels, return_inverse=True)[1]."
    elif values.min() == 1 and values.max() == units:
        remedy = "Subtract 1."
    else:
        remedy = f"Give the model {int(values.max()) + 1} outputs, or number the classes from 0."
    raise InitxError(
        argument, wrong[0], allowed, remedy, f"`{argument}` must have {allowed}, got {wrong[0]:g}"
    )


def _check_binary(values: np.ndarray, argument: str) -> None:
    """Raise an `InitxError` unless all values are probabilities."""
    wrong = values[(values < -_ROUNDING) | (values > 1 + _ROUNDING)]
    if not wrong.size:
        return
    allowed = "labels from 0 to 1 for a binary crossentropy"
    found = np.unique(values)
    if np.array_equal(found, [-1, 1]):
        remedy = "Pass (y + 1) / 2, or take the loss hinge."
    elif np.array_equal(found, [1, 2]):
        remedy = "Subtract 1."
    elif found[0] >= 0 and np.array_equal(found, np.round(found)):
        remedy = (
            f"For {int(found[-1]) + 1} classes take {int(found[-1]) + 1} outputs, softmax and "
            f"sparse_categorical_crossentropy; for two classes divide by {found[-1]:g}."
        )
    else:
        remedy = "Scale them to 0 to 1, or take mse for numbers."
    raise InitxError(
        argument, wrong[0], allowed, remedy, f"`{argument}` must have {allowed}, got {wrong[0]:g}"
    )


def _check_rows(rows: np.ndarray, argument: str) -> None:
    """Raise an `InitxError` unless all rows are probabilities of classes, or all are one-hot times a weight.

    Rows of zeros may mark padding. Policy gradients multiply the one-hot row of an action by its advantage.
    """
    allowed = "rows of class probabilities, which sum to 1, for a categorical crossentropy"
    if rows.shape[1] == 1:
        remedy = "Take binary_crossentropy and a sigmoid for one output, or one output for each class."
        if np.any(np.abs(rows - 1) > _ROUNDING):
            raise InitxError(
                argument,
                "a single column",
                allowed,
                remedy,
                f"`{argument}` must have {allowed}, got one column",
            )
        return
    sums = rows.sum(axis=1)
    is_wrong = (np.abs(sums - 1) > _SUM_ROUNDING) & rows.any(axis=1) | (rows < -_ROUNDING).any(axis=1)
    if not is_wrong.any() or are_weighted_one_hot(rows):
        return
    if np.isin(rows, (0, 1)).all():
        remedy = "If a sample may have several classes, take binary_crossentropy and sigmoids."
    else:
        remedy = "Divide each row by its sum, or take mse for numbers."
    row = rows[np.argmax(is_wrong)]
    received = f"a row with {row.min():g}" if row.min() < -_ROUNDING else f"a row that sums to {row.sum():g}"
    raise InitxError(argument, received, allowed, remedy, f"`{argument}` must have {allowed}, got {received}")


def are_weighted_one_hot(values: np.ndarray) -> bool:
    """Return whether each row over the last of several entries has at most one that is not 0."""
    return values.shape[-1] > 1 and bool(np.all(np.count_nonzero(values, axis=-1) <= 1))


def _weighted(values: np.ndarray, weights: Any) -> np.ndarray:
    """Return the targets whose sample weight is not 0; none if it is not known which these are."""
    values = values.astype("float64")
    if weights is None:
        return values
    if not ops.is_tensor(weights):
        return values[:0]
    counted = np.asarray(ops.convert_to_numpy(weights)) != 0
    return values[counted] if counted.shape == values.shape[: counted.ndim] else values[:0]


def _loss_name(loss: Any) -> str:
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    return str(getattr(loss, "__name__", type(loss).__name__)).replace("_", "").lower()


def _length(values: Any) -> int | None:
    shape = getattr(values, "shape", None)
    return int(shape[0]) if shape else None


def is_constant(values: Any) -> bool:
    """Return whether an input is the same for all samples."""
    array = np.asarray(ops.convert_to_numpy(values))
    return np.array_equal(np.broadcast_to(array[:1], array.shape), array)
