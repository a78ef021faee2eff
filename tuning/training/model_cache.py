"""Reuses one compiled model for all trials that differ only in weights, learning rate or seed.

Compiling under XLA costs seconds for each model; a search of 24 trials over three seeds would pay it
72 times. Here a freshly built model lends its weights to a compiled one of the same architecture, whose
optimizer is put back to its first step: the history is that of the fresh model.
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

Batch = tuple[Any, Any]


class CompiledModels:
    """The compiled models of one search, by architecture and training settings.

    Args:
        jit_compile: Whether to compile under XLA. A model that XLA cannot compile is trained without,
            with a warning that says why.
        sample: A small batch (x, y) to find that out on, before the first trial is trained.
        capacity: How many models to keep; the one not used for longest goes first.
        validation: The batch that models are evaluated on: another size would be compiled for nothing.
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

    def ready(self, fresh: keras.Model, twin: keras.Model | None = None) -> keras.Model:
        """A compiled model that trains exactly as `fresh` would, with the weights of `fresh`.

        Args:
            fresh: A built and compiled model. It is returned itself the first time that its
                architecture is seen, and where its config cannot be read.
            twin: A model that was made ready of the same settings and from the same seed, and not trained
                since: it serves where the config does not tell whether two models are the same.
        """
        key = architecture(fresh)
        if key is None and twin is not None and _shapes(twin) == _shapes(fresh):
            for kept, new in zip(twin.variables, fresh.variables, strict=True):
                kept.assign(new)
            return twin
        if key is None:
            self._prepare(fresh)
            return fresh
        if key not in self._models:
            if len(self._models) >= self._capacity:
                self._models.pop(next(iter(self._models)))
            self._models[key] = (fresh, self._prepare(fresh), {})
            return fresh
        model, fresh_state, _ = self._models[key] = self._models.pop(key)
        for kept, new in zip(model.variables, fresh.variables, strict=True):
            kept.assign(new)
        assign(optimizer_state(model.optimizer), fresh_state)
        model.optimizer.learning_rate.assign(fresh.optimizer.learning_rate)
        return model

    def beside(self, model: keras.Model) -> dict[str, Any] | None:
        """A place for what else was compiled for a model that is kept, as long as it is; else None."""
        return next((beside for kept, _, beside in self._models.values() if kept is model), None)

    def _prepare(self, model: keras.Model) -> list[np.ndarray]:
        """Chooses XLA or not for a new model; returns the state of its optimizer before any step."""
        model.optimizer.build(model.trainable_variables)
        variables = every_variable(model)
        before, fresh_state = values_of(variables), values_of(optimizer_state(model.optimizer))
        model.jit_compile = self.jit_compile
        reason = _why_not(model, self._sample, self._validation) if self.jit_compile else None
        if reason is not None:
            _without_jit(model)
        if not model.jit_compile:
            # Where XLA failed: the same error without it is the user's own, and no matter of compilation.
            # Where it was not wanted: JAX builds metrics on a batch of the first `fit`, and so shuffles
            # the data once more than in later ones; here they are built before.
            model.train_on_batch(*self._sample)
        if reason is not None:
            warnings.warn(
                f"XLA cannot compile {model.name!r}, so it is trained without jit_compile, more slowly. "
                f"Reason: {reason}. Pass jit_compile=False (--no-jit-compile) to silence this.",
                stacklevel=2,
            )
        model.reset_metrics()
        assign(variables, before)
        return fresh_state


def _why_not(model: keras.Model, sample: Batch, validation: Batch) -> str | None:
    try:
        model.train_on_batch(*sample)
        model.test_on_batch(*validation)
    except Exception as error:
        text = " ".join(str(error).split())
        operation = re.search(r"\S+ \(No registered .*?\)|[^:]*not compilable[^:]*", text)
        return (operation.group(0) if operation else text[:300]).strip()
    return None


def _without_jit(model: keras.Model) -> None:
    model.jit_compile = False
    # What was traced under jit_compile stays until it is made anew.
    model.train_function = model.test_function = model.predict_function = None


