"""Initializers whose size follows from the fans and the activation of the layer."""

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

# Weights that nothing is summed over, so that they have no fan: random ones would do damage.
_NO_KERNELS = ("bias", "beta", "gamma", "alpha", "moving_mean", "moving_variance")

MODES = ("fan_in", "fan_out", "fan_avg")


@dataclass(frozen=True)
class Scale:
    """How large a weight is drawn, and from what.

    Attributes:
        gain: What the variance is multiplied with for the activation.
        mode: The fan that divides it: "fan_in", "fan_out" or "fan_avg"; "norm" for an orthogonal
            matrix times sqrt(gain), which no fan divides.
        fans: The fans of the weight.
        activation: The name of the activation that was read.
        std: The standard deviation of the entries: sqrt(gain / fan).
    """

    gain: float
    mode: str
    fans: Fans
    activation: str
    std: float


class GainScaled(Seeded):
    """Draws with a gain and a fan by the rule of the subclass: Var[w] = gain / fan.

    Args:
        mode: "fan_in", "fan_out" or "fan_avg" in place of the rule's own; None keeps the rule's.
        seed: As in `Seeded`.
        activation: The activation to assume in place of the layer's: whatever `keras.layers.Dense`
            takes as one.
        gain: The gain (of the variance: 2 for ReLU) in place of the rule's; the fan stays the rule's, and
            is fan_in where the activation cannot be read.

    Raises:
        InitxError: A `mode`, `seed`, `gain` or `activation` that is not allowed.
    """

    def __init__(
        self, mode: str | None = None, seed: Any = None, activation: Any = None, gain: float | None = None
    ) -> None:
        super().__init__(seed)
        if mode is not None and mode not in MODES:
            raise InitxError("mode", mode, f"{', '.join(MODES)}, or None for the rule's own")
        if gain is not None and not (is_number(gain) and math.isfinite(gain) and gain > 0):
            raise InitxError("gain", gain, "a positive number, or None for the rule's own")
        if isinstance(activation, dict):
            activation = keras.saving.deserialize_keras_object(activation)
        if activation is not None:
            read_activation(activation)
        self.mode = mode
        self.activation = activation
        self.gain = None if gain is None else float(gain)

    @abstractmethod
    def _rule(self, activation: Activation) -> tuple[float, str]:
        """(gain, mode) for a weight whose result goes through `activation`."""

    def scale(self, shape: Sequence[int]) -> Scale:
        """The gain, mode, fans and standard deviation with which `shape` would be drawn.

        Example: outside any layer the shape and the arguments are all there is.

        >>> from keras_initx import HeAuto
        >>> HeAuto(activation="relu").scale((50, 10)).std
        0.2
        """
        fans = self._layer_info.geometry.fans(tuple(shape))
        gain, mode, name = self._gain_and_mode()
        fan = fans.by_mode(mode)
        # Of an empty weight nothing is drawn.
        return Scale(gain, mode, fans, name, math.sqrt(gain / fan) if fan else 0.0)

    def _gain_and_mode(self) -> tuple[float, str, str]:
        """(gain, mode, the activation's name), by the arguments, else by the layer."""
        if self._layer_info.weight.endswith(_NO_KERNELS):
            allowed = "an initializer of biases and gains, such as zeros, ones, bias_auto or small_normal"
            error = InitxError("initializer", type(self).__name__, allowed, "It is for kernels.")
            raise self._error(error)
        if self.gain is not None and self.mode is not None:
            return self.gain, self.mode, "not read"
        given = self._layer_info.activation if self.activation is None else self.activation
        try:
            activation = read_activation(given)
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
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "activation": _activation_config(self.activation),
            "gain": self.gain,
        }


def _activation_config(activation: Any) -> Any:
    if activation is None or isinstance(activation, str):
        return activation
    # activations.serialize gives a bare name to every function that is called like one of Keras's,
    # and loses the parameters of a layer.
    name = getattr(activation, "__name__", "")
    if name and getattr(keras.activations, name, None) is activation:
        return name
    return keras.saving.serialize_keras_object(activation)
