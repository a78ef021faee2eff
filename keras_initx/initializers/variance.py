"""Initializers of independent entries with variance gain / fan: HeAuto, XavierAuto, LecunAuto and Auto."""

import math
from typing import Any

import keras

from keras_initx._theory import ROW_WISE, Activation, kernel_gain
from keras_initx.errors import InitxError
from keras_initx.initializers.base import PACKAGE
from keras_initx.initializers.gain_scaled import GainScaled

DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")


def known_distributions() -> list[str]:
    """Return the distributions that `HeAuto`, `XavierAuto`, `LecunAuto` and `Auto` can draw from.

    Example:

    >>> known_distributions()
    ['truncated_normal', 'normal', 'uniform']
    """
    return list(DISTRIBUTIONS)


# For a standard normal cut off at +-2: the probability of the interval, and the standard deviation within it.
_WITHIN = math.erf(math.sqrt(2))
_TRUNCATED_STD = 0.87962566103423978

# Gain 1 over the mean of both fans: for the units that Glorot & Bengio derived their scheme for (near-linear
# around zero), and for outputs that are read as probabilities.
_XAVIER = frozenset({"tanh", "sigmoid", "softsign", *ROW_WISE})


class VarianceScaled(GainScaled):
    """Initializer of independent entries with variance gain / fan.

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument is not allowed.
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
            raise InitxError("distribution", distribution, f"one of {', '.join(map(repr, DISTRIBUTIONS))}")
        super().__init__(mode, seed, activation, gain)
        self.distribution = distribution

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        std, seed = self.scale(shape).std, self.seed
        if self.distribution == "uniform":
            limit = math.sqrt(3) * std
            return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=seed)
        if self.distribution == "normal":
            return keras.random.normal(shape, stddev=std, dtype=dtype, seed=seed)
        # Invert the distribution function. TensorFlow's own truncated normal redraws every value outside the
        # limits, which takes twice as long.
        uniform = keras.random.uniform(shape, -_WITHIN, _WITHIN, dtype=dtype, seed=seed)
        return keras.ops.erfinv(uniform) * (math.sqrt(2) * std / _TRUNCATED_STD)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "distribution": self.distribution}


def _table(activation: Activation, linear: tuple[float, str]) -> tuple[float, str]:
    """Return (gain, mode) by the rule of HeAuto and XavierAuto, which differ only for a linear layer."""
    if activation.name == "linear":
        return linear
    if activation.name in _XAVIER:
        return 1.0, "fan_avg"
    if activation.name == "selu":
        return 1.0, "fan_in"
    return kernel_gain(activation), "fan_in"


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeAuto(VarianceScaled):
    """Draw He initialization for the ReLU family, and the matching scheme for every other activation.

    Var[w] = gain / fan, where w is an entry of the weight, fan_in the number of inputs that an output sums,
    fan_out the number of outputs that an input feeds, phi the activation and z its pre-activation:

    | the layer's activation | gain | fan |
    | --- | --- | --- |
    | ReLU, leaky ReLU, PReLU with slope a | 2 / (1 + a^2) | fan_in |
    | tanh, sigmoid, softsign, softmax | 1 | (fan_in + fan_out) / 2 |
    | SELU | 1 | fan_in |
    | periodic, such as sin(w0 z), s = period / 2 pi | s^2 / E[phi(z)^2], z ~ N(0, s^2) | fan_in |
    | any other, including custom ones | 1 / E[phi(z)^2], z ~ N(0, 1) | fan_in |
    | none (linear) | 2 | fan_in |

    A linear layer gets gain 2 on the assumption that its ReLU is a separate layer. Embeddings, the fused
    kernels of LSTM and GRU cells, and the depthwise half of a separable convolution have gain 1.

    Args:
        distribution: "truncated_normal" (cut at two standard deviations, then rescaled to the exact
            standard deviation), "normal" or "uniform" (limits +-sqrt(3 gain / fan)). All three have the
            same variance.
        mode: "fan_in", "fan_out" or "fan_avg" (their mean) instead of the fan that the rule chooses; None
            keeps the rule's.
        seed: None, an integer, or a `keras.random.SeedGenerator`. None draws a new seed for every weight,
            which `keras.utils.set_random_seed` makes repeatable. An integer is combined with the path of
            the weight, such as "encoder/dense_1/kernel": equal paths get equal values, different paths get
            different values. Automatic layer names count up, so name the layers to repeat them.
        activation: The activation to assume instead of the layer's: any value that `keras.layers.Dense`
            accepts.
        gain: The gain of the variance (2 for ReLU) instead of the rule's; the rule still chooses the fan.

    Raises:
        InitxError: An argument is not allowed, or the activation has no gain.

    Example:

    >>> keras.utils.set_random_seed(0)
    >>> layer = keras.layers.Dense(10, activation="relu", kernel_initializer="he_auto")
    >>> layer.build((None, 200))
    >>> round(float(keras.ops.std(layer.kernel)), 2)
    0.1

    References: He et al. 2015 (arXiv 1502.01852), equations 10 and 15; Glorot & Bengio 2010,
    equation 16; Klambauer et al. 2017 (arXiv 1706.02515), section "Initialization", for SELU; Sitzmann et al.
    2020 (arXiv 2006.09661), section 3.2, for sin(w0 z).
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return _table(activation, linear=(2.0, "fan_in"))


