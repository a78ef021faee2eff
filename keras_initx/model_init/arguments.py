"""Check the arguments of `initialize`."""

from pathlib import Path
from typing import Any

import keras

from keras_initx._graph import batch_of, by_name, fixed_batch, inputs_of
from keras_initx._weights import all_layers
from keras_initx.errors import InitxError, unknown_name
from keras_initx.model_init.methods import METHODS

_DATA = 64


def check_arguments(
    model: Any, method: Any, data: Any, output_bias: Any, labels: Any, class_counts: Any
) -> None:
    if not isinstance(model, keras.Model):
        remedy = "keras.saving.load_model reads a file." if isinstance(model, str | Path) else ""
        raise InitxError("model", model, "a keras.Model", remedy)
    if not isinstance(method, str):
        remedy = "A batch of data goes to data=."
        raise InitxError("method", type(method).__name__, f"a name: {', '.join(METHODS)}", remedy)
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if not model.built:
        raise InitxError("model", model.name, "a built model", "Call it on a batch of data.")
    if not model.weights:
        remedy = "Call it on a batch of data, so that its layers are built."
        raise InitxError("model", model.name, "a model with weights", remedy)
    for layer in all_layers(model):
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            remedy = "Initialize the model first, then enable LoRA or quantize it."
            allowed = "a layer whose kernel is a variable of a floating-point type"
            raise InitxError(layer.path or layer.name, "LoRA or quantization", allowed, remedy)
    if method == "lsuv" and data is None:
        raise InitxError("data", None, "a batch of data: LSUV scales on it", "Or use method='auto'.")
    if output_bias not in (None, "prior"):
        raise InitxError("output_bias", output_bias, "None or 'prior'")
    if labels is not None and class_counts is not None:
        raise InitxError("labels", "labels and class_counts", "one of the two")
    given = labels is not None or class_counts is not None
    if output_bias == "prior" and not given:
        raise InitxError("labels", None, "with output_bias='prior': labels=, or class_counts=")
    if given and output_bias is None:
        raise InitxError("output_bias", None, "'prior', where labels or class_counts are given")


def data_batch(model: keras.Model, data: Any) -> Any:
    """The first samples of `data`: as many as the model takes where it takes one number only."""
    fixed = fixed_batch(model)
    batch = by_name(model, batch_of(inputs_of(model, data), fixed or _DATA))
    given = len(keras.tree.flatten(batch)[0])
    if fixed and given < fixed:
        raise InitxError(
            "data", f"{given} samples", f"{fixed} or more: the model takes batches of {fixed} only"
        )
    return batch
