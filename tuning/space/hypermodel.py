"""Add the initializer and the learning rate as hyperparameters to any model, without changing it."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import keras_tuner

from keras_initx import InitxError, all_layers

from .._variables import inner_optimizer
from .initializers import (
    DEFAULT_INITIALIZERS,
    OWN,
    Initializers,
    KernelSpace,
    checked_names,
)
from .ranges import SCHEDULES, Numbers, check_numbers, choose_number

LEARNING_RATE, WEIGHT_DECAY, SCHEDULE = "learning_rate", "weight_decay", "schedule"
DEFAULT_LEARNING_RATES = (1e-3, 3e-3)

Build = Callable[..., keras.Model]


class InitializerHyperModel(keras_tuner.HyperModel):
    """A user's model with the hyperparameters "initializer", "learning_rate" and others added to it.

    Args:
        model: A built and compiled Keras model; a function that returns one, with no argument or with
            `hp`; or a `keras_tuner.HyperModel`. It is never changed: each trial clones a model.
        initializers: The names to choose among, or such names by group or by pattern (see `KernelSpace`).
            Kernels are redrawn from the chosen initializer (`keras_initx.reinitialize`). "own" redraws
            every weight from the model's own initializers; "initialize:auto", for example, calls
            `keras_initx.initialize(model, "auto")`. Ignored if `build(hp)` declares an "initializer".
        learning_rates: The rates to choose among, a `Range` to search between, or None for the model's
            own rate. Ignored if `build(hp)` declares a "learning_rate".
        gains, distributions: As in `KernelSpace`.
        weight_decays: Values or a `Range` for the optimizer's decoupled weight decay; None keeps the
            model's own.
        schedules: The schedules to choose among, which change the rate after each epoch: "constant",
            "linear", "cosine". None leaves the rate alone.

    Raises:
        InitxError: The model is not built or not compiled, an initializer is unknown, or a rate is not
            positive.
    """

    def __init__(
        self,
        model: keras.Model | Build | keras_tuner.HyperModel,
        initializers: Initializers = (*DEFAULT_INITIALIZERS, OWN),
        learning_rates: Numbers | None = DEFAULT_LEARNING_RATES,
        gains: Numbers | None = None,
        distributions: Sequence[str] | None = None,
        weight_decays: Numbers | None = None,
        schedules: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.kernels = KernelSpace(initializers, gains, distributions)
        self.learning_rates = check_numbers(learning_rates)
        self.weight_decays = check_numbers(weight_decays, "weight_decays", allow_zero=True)
        self.schedules = None if schedules is None else checked_names("schedules", schedules, SCHEDULES)
        self._make = _maker(model)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the user's model with the kernels and the training options that `hp` chooses."""
        model = self._make(hp)
        if not isinstance(model, keras.Model):
            problem = f"`model` must be a function that returns a Keras model, but it returned {model!r}"
            raise InitxError("model", model, "a function that returns a Keras model", problem=problem)
        if getattr(model, "optimizer", None) is None:
            problem = f"`model` {model.name!r} is not compiled"
            remedy = "Call model.compile(...) in the function that builds it."
            raise InitxError("model", model.name, "a compiled model", remedy, problem)
        self.kernels.draw(model, hp, self._declared)
        if self.learning_rates is not None and LEARNING_RATE not in self._declared:
            try:
                model.optimizer.learning_rate = choose_number(hp, LEARNING_RATE, self.learning_rates)
            except TypeError as error:
                allowed = "None for an optimizer with a schedule"
                remedy = "Pass learning_rates=None, or compile with a plain learning rate."
                raise InitxError("learning_rates", self.learning_rates, allowed, remedy) from error
        if self.weight_decays is not None and WEIGHT_DECAY not in self._declared:
            inner_optimizer(model.optimizer).weight_decay = choose_number(
                hp, WEIGHT_DECAY, self.weight_decays
            )
        if self.schedules is not None and SCHEDULE not in self._declared:
            if not isinstance(inner_optimizer(model.optimizer).get_config()["learning_rate"], float):
                allowed = "None for an optimizer with a schedule of its own"
                remedy = "Pass schedules=None, or compile with a plain learning rate."
                raise InitxError("schedules", self.schedules, allowed, remedy)
            hp.Choice(SCHEDULE, list(self.schedules))
        return model

    @functools.cached_property
    def _declared(self) -> frozenset[str]:
        """The hyperparameters that the user's model declares itself."""
        hp = keras_tuner.HyperParameters()
        self._make(hp)
        return frozenset(p.name for p in hp.space)


def _maker(model: Any) -> Build:
    """Return a function of `hp` that returns a new compiled model each time."""
    if isinstance(model, keras_tuner.HyperModel):
        return model.build
    if isinstance(model, keras.Model):
        if not model.built or getattr(model, "optimizer", None) is None:
            problem = f"`model` {model.name!r} is not {'compiled' if model.built else 'built'}"
            remedy = "Pass a built and compiled model, or a function that returns one."
            raise InitxError("model", model.name, "a built and compiled model", remedy, problem)
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
    except (NotImplementedError, TypeError, ValueError) as error:
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
    copy = keras.models.clone_model(model)
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
