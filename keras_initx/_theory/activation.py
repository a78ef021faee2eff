"""Which activation a layer applies, read from a string, a function, an activation layer or a lambda."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_initx._theory.custom_activation import WAY_OUT, Probed, eagerly, probe
from keras_initx._theory.formulas import FORMULAS
from keras_initx._theory.moments import PASS_GAIN, ActivationMoments, gaussian_moments, leaky_second_moment
from keras_initx.errors import InitxError, unknown_name

# These act on a whole row, so E[phi(z)^2] of a single z does not exist.
ROW_WISE = frozenset({"softmax", "log_softmax", "sparsemax"})

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "tanhshrink": "tanh_shrink"}
_NAMES = frozenset({*FORMULAS, *ROW_WISE})
# Gates over the results of two kernels, which no layer of Keras applies: their formula is the model's.
_GATED = frozenset({"bilinear", "geglu", "reglu", "seglu", "swiglu"})


@dataclass(frozen=True)
class Activation:
    """An activation function as its moments see it.

    Attributes:
        name: Its name in `keras.activations`, or that of the user's function.
        parameters: Its parameters as (name, value) pairs; Keras's defaults where there are none.
        function: The user's own elementwise function; None for one known by name.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()
    function: Probed | None = field(default=None, compare=False, repr=False)

    @property
    def negative_slope(self) -> float | None:
        """The slope a of the negative side in the ReLU family; None outside that family.

        A capped or shifted ReLU is outside: its gain is not 2 / (1 + a^2).
        """
        given = dict(self.parameters)
        if self.name == "leaky_relu":
            return float(given.get("negative_slope", 0.2))
        plain = given.get("max_value") is None and not given.get("threshold")
        if self.name == "relu" and plain:
            return float(given.get("negative_slope", 0.0))
        return None

    def moments(self, mean: float = 0.0, var: float = 1.0) -> ActivationMoments:
        """The moments of phi(z) and phi'(z) for z ~ N(mean, var).

        Raises:
            InitxError: An activation of whole rows (softmax); a function whose second moment does not
                exist, or that cannot be evaluated.
        """
        if self.name in ROW_WISE:
            allowed = "an elementwise activation: this one acts on a whole row, so no single z has moments"
            raise InitxError("activation", self.name, allowed)
        if self.function is not None:
            return _user_moments(self.function, self.name, mean, var)
        return _named_moments(self.name, self.parameters, mean, var)

    def gain(self, mode: str = "forward") -> float:
        """1 / E[phi(z)^2] (forward) or 1 / E[phi'(z)^2] (backward) for z ~ N(0, 1); 1 if row-wise.

        Raises:
            InitxError: As `moments` does; a moment that is zero, or that does not exist.
        """
        if self.name in ROW_WISE:
            return 1.0
        if self.negative_slope is not None:
            return 1 / leaky_second_moment(self.negative_slope)
        forward = mode == "forward"
        moments = self.moments()
        moment = moments.second_moment if forward else moments.slope_second_moment
        if moment == 0 or not np.isfinite(moment):
            what, symbol = ("", "phi(z)^2") if forward else (" whose slope", "phi'(z)^2")
            allowed = f"a function{what or ' that'} is not zero everywhere"
            if moment:
                allowed = f"a function whose E[{symbol}] exists for z ~ N(0, 1)"
            if np.isnan(moment):
                allowed = "a function that computes in float32 at least: half precision drowns the slope"
            raise InitxError("activation", self.name, allowed, PASS_GAIN)
        return 1 / moment


LINEAR = Activation("linear")


@functools.lru_cache(maxsize=4096)
def _named_moments(
    name: str, parameters: tuple[tuple[str, Any], ...], mean: float, var: float
) -> ActivationMoments:
    formula, kinks = FORMULAS[name]
    # Of the gate only its sigmoid is integrated, and that has no axis.
    given = {} if name == "glu" else dict(parameters)
    moments = gaussian_moments(lambda z: formula(z, **given), mean, var, kinks(**given), name)
    return _gated(moments, mean, var) if name == "glu" else moments


@functools.lru_cache(maxsize=64)
def _user_moments(probed: Probed, name: str, mean: float, var: float) -> ActivationMoments:
    return gaussian_moments(probed.function, mean, var, name=name)