@keras.saving.register_keras_serializable(package=PACKAGE)
class XavierAuto(VarianceScaled):
    """Draw Xavier (Glorot) initialization, and the matching scheme for activations outside its theory.

    Var[w] = gain / fan, where w is an entry of the weight, and gain and fan follow the table of `HeAuto`.
    The only difference is a linear layer, which has gain 1 over (fan_in + fan_out) / 2. The initializer is
    also registered as "glorot_auto".

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument is not allowed, or the activation has no gain.

    Example: 30 inputs and 70 outputs have the mean 50.

    >>> round(XavierAuto().scale((30, 70)).std ** 2, 6)
    0.02

    References: Glorot & Bengio 2010, equation 16; He et al. 2015 (arXiv 1502.01852), equations 10 and 15;
    Klambauer et al. 2017 (arXiv 1706.02515), section "Initialization", for SELU.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return _table(activation, linear=(1.0, "fan_avg"))


@keras.saving.register_keras_serializable(package=PACKAGE)
class LecunAuto(VarianceScaled):
    """Draw LeCun initialization with the fans of the layer's kind, whatever the activation.

    Var[w] = 1 / fan_in, where w is an entry of the weight and fan_in the number of inputs that an output
    sums. `mode` and `gain` turn it into every scheme of the literature that ignores the activation: gain 2
    is the scheme of He et al., mode "fan_avg" the scheme of Glorot & Bengio, each with the right fans.

    Args:
        distribution, mode, seed, gain: As in `HeAuto`. An `activation` argument would have no effect.

    Raises:
        InitxError: An argument is not allowed.

    Example: each output of a 3 x 3 depthwise kernel sums 9 inputs.

    >>> layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer="lecun_auto")
    >>> round(LecunAuto().bound_to(layer, "kernel").scale((3, 3, 64, 1)).std, 4)
    0.3333

    References: LeCun et al. 1998, "Efficient BackProp", section 4.6, equation 16.
    """

    def __init__(
        self,
        distribution: str = "truncated_normal",
        mode: str | None = None,
        seed: Any = None,
        gain: float | None = None,
    ) -> None:
        super().__init__(distribution, mode, seed, gain=gain)

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return 1.0, "fan_in"

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["activation"]
        return config


@keras.saving.register_keras_serializable(package=PACKAGE)
class Auto(VarianceScaled):
    """Draw with the exact gain of any activation: pre-activations keep variance 1 from layer to layer.

    Var[w] = 1 / (fan_in E[phi(z)^2]) with z ~ N(0, 1), where w is an entry of the weight, fan_in the number
    of inputs that an output sums, phi the activation of the layer and z its pre-activation. The theory covers
    chains of one activation, so phi stands for the activation before the layer too. If phi is tanh, a ReLU
    or SELU, a deviation of the variance dies out or stays; if Q' = E[phi phi' z] / E[phi^2] > 1 (GELU, SiLU,
    mish), it grows with depth. A periodic phi, such as sin(w0 z), gets pre-activations of standard deviation
    1 / w0 instead of 1. A linear layer, a softmax, an embedding, an LSTM or GRU kernel and the
    depthwise half of a separable convolution have gain 1.

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument is not allowed, or the activation has no gain (its moment does not exist,
            it is not elementwise, or it returns NaN).

    Example:

    >>> round(Auto(activation="tanh").scale((100, 10)).gain, 4)
    2.5362

    References: He et al. 2015 (arXiv 1502.01852), section 2.2, for a general phi; Bingham &
    Miikkulainen 2021 (AutoInit, arXiv 2109.08958), section 3, for hidden layers of one activation.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return kernel_gain(activation), "fan_in"
