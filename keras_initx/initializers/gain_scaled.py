"""Base class of the initializers whose variance follows from the fans and the activation of the layer."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._theory import Activation, read_activation
from keras_initx.errors import InitxError, is_number
from keras_initx.initializers.base import Seeded
from keras_initx.initializers.fans import Fans

# Weights over which no layer sums. They have no fan, and random values would do damage.
_NOT_KERNELS = ("bias", "beta", "gamma", "alpha", "moving_mean", "moving_variance")

MODES = ("fan_in", "fan_out", "fan_avg")


@dataclass(frozen=True)
class Scale:
    """The standard deviation of a weight, and the values it follows from.

    Attributes:
        gain: The factor of the variance for the activation.
        mode: The fan that divides the gain: "fan_in", "fan_out" or "fan_avg"; "norm" for an orthogonal
            matrix times sqrt(gain), which no fan divides.
        fans: The fans of the weight.
        activation: The name of the activation; "not read" if `gain` and `mode` made it unnecessary.
        std: The standard deviation of the entries: sqrt(gain / fan).
    """

    gain: float
    mode: str
    fans: Fans
    activation: str
    std: float


class GainScaled(Seeded):
    """Initializer with Var[w] = gain / fan, where the rule of the subclass chooses gain and fan.

    Args:
        mode: "fan_in", "fan_out" or "fan_avg" instead of the fan of the rule; None keeps the rule's.
        seed: As in `Seeded`.
        activation: The activation to assume instead of the layer's: any value that `keras.layers.Dense`
            accepts.
        gain: The gain of the variance (2 for ReLU) instead of the gain of the rule. The fan still follows
            the rule; it is fan_in if the activation cannot be read.

    Raises:
        InitxError: `mode`, `seed`, `gain` or `activation` is not allowed.
    """

    def __init__(
        self, mode: str | None = None, seed: Any = None, activation: Any = None, gain: float | None = None
    ) -> None:
        super().__init__(seed)
        if mode is not None and mode not in MODES:
            raise InitxError("mode", mode, f"None or one of {', '.join(map(repr, MODES))}")
        if gain is not None and not (is_number(gain) and math.isfinite(gain) and gain > 0):
            raise InitxError("gain", gain, "None or a finite number > 0")
        if isinstance(activation, dict):
            activation = keras.saving.deserialize_keras_object(activation)
        if activation is not None:
            read_activation(activation)
        self.mode = mode
        self.activation = activation
        self.gain = None if gain is None else float(gain)

    @abstractmethod
    def _rule(self, activation: Activation) -> tuple[float, str]:
        """Return (gain, mode) for a weight whose result goes through `activation`."""

    def scale(self, shape: Sequence[int]) -> Scale:
        """Return the gain, mode, fans and standard deviation with which a weight of `shape` is drawn.

        Example: outside any layer they follow from the shape and the arguments.

        >>> from keras_initx import HeAuto
        >>> HeAuto(activation="relu").scale((50, 10)).std
        0.2
        """
        fans = self._layer_info.geometry.fans(tuple(shape))
        gain, mode, name = self._gain_and_mode()
        fan = fans.by_mode(mode)
        # An empty weight has a fan of 0.
        return Scale(gain, mode, fans, name, math.sqrt(gain / fan) if fan else 0.0)

    def _gain_and_mode(self) -> tuple[float, str, str]:
        """Return (gain, mode, name of the activation) from the arguments, or else from the layer."""
        weight = self._layer_info.weight
        if weight.endswith(_NOT_KERNELS):
            name = type(self).__name__
            problem = f"`initializer` {name!r} is for kernels, not for {weight!r}"
            remedy = "Use an initializer of biases and gains, such as zeros, ones, bias_auto or small_normal."
            allowed = "an initializer of biases and gains"
            raise self._error(InitxError("initializer", name, allowed, remedy, problem))
        if self.gain is not None and self.mode is not None:
            return self.gain, self.mode, "not read"
        assumed = self._layer_info.activation if self.activation is None else self.activation
        try:
            activation = read_activation(assumed)
            gain, mode = self._rule(activation)
        except InitxError as error:
            if self.gain is None:
                raise self._error(error) from error
            activation, gain, mode = Activation("not readable"), self.gain, "fan_in"
        if self.gain is not None:
            gain = self.gain
        elif self._layer_info.unit_gain and self.activation is None:
            gain = 1.0
        return gain, self.mode or mode, activation.name

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "activation": _activation_config(self.activation),
            "gain": self.gain,
        }


def _activation_config(activation: Any) -> Any:
    if activation is None or isinstance(activation, str):
        return activation
    # keras.activations.serialize returns a bare name for any function named like one of Keras's, and drops
    # the parameters of a layer.
    name = getattr(activation, "__name__", "")
    if name and getattr(keras.activations, name, None) is activation:
        return name
    return keras.saving.serialize_keras_object(activation)
