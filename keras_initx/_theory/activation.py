"""Read the activation that a layer applies from a string, a function, an activation layer or a lambda."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_initx._theory.custom_activation import PASS_GAIN_OR_ACTIVATION, CustomFunction, eagerly, evaluated
from keras_initx._theory.formulas import FORMULAS
from keras_initx._theory.moments import PASS_GAIN, ActivationMoments, gaussian_moments, leaky_second_moment
from keras_initx.errors import InitxError, unknown_name

# They act on a whole row, so E[phi(z)^2] of a single z does not exist.
ROW_WISE = frozenset({"softmax", "log_softmax", "sparsemax"})

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "tanhshrink": "tanh_shrink"}
_NAMES = frozenset({*FORMULAS, *ROW_WISE})
# Gates that multiply the outputs of two kernels. No Keras layer applies one: the model contains the formula.
_GATED = frozenset({"bilinear", "geglu", "reglu", "seglu", "swiglu"})


@dataclass(frozen=True)
class Activation:
    """An activation function, identified well enough to compute its moments.

    Attributes:
        name: The name in `keras.activations`, or the name of the user's function.
        parameters: The parameters as (name, value) pairs; an absent parameter has Keras's default.
        function: The user's own elementwise function; None for an activation that is known by name.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()
    function: CustomFunction | None = field(default=None, compare=False, repr=False)

    @property
    def negative_slope(self) -> float | None:
        """The slope a of the negative side in the ReLU family; None outside the family.

        A capped or shifted ReLU does not belong to it: its gain is not 2 / (1 + a^2).
        """
        parameters = dict(self.parameters)
        if self.name == "leaky_relu":
            return float(parameters.get("negative_slope", 0.2))
        is_standard = parameters.get("max_value") is None and not parameters.get("threshold")
        if self.name == "relu" and is_standard:
            return float(parameters.get("negative_slope", 0.0))
        return None

    def moments(self, mean: float = 0.0, var: float = 1.0) -> ActivationMoments:
        """Return the moments of phi(z) and phi'(z) for z ~ N(mean, var).

        Raises:
            InitxError: The activation acts on whole rows (softmax), its second moment does not exist, or
                it cannot be evaluated.
        """
        if self.name in ROW_WISE:
            problem = f"`activation` {self.name!r} acts on a whole row, so a single z has no moments"
            remedy = "Pass an elementwise activation."
            raise InitxError("activation", self.name, "an elementwise activation", remedy, problem)
        if self.function is not None:
            return _custom_moments(self.function, self.name, mean, var)
        return _named_moments(self.name, self.parameters, mean, var)

    def gain(self, mode: str = "forward") -> float:
        """Return 1 / E[phi(z)^2] (forward) or 1 / E[phi'(z)^2] (backward), z ~ N(0, 1); 1 if row-wise.

        Raises:
            InitxError: As in `moments`, or the moment is zero or does not exist.
        """
        # Exact where the formula is known, so that no digit depends on the processor.
        if self.name in ROW_WISE or self.name == "linear":
            return 1.0
        if self.negative_slope is not None:
            return 1 / leaky_second_moment(self.negative_slope)
        forward = mode == "forward"
        moments = self.moments()
        moment = moments.second_moment if forward else moments.slope_second_moment
        if moment == 0 or not np.isfinite(moment):
            problem = ""
            if moment == 0:
                allowed = f"a function {'that' if forward else 'whose slope'} is not zero everywhere"
            elif np.isnan(moment):
                allowed = "a function that computes in float32 or float64"
                problem = f"`activation` {self.name!r} computes in half precision, too coarse for its slope"
            else:
                symbol = "phi(z)^2" if forward else "phi'(z)^2"
                allowed = f"a function whose E[{symbol}] exists for z ~ N(0, 1)"
            raise InitxError("activation", self.name, allowed, PASS_GAIN, problem)
        return 1 / moment


LINEAR = Activation("linear")


@functools.lru_cache(maxsize=4096)
def _named_moments(
    name: str, parameters: tuple[tuple[str, Any], ...], mean: float, var: float
) -> ActivationMoments:
    formula, kinks = FORMULAS[name]
    # For a gated linear unit only the sigmoid is integrated, and the sigmoid takes no axis.
    arguments = {} if name == "glu" else dict(parameters)
    moments = gaussian_moments(lambda z: formula(z, **arguments), mean, var, kinks(**arguments), name)
    return _gated(moments, mean, var) if name == "glu" else moments


@functools.lru_cache(maxsize=64)
def _custom_moments(custom: CustomFunction, name: str, mean: float, var: float) -> ActivationMoments:
    return gaussian_moments(custom.function, mean, var, name=name)


def _gated(gate: ActivationMoments, mean: float, var: float) -> ActivationMoments:
    """Return the moments of a sigmoid(b), a and b independent, from the moments of sigmoid(b).

    The slope is the average of the slopes in a and in b, since each is the input in half of the columns.
    """
    square = mean**2 + var
    return ActivationMoments(
        mean * gate.mean,
        square * gate.second_moment,
        (gate.mean + mean * gate.slope_mean) / 2,
        (gate.second_moment + square * gate.slope_second_moment) / 2,
        gate.error,
    )