def architecture(model: keras.Model) -> str | None:
    """All of a model that its compiled functions depend on; None where it cannot be known.

    What a trace freezes is part of it: every setting of the optimizer but a plain learning rate, the
    loss and the metrics, dropout rates, trainable flags. Initializers and layer names are left out.
    """
    optimizer = inner_optimizer(model.optimizer).get_config()
    if not isinstance(optimizer.get("learning_rate"), float):
        # A schedule is traced; a later assignment to it is silently ignored.
        return None
    optimizer["learning_rate"] = optimizer["name"] = None
    scaling = {**model.optimizer.get_config(), "inner_optimizer": None}
    try:
        # The config of a class that is not Keras's own need not tell what its code does.
        if type(model) not in (keras.Sequential, type(_functional())) or _has_foreign_parts(model):
            return None
        adapted = [layer for layer in all_layers(model) if hasattr(layer, "finalize_state")]
        if not all(isinstance(layer, keras.layers.Normalization) for layer in adapted):
            # Vocabularies and bins are neither variables nor always in the config.
            return None
        parts = {
            "model": _anonymous(model.get_config()),
            "compile": model.get_compile_config(),
            "optimizer": [type(inner_optimizer(model.optimizer)).__name__, optimizer],
            "loss scaling": scaling if inner_optimizer(model.optimizer) is not model.optimizer else None,
            "trainable": [v.trainable for v in model.variables],
            # A trace takes an adapted mean for a constant.
            "adapted": [[v.tolist() for v in values_of(layer.variables)] for layer in adapted],
            "shapes": _shapes(model),
        }
        parts["compile"].pop("optimizer", None)
        text = json.dumps(_without_initializers(parts), sort_keys=True, default=repr)
    except (NotImplementedError, TypeError, ValueError):
        return None
    # An object without a config prints its address: nothing tells whether it stays the same. Of a function
    # a config tells the name, but not the values that it took from around it.
    if any(mark in text for mark in (" at 0x", '"class_name": "function"', '"class_name": "__lambda__"')):
        return None
    return text


def _shapes(model: keras.Model) -> list[tuple[Any, str]]:
    return [(tuple(v.shape), str(v.dtype)) for v in model.variables]


def _has_foreign_parts(model: keras.Model) -> bool:
    """Whether anything but initializers in the model or its training is not of Keras's own code."""
    if isinstance(model.loss, dict) or any(
        getattr(inner_optimizer(model.optimizer), f"_exclude_from_weight_decay{suffix}", None)
        for suffix in ("", "_pattern")
    ):
        # Neither is in a config that keeps layer names apart, nor in one of the optimizer.
        return True
    parts: list[Any] = [model.optimizer, inner_optimizer(model.optimizer), *all_layers(model)]
    compiled = [model.loss, model.get_compile_config().get("metrics"), getattr(model, "_metrics", None)]
    for part in (*parts, *compiled, *model.metrics):
        if _is_foreign(part):
            return True
        for name, value in getattr(part, "__dict__", {}).items():
            if not name.endswith("_initializer") and _is_foreign(value):
                return True
    return False


def _is_foreign(value: Any) -> bool:
    """Whether a function, or an object of a class, comes from outside of Keras."""
    if isinstance(value, list | tuple):
        return any(_is_foreign(part) for part in value)
    if isinstance(value, type) or not (callable(value) or hasattr(value, "get_config")):
        return False
    home = getattr(value, "__module__", None) if inspect.isfunction(value) else type(value).__module__
    return not str(home).startswith(("keras.", "tensorflow.", "builtins", "jax"))


def _functional() -> keras.Model:
    inputs = keras.Input((1,), name="probe")
    # A layer between them: before Keras 3.14 an output that is an input counts as not connected.
    return keras.Model(inputs, keras.layers.Identity(name="probe_output")(inputs))


def _without_initializers(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _without_initializers(v) for k, v in config.items() if not k.endswith("_initializer")}
    if isinstance(config, list | tuple):
        return [_without_initializers(v) for v in config]
    return config


def _anonymous(config: Any) -> Any:
    """A model's config with every layer's name replaced by its number, in the order of appearance.

    Names count up from build to build. They are replaced only where they are names: a layer called
    "relu" must not hide an activation of that name.
    """
    numbers: dict[str, int] = {}

    def visit(part: Any) -> Any:
        if isinstance(part, dict):
            # Dtype policies, losses and metrics have names too, but those mean something.
            is_layer = bool(part.keys() & {"trainable", "batch_shape", "layers", "inbound_nodes"})
            if is_layer and isinstance(part.get("name"), str):
                number = numbers.setdefault(part["name"], len(numbers))
                part = {**part, "name": number}
            return {key: visit(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            # A reference to a layer's output: (layer, node, tensor).
            if len(part) == 3 and isinstance(part[0], str) and part[0] in numbers:
                return [numbers[part[0]], *part[1:]]
            return [visit(value) for value in part]
        return part

    return visit(config)
