"""Make the user's model: call its function or clone it, and build it on a batch."""

import inspect
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner

from keras_initx import InitxError, all_layers
from keras_initx.errors import error_line

Build = Callable[..., keras.Model]


def build_on(model: keras.Model, inputs: Any) -> None:
    """Build a model by calling it on a batch of inputs, unless it is built.

    A model without a `call`, such as a GAN that only has a training step, stays as it is if its parts have
    weights.

    Raises:
        InitxError: The model cannot be called on the inputs.
    """
    if model.built and all(layer.built for layer in all_layers(model)):
        return
    try:
        model(inputs)
    except NotImplementedError:
        if model.variables:
            return
        problem = f"`model` {model.name!r} has neither weights nor a `call` that would build them"
        remedy = "Build its layers in the function that returns it."
        raise InitxError("model", model.name, "a model with weights", remedy, problem) from None
    except Exception as error:
        problem = f"`model` {model.name!r} cannot be built on the data"
        remedy = f"Keras: {error_line(error)}."
        raise InitxError("model", model.name, "a model of the data", remedy, problem) from error


def maker(model: Any) -> Build:
    """Return a function of `hp` that returns a new compiled model on each call."""
    if isinstance(model, keras_tuner.HyperModel):
        return model.build
    if isinstance(model, keras.Model):
        if getattr(model, "optimizer", None) is None:
            problem = f"`model` {model.name!r} is not compiled"
            remedy = "Pass a compiled model, or a function that returns one."
            raise InitxError("model", model.name, "a compiled model", remedy, problem)
        return lambda hp: _copy(model)
    if not callable(model):
        raise InitxError("model", model, "a Keras model, a function that returns one, or a HyperModel")
    return model if _takes_hp(model) else lambda hp: model()


def _takes_hp(build: Build) -> bool:
    """Return whether a function takes `hp`: a positional argument without a default, or one of that name."""
    parameters = inspect.signature(build).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.name == "hp" or (p.kind in positional and p.default is p.empty) for p in parameters)


def _copy(model: keras.Model) -> keras.Model:
    try:
        return _clone(model)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        # Only the start of Keras's message: the rest is the layer's whole config.
        reason = str(error).strip().split("\n")[0].split(" using config=")[0][:200]
        problem = f"`model` {model.name!r} cannot be cloned and compiled by Keras"
        remedy = (
            "Pass a function that builds and compiles it, or register your own functions and classes with "
            f"keras.saving.register_keras_serializable. Keras: {reason}"
        )
        allowed = "a model that Keras can clone and compile"
        raise InitxError("model", model.name, allowed, remedy, problem) from error


def _clone(model: keras.Model) -> keras.Model:
    learned = any(hasattr(layer, "save_assets") for layer in all_layers(model))
    copy = (
        keras.models.clone_model(model, clone_function=_with_assets, recursive=True)
        if learned
        else keras.models.clone_model(model)
    )
    if model.built:
        if not copy.built:
            copy.build(model.input_shape)
        copy.set_weights(model.get_weights())
    for layer in all_layers(copy):
        # An adapted layer computes with constants that it derives from its weights.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    # Keras clones the layers' dtype policies, but not the model's own, which decides on loss scaling.
    copy.dtype_policy = model.dtype_policy
    copy.compile_from_config(model.get_compile_config())
    return copy


def _with_assets(layer: keras.Layer) -> keras.Layer:
    """Return a copy of a layer; a vocabulary that it has learned is neither a weight nor in its config."""
    copy = layer.__class__.from_config(layer.get_config())
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            copy.load_assets(folder)
    return copy
