"""Makes the initializer and the learning rate hyperparameters of any model, which stays unchanged."""

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
    """Adds the hyperparameters "initializer" and "learning_rate", and others, to a user's model.

    Args:
        model: A built and compiled Keras model; a function that returns one, of no argument or of
            `hp`; or a `keras_tuner.HyperModel`. It is never changed: a model is cloned for each trial.
        initializers: The names to choose among. Kernels are drawn anew from the chosen one
            (`keras_initx.reinitialize`); "own" draws every weight again from what it was made with, and
            "initialize:auto", say, is `keras_initx.initialize(model, "auto")`. Or such names by group or by
            pattern: `KernelSpace`. Left out where `build(hp)` has an "initializer" of its own.
        learning_rates: The rates to choose among, a `Range` to search between, or None for the model's
            own rate. Left out where `build(hp)` has a "learning_rate" of its own.
        gains, distributions: As in `KernelSpace`.
        weight_decays: Values or a `Range` of the optimizer's decoupled weight decay; None is the model's own.
        schedules: How the rate may fall over a run: "constant", "linear", "cosine", epoch by epoch; None
            leaves it.

    Raises:
        InitxError: A model that is not built or not compiled, an unknown initializer, a rate that is
            not positive.
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
        self.weight_decays = check_numbers(weight_decays, "weight_decays", zero=True)
        self.schedules = None if schedules is None else checked_names("schedules", schedules, SCHEDULES)
        self._make = _maker(model)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The user's model with the kernels and the training that `hp` chooses."""
        model = self._make(hp)
        if not isinstance(model, keras.Model):
            raise InitxError("model", model, "a function that returns a Keras model")
        if getattr(model, "optimizer", None) is None:
            raise InitxError("model", model.name, "a compiled model", "Call model.compile(...) in it.")
        self.kernels.draw(model, hp, self._own)
        if self.learning_rates is not None and LEARNING_RATE not in self._own:
            try:
                model.optimizer.learning_rate = choose_number(hp, LEARNING_RATE, self.learning_rates)
            except TypeError as error:
                rule = "None for an optimizer with a schedule"
                remedy = "Pass learning_rates=None, or compile with a plain learning rate."
                raise InitxError("learning_rates", self.learning_rates, rule, remedy) from error
        if self.weight_decays is not None and WEIGHT_DECAY not in self._own:
            inner_optimizer(model.optimizer).weight_decay = choose_number(
                hp, WEIGHT_DECAY, self.weight_decays
            )
        if self.schedules is not None and SCHEDULE not in self._own:
            if not isinstance(inner_optimizer(model.optimizer).get_config()["learning_rate"], float):
                raise InitxError("schedules", self.schedules, "None for an optimizer with one of its own")
            hp.Choice(SCHEDULE, list(self.schedules))
        return model

    @functools.cached_property
    def _own(self) -> frozenset[str]:
        """The hyperparameters that the user's model declares by itself."""
        probe = keras_tuner.HyperParameters()
        self._make(probe)
        return frozenset(p.name for p in probe.space)


def _maker(model: Any) -> Build:
    """A function of `hp` that makes a new compiled model each time."""
    if isinstance(model, keras_tuner.HyperModel):
        return model.build
    if isinstance(model, keras.Model):
        if not model.built or getattr(model, "optimizer", None) is None:
            raise InitxError("model", model.name, "a built and compiled model")
        return lambda hp: _copy(model)
    if not callable(model):
        raise InitxError("model", model, "a Keras model, a function that returns one, or a HyperModel")
    return model if _takes_hp(model) else lambda hp: model()


def _takes_hp(build: Build) -> bool:
    """Whether a function needs an argument; one with a default is none for `hp`, but by that name."""
    parameters = inspect.signature(build).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.name == "hp" or (p.kind in positional and p.default is p.empty) for p in parameters)


def _copy(model: keras.Model) -> keras.Model:
    try:
        return _clone(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        # What Keras says goes on with the whole config of the layer.
        reason = str(error).strip().split("\n")[0].split(" using config=")[0][:200]
        remedy = (
            "Pass a function that builds and compiles it, or register your own functions and classes with "
            f"keras.saving.register_keras_serializable. Keras: {reason}"
        )
        raise InitxError("model", model.name, "a model that Keras can clone and compile", remedy) from error


def _clone(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    if not copy.built:
        copy.build(model.input_shape)
    copy.set_weights(model.get_weights())
    for layer in all_layers(copy):
        # An adapted layer computes with constants that it makes of its weights.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    # Keras clones the layers' precision, but not the model's own, by which it scales the loss.
    copy.dtype_policy = model.dtype_policy
    copy.compile_from_config(model.get_compile_config())
    return copy