def _gated(gate: ActivationMoments, mean: float, var: float) -> ActivationMoments:
    """The moments of a sigmoid(b), with a and b independent, from those of sigmoid(b).

    The slope is that towards either half with equal chances, since each has half of the columns.
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
    """The `Activation` behind anything that Keras takes for one.

    Args:
        activation: None (linear), a name, a function of `keras.activations` or `keras.ops`, a
            `functools.partial` of one, an activation layer (LeakyReLU, PReLU, ELU, ReLU, Softmax,
            Activation ...), or any elementwise callable.

    Raises:
        InitxError: An unknown name; a callable that cannot be evaluated or is not elementwise.

    Example: the layer's slope is 0.3, the function's 0.2.

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
            return _with(name, activation.keywords)
    elif isinstance(activation, keras.layers.Layer):
        known = _from_layer(activation)
        if known is not None:
            return known
    else:
        name = _keras_name(activation)
        if name is not None:
            return _named(name)
    if not callable(activation):
        raise InitxError("activation", activation, "None, a name, a function or a layer")
    return _user(activation)


def _user(function: Callable[..., Any]) -> Activation:
    name, probed = probe(function)
    return Activation(name, function=probed)


def _by_name(name: str) -> Activation:
    name = _ALIASES.get(name, name)
    if name in _NAMES:
        return _named(name)
    try:
        # One that a newer Keras added.
        function = keras.activations.get(name)
    except ValueError:
        if name in _GATED:
            allowed = "an activation of one tensor: the gate of two kernels is drawn as two linear layers"
            raise InitxError("activation", name, allowed, WAY_OUT) from None
        raise unknown_name("activation", name, _NAMES) from None
    return _user(function)


@functools.cache
def _named(name: str) -> Activation:
    """A known activation without arguments: asked for at every draw."""
    return _with(name, {})


def _with(name: str, arguments: dict[str, Any]) -> Activation:
    """A known activation with arguments, which must be those it has, and finite numbers."""
    try:
        inspect.signature(getattr(keras.activations, name)).bind(0.0, **arguments)
        known = {key: _number(value) for key, value in arguments.items()}
    except (TypeError, ValueError) as error:
        allowed = f"{name} with the arguments that it has in Keras, each a finite number ({error})"
        remedy = f"Pass functools.partial(keras.activations.{name}, ...) with them."
        raise InitxError("activation", name, allowed, remedy) from None
    return Activation(name, tuple(sorted(known.items())))


def _number(value: Any) -> Any:
    """A number, a truth value, None or a tuple as they are; NumPy's and tensors of one value as a float."""
    if value is None or isinstance(value, bool | int | tuple):
        return value
    number = float(np.asarray(keras.ops.convert_to_numpy(value)).reshape(()))
    # The square of a slope must be a number too.
    if not np.isfinite(number) or abs(number) > 1e100:
        raise ValueError(f"received {number}")
    return number


def _keras_name(function: object) -> str | None:
    """The name under which keras.activations or keras.ops has exactly this function."""
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
        # A subclass that computes something else is a user's function.
        if isinstance(layer, cls) and type(layer).call is cls.call:
            return _READABLE[cls](layer)
    return None


_READABLE: dict[Any, Callable[[Any], Activation]] = {
    keras.layers.LeakyReLU: lambda layer: _with("leaky_relu", {"negative_slope": layer.negative_slope}),
    keras.layers.PReLU: lambda layer: _with("leaky_relu", {"negative_slope": _prelu_slope(layer)}),
    keras.layers.ELU: lambda layer: _with("elu", {"alpha": layer.alpha}),
    keras.layers.Softmax: lambda layer: Activation("softmax"),
    keras.layers.ReLU: lambda layer: _with(
        "relu",
        {
            "max_value": layer.max_value,
            "negative_slope": layer.negative_slope or 0.0,
            "threshold": layer.threshold or 0.0,
        },
    ),
}


def _prelu_slope(layer: keras.layers.PReLU) -> float:
    """The root mean square of the slopes that a PReLU starts with: 2 / (1 + E[a^2]) is its gain."""
    slopes = eagerly(lambda: keras.ops.convert_to_numpy(layer.alpha_initializer((1024,), dtype="float32")))
    return float(np.sqrt(np.mean(np.square(slopes, dtype="float64"))))