def read_activation(activation: object) -> Activation:
    """Return the `Activation` for any value that Keras accepts as an activation.

    Args:
        activation: None (linear), a name, a function of `keras.activations` or `keras.ops`, a
            `functools.partial` of one, an activation layer (LeakyReLU, PReLU, ELU, ReLU, Softmax,
            Activation ...), or any elementwise callable.

    Raises:
        InitxError: An unknown name; a callable that cannot be evaluated or is not elementwise.

    Example: the default slope of the layer is 0.3, the default of the function is 0.2.

    >>> read_activation(keras.layers.LeakyReLU()).negative_slope
    0.3
    >>> read_activation("leaky_relu").negative_slope
    0.2
    """
    if isinstance(activation, Activation):
        return activation
    if activation is None:
        return LINEAR
    if isinstance(activation, str):
        return _by_name(activation)
    if isinstance(activation, functools.partial) and not activation.args:
        name = _keras_name(activation.func)
        if name is not None:
            return _with_arguments(name, activation.keywords)
    elif isinstance(activation, keras.layers.Layer):
        from_layer = _from_layer(activation)
        if from_layer is not None:
            return from_layer
    else:
        name = _keras_name(activation)
        if name is not None:
            return _named(name)
    if not callable(activation):
        raise InitxError("activation", activation, "None, a name, a function or a layer")
    return _custom(activation)


def _custom(function: Callable[..., Any]) -> Activation:
    name, custom = evaluated(function)
    return Activation(name, function=custom)


def _by_name(name: str) -> Activation:
    name = _ALIASES.get(name, name)
    if name in _NAMES:
        return _named(name)
    try:
        # A newer Keras may have added an activation that has no formula here.
        function = keras.activations.get(name)
    except ValueError:
        if name in _GATED:
            problem = (
                f"`activation` {name!r} gates one kernel's output with another's: both are linear layers"
            )
            allowed = "an activation of one tensor"
            raise InitxError("activation", name, allowed, PASS_GAIN_OR_ACTIVATION, problem) from None
        raise unknown_name("activation", name, _NAMES) from None
    return _custom(function)


@functools.cache
def _named(name: str) -> Activation:
    """Return a known activation with its default parameters; cached, since every draw needs it."""
    return _with_arguments(name, {})


def _with_arguments(name: str, arguments: dict[str, Any]) -> Activation:
    """Return a known activation with arguments; they must be arguments it has, and finite numbers."""
    try:
        inspect.signature(getattr(keras.activations, name)).bind(0.0, **arguments)
        parameters = {key: _number(value) for key, value in arguments.items()}
    except (TypeError, ValueError) as error:
        problem = f"`activation` {name!r} does not work with its arguments: {error}"
        remedy = f"Pass functools.partial(keras.activations.{name}, ...) with each argument a finite number."
        allowed = f"{name} with finite numbers for the arguments that it has in Keras"
        raise InitxError("activation", name, allowed, remedy, problem) from None
    return Activation(name, tuple(sorted(parameters.items())))


def _number(value: Any) -> Any:
    """Return None, bools, ints and tuples unchanged; floats, NumPy numbers and one-value tensors as float."""
    if value is None or isinstance(value, bool | int | tuple):
        return value
    number = float(np.asarray(keras.ops.convert_to_numpy(value)).reshape(()))
    # The square of a slope must be finite too.
    if not np.isfinite(number) or abs(number) > 1e100:
        raise ValueError(f"{number} is not a finite number below 1e100")
    return number


def _keras_name(function: object) -> str | None:
    """Return the name under which keras.activations or keras.ops exports exactly this function."""
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        return None
    for home in (keras.activations, keras.ops):
        if getattr(home, name, None) is function:
            known = _ALIASES.get(name, name)
            return known if known in _NAMES else None
    return None


def _from_layer(layer: keras.layers.Layer) -> Activation | None:
    if isinstance(layer, keras.layers.Activation):
        return read_activation(layer.activation)
    if isinstance(layer, keras.layers.Lambda):
        return read_activation(functools.partial(layer.function, **layer.arguments))
    for cls in _READABLE:
        # A subclass with its own `call` computes something else, so it is a custom function.
        if isinstance(layer, cls) and type(layer).call is cls.call:
            return _READABLE[cls](layer)
    return None


_READABLE: dict[Any, Callable[[Any], Activation]] = {
    keras.layers.LeakyReLU: lambda layer: _with_arguments(
        "leaky_relu", {"negative_slope": layer.negative_slope}
    ),
    keras.layers.PReLU: lambda layer: _with_arguments("leaky_relu", {"negative_slope": _prelu_slope(layer)}),
    keras.layers.ELU: lambda layer: _with_arguments("elu", {"alpha": layer.alpha}),
    keras.layers.Softmax: lambda layer: Activation("softmax"),
    keras.layers.ReLU: lambda layer: _with_arguments(
        "relu",
        {
            "max_value": layer.max_value,
            "negative_slope": layer.negative_slope or 0.0,
            "threshold": layer.threshold or 0.0,
        },
    ),
}


def _prelu_slope(layer: keras.layers.PReLU) -> float:
    """Return the root mean square of a PReLU's initial slopes a, since its gain is 2 / (1 + E[a^2])."""
    slopes = eagerly(lambda: keras.ops.convert_to_numpy(layer.alpha_initializer((1024,), dtype="float32")))
    return float(np.sqrt(np.mean(np.square(slopes, dtype="float64"))))
