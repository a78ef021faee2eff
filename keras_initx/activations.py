"""Which activation a layer applies, read from a string, a function, an activation layer or a lambda."""

import functools
import inspect
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initx.errors import InitxError, unknown_name
from keras_initx.formulas import FORMULAS
from keras_initx.moments import ActivationMoments, gaussian_moments, leaky_second_moment
from keras_initx.pieces import Function

# These act on a whole row, so E[phi(z)^2] of a single z does not exist.
ROW_WISE = frozenset({"softmax", "log_softmax", "sparsemax"})

_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "tanhshrink": "tanh_shrink"}
_NAMES = frozenset({*FORMULAS, *ROW_WISE})
# Gates over the results of two kernels, which no layer of Keras applies: their formula is the model's.
_GATED = frozenset({"bilinear", "geglu", "reglu", "seglu", "swiglu"})

_T = TypeVar("_T")


@dataclass(frozen=True)
class Probed:
    """A user's function with its values at some points, which tell it from every other.

    Not the function itself: it need not be hashable, and it may have changed since it was last asked.
    """

    values: bytes
    function: Function = field(compare=False, repr=False)


@dataclass(frozen=True)
class Activation:
    """An activation function as its moments see it.

    Attributes:
        name: Its name in `keras.activations`, or that of the user's function.
        parameters: Its parameters as (name, value) pairs; Keras's defaults where there are none.
        function: The user's own elementwise function on float64 arrays; None for one known by name.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()
    function: "Probed | None" = field(default=None, compare=False, repr=False)

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
            raise InitxError("activation", self.name, allowed, "Pass gain= to the initializer.")
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
            return _with(name, {})
    if not callable(activation):
        raise InitxError("activation", activation, "None, a name, a function or a layer")
    return _user_function(activation)


def _by_name(name: str) -> Activation:
    name = _ALIASES.get(name, name)
    if name in _NAMES:
        return _with(name, {})
    try:
        # One that a newer Keras added.
        function = keras.activations.get(name)
    except ValueError:
        if name in _GATED:
            allowed = "an activation of one tensor: the gate of two kernels is drawn as two linear layers"
            raise InitxError("activation", name, allowed, _WAY_OUT) from None
        raise unknown_name("activation", name, _NAMES) from None
    return _user_function(function)


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
    slopes = _eagerly(lambda: keras.ops.convert_to_numpy(layer.alpha_initializer((1024,), dtype="float32")))
    return float(np.sqrt(np.mean(np.square(slopes, dtype="float64"))))


def _user_function(function: Callable[..., Any]) -> Activation:
    name = str(getattr(function, "__name__", None) or type(function).__name__)
    if isinstance(function, type):
        raise InitxError("activation", name, "an instance of the class", f"Write {name}().")
    on_arrays = _on_arrays(function)
    try:
        _check_elementwise(on_arrays, name)
        values = on_arrays(_PROBES)
    except InitxError:
        raise
    except Exception as error:
        allowed = f"an elementwise function of a tensor (it raised {type(error).__name__}: {error})"
        raise InitxError("activation", name, allowed, _WAY_OUT) from error
    return Activation(name, function=Probed(values.tobytes(), on_arrays))


# Irregular, so that no two functions that anyone would write agree on all of them.
_PROBES = 6 * np.sin(np.arange(1, 101) ** 1.5)
_WAY_OUT = "Pass gain= (or activation=) to the initializer."


def _on_arrays(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """`function` from float64 array to array, in the precision it computes in, outside of any trace."""
    call: Callable[..., Any] = function
    if isinstance(function, keras.layers.Layer):
        # A copy: building the user's own layer here would fix its weights to the shape of our grid. In
        # full precision, whatever the model's policy, and without moving on the seeds of later weights.
        state = random.getstate()
        call = type(function).from_config({**function.get_config(), "dtype": "float32"})
        random.setstate(state)

    def evaluate(z: np.ndarray, beside: float, last: bool, dtype: str) -> np.ndarray:
        # In rows of two, as layers want it: what acts on the row shows in what stands beside z.
        columns = [np.full_like(z, beside), z] if last else [z, np.full_like(z, beside)]
        rows = keras.ops.convert_to_tensor(np.stack(columns, axis=1).astype(dtype))
        out = np.asarray(keras.ops.convert_to_numpy(call(rows)))
        return out[:, 1 if last else 0] if out.shape == (len(z), 2) else out

    # JAX has no float64 unless its user asks for it, and warns on every request.
    dtypes = ["float32"] if keras.backend.backend() == "jax" else ["float64", "float32"]

    def on_arrays(z: np.ndarray, beside: float = 0.0, last: bool = False) -> np.ndarray:
        state = random.getstate()
        try:
            # A layer that is built by this draws the seeds of its weights.
            return _eagerly(lambda: evaluate(z, beside, last, dtypes[0]))
        except Exception:
            # It may hold tensors of float32, which TensorFlow does not mix with float64.
            if len(dtypes) == 1:
                raise
            dtypes.pop(0)
            return on_arrays(z, beside, last)
        finally:
            random.setstate(state)

    return on_arrays


def _eagerly(compute: Callable[[], _T]) -> _T:
    """`compute()` outside of every graph, trace and scope that surrounds the caller.

    Layers are built while a model is traced, where a tensor has no values. Those contexts belong to
    a thread in every Keras backend, so a fresh thread has none, and no backend has to be imported.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(compute())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="keras-initx-eager")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check_elementwise(function: Callable[..., np.ndarray], name: str) -> None:
    # In no order, so that what sorts or adds up along the row or the batch cannot leave them as they are.
    z = np.array([0.4, -1.9, 2.5, -0.7, 1.2, -2.5, 0.9, -0.1, 1.9, -1.3, 0.1, -0.4])
    whole = function(z)
    if whole.size == z.size and whole.shape != z.shape:
        allowed = "an elementwise function: this one halves the row, as a gate does"
        raise InitxError("activation", name, allowed, _WAY_OUT)
    # The same points with fewer beside them along the batch, with another along the row, and at its end.
    parts = (function(z[3:8]), function(z, beside=1.7)[3:8], function(z, beside=-0.6, last=True)[3:8])
    if whole.shape != z.shape or not all(
        part.shape == (5,) and np.allclose(whole[3:8], part, rtol=1e-5, atol=1e-6, equal_nan=True)
        for part in parts
    ):
        raise InitxError("activation", name, "an elementwise function of one tensor", _WAY_OUT)
