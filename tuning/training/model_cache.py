"""Reuse one compiled model for all trials that differ only in weights, learning rate or seed.

Compiling under XLA takes seconds for each model; a search of 24 trials over three seeds would compile 72
times. Instead, a compiled model of the same architecture adopts the weights of a freshly built one, and its
optimizer is reset to the first step. It then trains exactly as the fresh model would.
"""

import inspect
import json
import re
import warnings
from typing import Any

import keras
import numpy as np

from keras_initx import all_layers

from .._variables import assign, every_variable, inner_optimizer, optimizer_state, values_of
from ..data import Batch, has_own_step

# On TensorFlow, `train_on_batch` and `fit` each compile a step of their own. Other backends share one step,
# and on JAX a `fit` that fails leaves the model without values.
_BY_FIT = keras.backend.backend() == "tensorflow"


class CompiledModels:
    """The compiled models of one search, by architecture and training settings.

    Args:
        jit_compile: Whether to compile under XLA, whatever a model was compiled with: Keras turns "auto" into
            False on a CPU, and keeps no trace of it. A model that XLA cannot compile is trained without XLA,
            with a warning that states the reason. A model with a training step of its own keeps the setting
            that it was compiled with: only its own code knows what its step needs.
        sample: A small batch on which to find that out, before the first trial is trained.
        capacity: How many models to keep; the least recently used model is dropped first.
        validation: The batch on which models are evaluated, because another batch size would be compiled in
            vain; None takes `sample`.
    """

    def __init__(
        self, jit_compile: bool, sample: Batch, capacity: int = 16, validation: Batch | None = None
    ) -> None:
        self.jit_compile = jit_compile
        self._sample, self._validation = sample, sample if validation is None else validation
        self._capacity = capacity
        self._models: dict[str, tuple[keras.Model, list[np.ndarray], dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._models)

    def adopt(self, fresh: keras.Model, same_model: keras.Model | None = None) -> keras.Model:
        """Return a compiled model that has the weights of `fresh` and trains exactly as `fresh` would.

        Args:
            fresh: A built and compiled model. It is returned itself if its architecture is new or its
                config cannot be read.
            same_model: A model that `adopt` returned for the same settings and seed, and that was not
                trained since. It is returned if the config cannot decide whether two models are the same.
        """
        key = architecture(fresh)
        if key is None and same_model is not None and _shapes(same_model) == _shapes(fresh):
            for variable, value in zip(same_model.variables, fresh.variables, strict=True):
                variable.assign(value)
            return same_model
        if key is None:
            self._prepare(fresh)
            return fresh
        if key not in self._models:
            if len(self._models) >= self._capacity:
                self._models.pop(next(iter(self._models)))
            self._models[key] = (fresh, self._prepare(fresh), {})
            return fresh
        model, initial_state, _ = self._models[key] = self._models.pop(key)
        for variable, value in zip(model.variables, fresh.variables, strict=True):
            variable.assign(value)
        assign(optimizer_state(model.optimizer), initial_state)
        model.optimizer.learning_rate.assign(fresh.optimizer.learning_rate)
        return model

    def scratch_for(self, model: keras.Model) -> dict[str, Any] | None:
        """Return a dictionary for functions compiled for a cached model; it lives as long as the model.

        None for a model that is not cached.
        """
        return next((scratch for kept, _, scratch in self._models.values() if kept is model), None)

    def _prepare(self, model: keras.Model) -> list[np.ndarray]:
        """Decide whether a new model uses XLA; return the state of its optimizer before the first step."""
        if model.optimizer is None or has_own_step(model):
            return []
        model.optimizer.build(model.trainable_variables)
        variables = every_variable(model)
        initial_values = values_of(variables)
        initial_state = values_of(optimizer_state(model.optimizer))
        model.jit_compile = self.jit_compile
        reason = _xla_error(model, self._sample, self._validation) if self.jit_compile else None
        if reason is not None:
            _disable_jit(model)
        if not model.jit_compile:
            # After a failure of XLA: an error that also occurs without XLA is the user's own, and is raised.
            # Without XLA: JAX builds metrics on a batch of the first `fit` and so shuffles the data once more
            # than in later calls. This step builds them before.
            self._sample.train(model, by_fit=_BY_FIT)
        if reason is not None:
            warnings.warn(
                f"XLA cannot compile {model.name!r}, so it is trained without jit_compile, more slowly. "
                f"Reason: {reason}. Pass jit_compile=False to silence this.",
                stacklevel=2,
            )
        model.reset_metrics()
        assign(variables, initial_values)
        return initial_state


def _xla_error(model: keras.Model, sample: Batch, validation: Batch) -> str | None:
    """Return why XLA cannot compile the model, in one line; None if it can."""
    try:
        sample.train(model, by_fit=_BY_FIT)
        validation.test(model, by_fit=_BY_FIT)
    except Exception as error:
        text = " ".join(str(error).split())
        operation = re.search(r"\S+ \(No registered .*?\)|[^:]*not compilable[^:]*", text)
        return (operation.group(0) if operation else text[:300]).strip()
    return None


def _disable_jit(model: keras.Model) -> None:
    model.jit_compile = False
    # Functions that were traced under `jit_compile` keep using it.
    model.train_function = model.test_function = model.predict_function = None


def architecture(model: keras.Model) -> str | None:
    """Return everything that a model's compiled functions depend on, as a string; None if it is unknown.

    It contains whatever a trace freezes: every setting of the optimizer except a plain learning rate, the
    loss and the metrics, dropout rates, trainable flags. It leaves out initializers and layer names.
    """
    if getattr(model, "optimizer", None) is None:
        return None
    optimizer = inner_optimizer(model.optimizer).get_config()
    if not isinstance(optimizer.get("learning_rate"), float):
        # A trace contains the schedule, and silently ignores a later assignment to it.
        return None
    optimizer["learning_rate"] = optimizer["name"] = None
    scaling = {**model.optimizer.get_config(), "inner_optimizer": None}
    try:
        # A class outside of Keras may behave differently with the same config.
        if type(model) not in (keras.Sequential, type(_functional())) or _has_foreign_parts(model):
            return None
        adapted = [layer for layer in all_layers(model) if hasattr(layer, "finalize_state")]
        if not all(isinstance(layer, keras.layers.Normalization) for layer in adapted):
            # Vocabularies and bins are not variables, and not always in the config.
            return None
        parts = {
            "model": _anonymous(model.get_config()),
            "compile": model.get_compile_config(),
            "optimizer": [type(inner_optimizer(model.optimizer)).__name__, optimizer],
            "loss scaling": scaling if inner_optimizer(model.optimizer) is not model.optimizer else None,
            "trainable": [v.trainable for v in model.variables],
            # A trace contains an adapted mean as a constant.
            "adapted": [[v.tolist() for v in values_of(layer.variables)] for layer in adapted],
            "shapes": _shapes(model),
        }
        parts["compile"].pop("optimizer", None)
        text = json.dumps(_without_initializers(parts), sort_keys=True, default=repr)
    except (NotImplementedError, TypeError, ValueError):
        return None
    # An object without a config prints its address, which does not identify it. The config of a function has
    # its name, but not the values in its closure.
    if any(mark in text for mark in (" at 0x", '"class_name": "function"', '"class_name": "__lambda__"')):
        return None
    return text


def _shapes(model: keras.Model) -> list[tuple[Any, str]]:
    return [(tuple(v.shape), str(v.dtype)) for v in model.variables]


def _has_foreign_parts(model: keras.Model) -> bool:
    """Return whether the model or its training uses code from outside of Keras, except in initializers."""
    if isinstance(model.loss, dict) or any(
        getattr(inner_optimizer(model.optimizer), f"_exclude_from_weight_decay{suffix}", None)
        for suffix in ("", "_pattern")
    ):
        # A dictionary of losses refers to layer names, which `architecture` replaces. The config of an
        # optimizer lacks the variables that are excluded from weight decay.
        return True
    layers_and_optimizers = [model.optimizer, inner_optimizer(model.optimizer), *all_layers(model)]
    compiled = [model.loss, model.get_compile_config().get("metrics"), getattr(model, "_metrics", None)]
    for part in (*layers_and_optimizers, *compiled, *model.metrics):
        if _is_foreign(part):
            return True
        for name, value in getattr(part, "__dict__", {}).items():
            if not name.endswith("_initializer") and _is_foreign(value):
                return True
    return False


def _is_foreign(value: Any) -> bool:
    """Return whether a function, or the class of an object, comes from outside of Keras."""
    if isinstance(value, list | tuple):
        return any(_is_foreign(part) for part in value)
    if isinstance(value, type) or not (callable(value) or hasattr(value, "get_config")):
        return False
    module = getattr(value, "__module__", None) if inspect.isfunction(value) else type(value).__module__
    return not str(module).startswith(("keras.", "tensorflow.", "builtins", "jax"))


def _functional() -> keras.Model:
    inputs = keras.Input((1,), name="probe")
    # A layer in between, because before Keras 3.14 an output that is also an input counts as disconnected.
    return keras.Model(inputs, keras.layers.Identity(name="probe_output")(inputs))


def _without_initializers(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _without_initializers(v) for k, v in config.items() if not k.endswith("_initializer")}
    if isinstance(config, list | tuple):
        return [_without_initializers(v) for v in config]
    return config


def _anonymous(config: Any) -> Any:
    """Return a model's config with each layer's name replaced by a number, in the order of appearance.

    Automatic names differ from build to build. Only names of layers are replaced: a layer named "relu" must
    not change an activation of that name.
    """
    numbers: dict[str, int] = {}

    def visit(part: Any) -> Any:
        if isinstance(part, dict):
            # Dtype policies, losses and metrics also have names, but their names matter.
            is_layer = bool(part.keys() & {"trainable", "batch_shape", "layers", "inbound_nodes"})
            if is_layer and isinstance(part.get("name"), str):
                number = numbers.setdefault(part["name"], len(numbers))
                part = {**part, "name": number}
            return {key: visit(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            # A reference to the output of a layer: (layer, node, tensor).
            if len(part) == 3 and isinstance(part[0], str) and part[0] in numbers:
                return [numbers[part[0]], *part[1:]]
            return [visit(value) for value in part]
        return part

    return visit(config)
