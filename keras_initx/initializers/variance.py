"""The rules that scale the variance by fans and activation: HeAuto, XavierAuto, LecunAuto and Auto."""

import math
from typing import Any

import keras

from keras_initx._theory import ROW_WISE, Activation
from keras_initx.errors import InitxError
from keras_initx.initializers.base import PACKAGE
from keras_initx.initializers.gain_scaled import GainScaled

DISTRIBUTIONS = ("truncated_normal", "normal", "uniform")

# A standard normal cut off at +-2: the probability of what is left, and its standard deviation.
_WITHIN = math.erf(math.sqrt(2))
_TRUNCATED_STD = 0.87962566103423978

# What Glorot & Bengio derived their scheme for (units near-linear around zero), and the outputs
# that are read as probabilities: the mean of both fans, gain 1.
_XAVIER = frozenset({"tanh", "sigmoid", "softsign", *ROW_WISE})


class VarianceScaled(GainScaled):
    """Independent entries of variance gain / fan.

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument that is not allowed.
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
        super().__init__(mode, seed, activation, gain)
        self.distribution = distribution

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        std, seed = self.scale(shape).std, self.seed
        if self.distribution == "uniform":
            limit = math.sqrt(3) * std
            return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=seed)
        if self.distribution == "normal":
            return keras.random.normal(shape, stddev=std, dtype=dtype, seed=seed)
        # By the inverse of the distribution function: TensorFlow's own draws again what falls outside,
        # which takes twice as long.
        uniform = keras.random.uniform(shape, -_WITHIN, _WITHIN, dtype=dtype, seed=seed)
        return keras.ops.erfinv(uniform) * (math.sqrt(2) * std / _TRUNCATED_STD)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "distribution": self.distribution}


def _table(activation: Activation, linear: tuple[float, str]) -> tuple[float, str]:
    """The rule that HeAuto and XavierAuto share; they differ only in a linear layer."""
    if activation.name == "linear":
        return linear
    if activation.name in _XAVIER:
        return 1.0, "fan_avg"
    if activation.name == "selu":
        return 1.0, "fan_in"
    return activation.gain(), "fan_in"


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeAuto(VarianceScaled):
    """He initialization for the ReLU family, and what each other activation asks for in its place.

    Var[w] = gain / fan, where fan_in is the number of inputs that an output sums, fan_out the number
    of outputs that an input feeds, and phi the activation:

    | the layer's activation | gain | fan |
    | --- | --- | --- |
    | ReLU, leaky ReLU, PReLU with slope a | 2 / (1 + a^2) | fan_in |
    | tanh, sigmoid, softsign, softmax | 1 | (fan_in + fan_out) / 2 |
    | SELU | 1 | fan_in |
    | any other, a user's own too | 1 / E[phi(z)^2], z ~ N(0, 1) | fan_in |
    | none (linear) | 2 | fan_in |

    A linear layer is taken for one whose ReLU stands in a layer of its own. Embeddings, the fused
    kernels of LSTM and GRU cells, and the depthwise half of a separable convolution have gain 1.

    Args:
        distribution: "truncated_normal" (cut at two standard deviations, then rescaled to the exact
            standard deviation), "normal" or "uniform" (limits +-sqrt(3 gain / fan)). All three have the
            same variance.
        mode: "fan_in", "fan_out" or "fan_avg" (their mean) in place of the rule's own; None keeps it.
        seed: None (drawn anew for every weight, so that `keras.utils.set_random_seed` makes it
            repeatable), an integer (the weight's path is folded in: one path, such as
            "encoder/dense_1/kernel", always gets the same values, and two paths never do; automatic
            names count up, so name the layers to repeat them), or a `keras.random.SeedGenerator`.
        activation: The activation to assume in place of the layer's: whatever `keras.layers.Dense`
            takes as one.
        gain: The gain of the variance (2 for ReLU) in place of the rule's; the fan stays the rule's.

    Raises:
        InitxError: An argument that is not allowed, or an activation that has no gain.

    Example:

    >>> keras.utils.set_random_seed(0)
    >>> layer = keras.layers.Dense(10, activation="relu", kernel_initializer="he_auto")
    >>> layer.build((None, 200))
    >>> round(float(keras.ops.std(layer.kernel)), 2)
    0.1

    References: He et al. 2015 (arXiv 1502.01852), equations 10 and 15; Glorot & Bengio 2010,
    equation 16; Klambauer et al. 2017 (arXiv 1706.02515), section "Initialization", for SELU.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return _table(activation, linear=(2.0, "fan_in"))


@keras.saving.register_keras_serializable(package=PACKAGE)
class XavierAuto(VarianceScaled):
    """Xavier (Glorot) initialization, and what each activation outside its theory asks for.

    Var[w] = gain / fan by the table of `HeAuto`, except that a linear layer gets Xavier:
    gain 1 over (fan_in + fan_out) / 2. Also registered as "glorot_auto".

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument that is not allowed, or an activation that has no gain.

    Example: 30 inputs and 70 outputs, 50 on the mean.

    >>> round(XavierAuto().scale((30, 70)).std ** 2, 6)
    0.02

    References: Glorot & Bengio 2010, equation 16; He et al. 2015 (arXiv 1502.01852), equations 10 and 15;
    Klambauer et al. 2017 (arXiv 1706.02515), section "Initialization", for SELU.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return _table(activation, linear=(1.0, "fan_avg"))


@keras.saving.register_keras_serializable(package=PACKAGE)
class LecunAuto(VarianceScaled):
    """LeCun initialization with the fans of the layer's kind: the activation does not matter.

    Var[w] = 1 / fan_in, where fan_in is the number of inputs that an output sums. With `mode` and
    `gain` it is every scheme of the literature that leaves the activation out: gain 2 is He et al.'s,
    mode "fan_avg" Glorot & Bengio's, each with the right fans.

    Args:
        distribution, mode, seed, gain: As in `HeAuto`. There is no `activation`: it would change nothing.

    Raises:
        InitxError: An argument that is not allowed.

    Example: a depthwise kernel of 3 x 3, of which every output sums 9 inputs.

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
        """The constructor's arguments."""
        config = super().get_config()
        del config["activation"]
        return config


@keras.saving.register_keras_serializable(package=PACKAGE)
class Auto(VarianceScaled):
    """The exact gain for any activation: variance 1 in a layer's pre-activations gives 1 in the next.

    Var[w] = 1 / (fan_in E[phi(z)^2]) with z ~ N(0, 1) and phi the layer's activation, which is taken
    for the one before it too: the theory is of chains of one activation. Where phi is tanh, a ReLU or
    SELU, a deviation dies out or stays; where Q' = E[phi phi' z] / E[phi^2] > 1 (GELU, SiLU, mish) it
    grows with depth. A linear layer, a softmax, an embedding, an LSTM or GRU kernel and the depthwise
    half of a separable convolution have gain 1.

    Args:
        distribution, mode, seed, activation, gain: As in `HeAuto`.

    Raises:
        InitxError: An argument that is not allowed, or an activation that has no gain (its moment
            does not exist, it is not elementwise, or it returns NaN).

    Example:

    >>> Auto(activation="tanh").scale((100, 10)).gain.__round__(4)
    2.5362

    References: He et al. 2015 (arXiv 1502.01852), section 2.2, for a general phi; Bingham &
    Miikkulainen 2021 (AutoInit, arXiv 2109.08958), section 3, for hidden layers of one activation.
    """

    def _rule(self, activation: Activation) -> tuple[float, str]:
        return activation.gain(), "fan_in"
