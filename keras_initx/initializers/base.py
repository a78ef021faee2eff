"""The base of all layer-aware initializers: bind to a layer, find fans and gain, draw."""

import copy
import hashlib
import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np

from keras_initx.activations import Activation, read_activation
from keras_initx.errors import InitxError
from keras_initx.fans import Fans
from keras_initx.initializers.place import NOWHERE, place_of

DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")
MODES = ("fan_in", "fan_out", "fan_avg")

# The standard deviation of a standard normal cut off at +-2, which the draw is divided by.
_TRUNCATED_STD = 0.87962566103423978


@dataclass(frozen=True)
class Scale:
    """How large a weight is drawn, and from what: variance = gain / fan, the fan named by `mode`."""

    gain: float
    mode: str
    fans: Fans
    activation: str

    @property
    def std(self) -> float:
        """The standard deviation sqrt(gain / fan)."""
        return math.sqrt(self.gain / self.fans.by_mode(self.mode))


class LayerAware(keras.initializers.Initializer):
    """Variance scaling whose fans and gain come from the layer that the weight belongs to.

    Var[w] = gain / fan, with the fan (fan_in, fan_out or their mean) of the layer's kind and the gain
    of the layer's activation by the rule of the subclass.

    Args:
        distribution: "truncated_normal" (cut at two standard deviations, then rescaled to the exact
            standard deviation), "normal" or "uniform" (limits +-sqrt(3 gain / fan)).
        mode: "fan_in", "fan_out" or "fan_avg" in place of the rule's own; None keeps the rule's.
        seed: None (drawn anew for every weight from Python's `random`, so that
            `keras.utils.set_random_seed` makes it repeatable), an integer (the weight's path is folded
            in: one path, such as "encoder/dense_1/kernel", always gets the same values, and two paths
            never do; automatic names count up, so name the layers to repeat them), or a
            `keras.random.SeedGenerator`.
        activation: The activation to assume in place of the layer's: whatever `keras.layers.Dense`
            takes as one.
        gain: The gain (of the variance: 2 for ReLU) in place of the rule's.

    Raises:
        InitxError: A `distribution`, `mode`, `seed`, `gain` or `activation` that is none of these.
    """

    def __init__(
        self,
        distribution: str = "truncated_normal",
        mode: str | None = None,
        seed: Any = None,
        activation: Any = None,
        gain: float | None = None,
    ) -> None:
        if distribution not in DISTRIBUTIONS:
            raise InitxError("distribution", distribution, ", ".join(DISTRIBUTIONS))
        if mode is not None and mode not in MODES:
            raise InitxError("mode", mode, f"{', '.join(MODES)}, or None for the rule's own")
        if gain is not None and not (_is_number(gain) and math.isfinite(gain) and gain > 0):
            raise InitxError("gain", gain, "a positive number, or None for the rule's own")
        if isinstance(seed, np.integer):
            seed = int(seed)
        if isinstance(seed, dict):
            seed = keras.saving.deserialize_keras_object(seed)
        if isinstance(activation, dict):
            activation = keras.saving.deserialize_keras_object(activation)
        if not isinstance(seed, int | None | keras.random.SeedGenerator) or isinstance(seed, bool):
            raise InitxError("seed", seed, "None, an integer or a keras.random.SeedGenerator")
        if activation is not None:
            read_activation(activation)
        self.distribution = distribution
        self.mode = mode
        self.activation = activation
        self.gain = None if gain is None else float(gain)
        self._constructor_seed = seed
        self.seed = _default_seed() if seed is None else seed
        self._place = NOWHERE

    @abstractmethod
    def _rule(self, activation: Activation) -> tuple[float, str]:
        """(gain, mode) for a weight whose result goes through `activation`."""

    def bound_to(self, layer: keras.Layer, weight: str | None) -> Self:
        """A copy that draws for the given weight of the given layer.

        The copy keeps what it read and not the layer: it can outlive it, and be pickled.
        """
        bound = copy.copy(self)
        bound._place = place_of(layer, weight)
        if self._constructor_seed is None:
            # Not from the path: layer names count up, and set_random_seed would not repeat a model.
            bound.seed = _default_seed()
        elif isinstance(self.seed, int):
            # A layer may add several weights under one name, or under none.
            earlier = sum(v.name == weight or weight is None for v in layer.weights)
            bound.seed = _folded(
                self.seed, f"{bound._place.path}:{earlier}" if earlier else bound._place.path
            )
        return bound

    def scale(self, shape: Sequence[int]) -> Scale:
        """The gain, mode, fans and standard deviation with which `shape` would be drawn.

        Example: outside any layer the shape and the arguments are all there is.

        >>> from keras_initx import HeAuto
        >>> HeAuto(activation="relu").scale((50, 10)).std
        0.2
        """
        place = self._place
        fans = place.geometry.fans(tuple(shape))
        if self.gain is not None and self.mode is not None:
            return Scale(self.gain, self.mode, fans, "not read")
        try:
            activation = read_activation(self.activation if self.activation is not None else place.activation)
            gain, mode = self._rule(activation) if self.gain is None else (self.gain, "fan_in")
        except InitxError as error:
            if self.gain is None:
                raise _at(place.path, error) from error
            activation, gain, mode = Activation("not readable"), self.gain, "fan_in"
        if place.settled and self.gain is None and self.activation is None:
            gain = 1.0
        return Scale(gain, self.mode or mode, fans, activation.name)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draws a tensor of the given shape, in float32 where dtype is narrower, then cast.

        Raises:
            InitxError: A dtype that is not a floating-point one; an activation that has no gain.
        """
        shape = tuple(shape)
        dtype = keras.backend.standardize_dtype(dtype or keras.backend.floatx())
        if "float" not in dtype:
            raise InitxError("dtype", dtype, "a floating-point dtype", f"Weight: {self._place.path!r}.")
        if 0 in shape:
            return keras.ops.zeros(shape, dtype)
        std = self.scale(shape).std
        drawn_in = dtype if dtype in ("float32", "float64") else "float32"
        return keras.ops.cast(self._draw(shape, std, drawn_in), dtype)

    def _draw(self, shape: tuple[int, ...], std: float, dtype: str) -> Any:
        seed = self.seed
        if self.distribution == "uniform":
            limit = math.sqrt(3) * std
            return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=seed)
        if self.distribution == "normal":
            return keras.random.normal(shape, stddev=std, dtype=dtype, seed=seed)
        return keras.random.truncated_normal(shape, stddev=std / _TRUNCATED_STD, dtype=dtype, seed=seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the seed as it was given, so a None stays one."""
        seed = self._constructor_seed
        return {
            **super().get_config(),
            "distribution": self.distribution,
            "mode": self.mode,
            "seed": seed if isinstance(seed, int | None) else keras.saving.serialize_keras_object(seed),
            "activation": _activation_config(self.activation),
            "gain": self.gain,
        }

    def __repr__(self) -> str:
        given = {k: v for k, v in self.get_config().items() if v not in (None, "truncated_normal")}
        where = f" at {self._place.path}" if self._place.path else ""
        return f"<{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())}){where}>"


def _default_seed() -> int:
    # The generator that Keras uses for its own default seeds, so set_random_seed holds for ours.
    return random.randint(1, 10**9)


def _folded(seed: int, path: str) -> int:
    digest = hashlib.sha256(f"{seed}/{path}".encode()).digest()
    # 31 bits, which every backend takes for a seed.
    return int.from_bytes(digest[:4]) >> 1


def _activation_config(activation: Any) -> Any:
    if activation is None or isinstance(activation, str):
        return activation
    # activations.serialize gives a bare name to every function that is called like one of Keras's,
    # and loses the parameters of a layer.
    name = getattr(activation, "__name__", "")
    if name and getattr(keras.activations, name, None) is activation:
        return name
    return keras.saving.serialize_keras_object(activation)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(path: str, error: InitxError) -> InitxError:
    """The same error with the weight's path before its argument."""
    if not path:
        return error
    return InitxError(f"{path}: {error.argument}", error.received, error.allowed, error.remedy)
