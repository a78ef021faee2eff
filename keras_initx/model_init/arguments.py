"""Check the arguments of `initialize`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx._display import listed
from keras_initx._graph import batch_of, by_name, fixed_batch, inputs_of
from keras_initx._weights import PathFilter, WeightIndex, adapted, all_layers, mean_square
from keras_initx.errors import InitxError, check_built, unknown_name
from keras_initx.model_init.methods import METHODS

# Samples of `data` that the scaling pass runs on.
_DATA_SAMPLES = 64


def check_arguments(
    model: Any,
    method: Any,
    data: Any,
    output_bias: Any,
    labels: Any,
    class_counts: Any,
    path_filter: PathFilter,
) -> None:
    """Raise an `InitxError` for the first argument that cannot be used."""
    if not isinstance(model, keras.Model):
        remedy = "Load a file with keras.saving.load_model." if isinstance(model, str | Path) else ""
        raise InitxError("model", model, "a keras.Model", remedy)
    _check_method(method)
    _check_layers(model, path_filter)
    if method == "lsuv" and data is None:
        problem = "`method='lsuv'` needs a batch of data"
        raise InitxError("data", None, "a batch of data", "Pass data=, or use method='auto'.", problem)
    _check_output_bias(output_bias, labels, class_counts)


def _check_method(method: Any) -> None:
    if not isinstance(method, str):
        raise InitxError(
            "method",
            type(method).__name__,
            f"one of {', '.join(METHODS)}",
            f"Pass a batch of data as data=. Methods: {', '.join(METHODS)}.",
            f"`method` must be the name of a method, got an object of type {type(method).__name__}",
        )
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)


def _check_layers(model: keras.Model, path_filter: PathFilter) -> None:
    check_built(model)
    if not model.weights:
        raise InitxError(
            "model",
            model.name,
            "a model with weights",
            "If its layers are not built yet, call it once on a batch: model(x).",
            f"`model` {model.name!r} has no weights",
        )
    if not path_filter.is_only:
        return
    index = WeightIndex(all_layers(model))
    for variable in index.variables():
        if index.is_adapted(variable) and path_filter.matches(index.names(variable)):
            raise adapted(index.of(variable)[0])


def _check_output_bias(output_bias: Any, labels: Any, class_counts: Any) -> None:
    if output_bias not in (None, "prior"):
        raise InitxError("output_bias", output_bias, "None or 'prior'")
    if labels is not None and class_counts is not None:
        problem = "`labels` and `class_counts` are both given"
        raise InitxError("labels", "labels and class_counts", "None", "Pass only one of them.", problem)
    if output_bias == "prior" and labels is None and class_counts is None:
        problem = "`output_bias='prior'` needs the classes of the data"
        raise InitxError("labels", None, "the training labels", "Pass labels= or class_counts=.", problem)
    if output_bias is None and not (labels is None and class_counts is None):
        argument = "labels" if class_counts is None else "class_counts"
        problem = f"`{argument}` is given, but `output_bias` is None"
        raise InitxError("output_bias", None, "'prior'", "Pass output_bias='prior' to use it.", problem)


def data_batch(model: keras.Model, data: Any) -> Any:
    """Return the first samples of `data` in the structure of the model's inputs.

    There are up to 64 samples, or one batch if the model is fixed to larger ones.
    """
    fixed = fixed_batch(model)
    batch = by_name(model, batch_of(inputs_of(model, data), max(fixed or 0, _DATA_SAMPLES)))
    samples = len(keras.tree.flatten(batch)[0])
    if fixed and samples < fixed:
        raise InitxError(
            "data",
            f"{samples} samples",
            f"{fixed} or more samples",
            f"Pass at least {fixed} samples.",
            f"`data` has {samples} samples, but the model takes batches of exactly {fixed}",
        )
    return batch


def own_batch(model: keras.Model, batch: Any) -> Any:
    """Return the first samples of a batch if the model is fixed to fewer, or else the batch."""
    fixed = fixed_batch(model)
    if fixed is None or batch is None:
        return batch
    return keras.tree.map_structure(lambda tensor: tensor[:fixed], batch)


def check_undrawn(model: keras.Model, drawn: Iterable[keras.Variable]) -> None:
    """Raise an `InitxError` if weights or moving statistics that are not drawn are not finite.

    Other states, such as a buffer that waits for its first value, may hold NaN on purpose.
    """
    ids = {id(variable) for variable in drawn}
    read = [v for v in model.variables if v.trainable or v.name.startswith("moving_")]
    if broken := [v.path for v in read if id(v) not in ids and not np.isfinite(mean_square(v))]:
        names = listed([f"`{path}`" for path in broken])
        verb = "has" if len(broken) == 1 else "have"
        raise InitxError(
            "model",
            model.name,
            "a model with finite weights where none are drawn",
            "Draw all weights again first: keras_initx.reinitialize(model).",
            f"{names} {verb} NaN or infinite entries, which no draw replaces",
        )
