"""Baselines of the literature: schemes that draw every layer from one distribution."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_initx._theory import read_activation
from keras_initx.errors import InitxError, is_number
from keras_initx.initializers.base import PACKAGE, LayerAware, Seeded


class Baseline(Seeded):
    """Initializer with one distribution for all layers; the layer influences only the seed.

    Args:
        scale: The size of the values, as the subclass defines it; not negative.
        seed: As in `HeAuto`.

    Raises:
        InitxError: `scale` is negative or not finite, or `seed` is not allowed.
    """

    def __init__(self, scale: float, seed: Any = None) -> None:
        super().__init__(seed)
        self.scale = _checked(scale)

    @abstractmethod
    def _mean_square(self) -> float:
        """Return E[w^2]."""

    def verdict(self, shape: Sequence[int]) -> str:
        """Describe in words what a weight of this shape does to the signal.

        The signal is the root mean square of the pre-activations in a chain of such layers. Weights of
        mean 0 hold it if E[w^2] = gain / fan_in, with the fans and the activation of the layer that the
        initializer is bound to; positive weights multiply it by fan_in times their mean.

        Raises:
            InitxError: `shape` is not a sequence of positive integers.

        Example:

        >>> from keras_initx import SmallNormal
        >>> SmallNormal(scale=0.01).verdict((100, 100))
        'vanishing: one layer multiplies the signal by 0.1, ten layers by 1e-10'
        """
        sizes = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
        if not sizes or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise InitxError("shape", shape, "a tuple of integers >= 1, as (300, 100)")
        geometry = self._layer_info.geometry
        if geometry.kind == "lookup":
            return f"look-up: the vectors it returns have size {math.sqrt(self._mean_square()):.2g}"
        fans = geometry.fans(sizes)
        try:
            gain = 1.0 if self._layer_info.unit_gain else read_activation(self._layer_info.activation).gain()
        except InitxError as error:
            raise self._error(error) from error
        ratio = self._factor(fans.fan_in, gain)
        word = "vanishing" if ratio < 0.8 else "exploding" if ratio > 1.25 else "held"
        tenth = f"{ratio**10:.2g}"
        return f"{word}: one layer multiplies the signal by {ratio:.2g}, ten layers by {tenth}"

    def _factor(self, fan_in: float, gain: float) -> float:
        """Return the factor by which a layer multiplies its signal; this one is for weights of mean 0."""
        return math.sqrt(self._mean_square() * fan_in / gain)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}


def _checked(scale: Any) -> float:
    if not (is_number(scale) and math.isfinite(scale) and scale >= 0):
        raise InitxError("scale", scale, "a finite number >= 0")
    return float(scale)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SmallNormal(Baseline):
    """Draw small Gaussian weights for every layer alike, as was usual before variance scaling.

    w ~ N(0, scale^2), where scale is the standard deviation.

    Args:
        scale: The standard deviation.
        seed: As in `HeAuto`.

    Raises:
        InitxError: `scale` is negative or not finite, or `seed` is not allowed.

    Example:

    >>> layer = keras.layers.Dense(300, kernel_initializer="small_normal")
    >>> layer.build((None, 300))
    >>> round(float(keras.ops.std(layer.kernel)), 3)
    0.01

    References: Krizhevsky et al. 2012 (AlexNet), section 5, with this scale; He et al. 2015
    (arXiv 1502.01852), section 2.2, on why deep networks stall with it.
    """

    def __init__(self, scale: float = 0.01, seed: Any = None) -> None:
        super().__init__(scale, seed)

    def _mean_square(self) -> float:
        return self.scale**2

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        return keras.random.normal(shape, stddev=self.scale, dtype=dtype, seed=self.seed)


@keras.saving.register_keras_serializable(package=PACKAGE)
class UnitUniform(Baseline):
    """Draw positive weights from 0 to 1 (or another scale): the naive random start.

    w ~ U(0, scale) with mean scale / 2 and E[w^2] = scale^2 / 3, where scale is the upper limit.

    All weights have the same sign, so all units of a layer compute nearly the same sum.

    Args:
        scale: The upper limit.
        seed: As in `HeAuto`.

    Raises:
        InitxError: `scale` is negative or not finite, or `seed` is not allowed.

    Example:

    >>> UnitUniform().verdict((300, 300))
    'exploding: one layer multiplies the signal by 1.5e+02, ten layers by 5.8e+21'

    References: Glorot & Bengio 2010, section 4, on the effect of initial weights of the wrong size.
    """

    def __init__(self, scale: float = 1.0, seed: Any = None) -> None:
        super().__init__(scale, seed)

    def _mean_square(self) -> float:
        return self.scale**2 / 3

    def _factor(self, fan_in: float, gain: float) -> float:
        # After one such layer all units of a sample have the same sign. Their sum therefore grows with fan_in
        # instead of its root, and a ReLU passes all of a positive sum on instead of half of its square.
        return fan_in * math.sqrt((self.scale / 2) ** 2 + self.scale**2 / (12 * fan_in))

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        return keras.random.uniform(shape, 0.0, self.scale, dtype=dtype, seed=self.seed)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AllZeros(LayerAware):
    """Set every weight to 0 (or another constant), a start from which no network can train.

    w = scale, where scale is the constant.

    All units of a layer compute the same value, get the same gradient and stay equal. With zeros no
    gradient reaches the layers below.

    Args:
        scale: The value of every weight; any other constant is as symmetric as 0.

    Raises:
        InitxError: `scale` is negative or not finite.

    Example:

    >>> AllZeros().verdict((10, 10))
    'symmetric: all units compute the same and get the same gradient, and no signal passes'

    References: Goodfellow et al. 2016, "Deep Learning", section 8.4, on breaking symmetry.
    """

    def __init__(self, scale: float = 0.0) -> None:
        super().__init__()
        self.scale = _checked(scale)

    def verdict(self, shape: Sequence[int]) -> str:
        """Describe in words what a constant weight does; see `Baseline.verdict`."""
        blocked = ", and no signal passes" if self.scale == 0 else ""
        return f"symmetric: all units compute the same and get the same gradient{blocked}"

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        return ops.full(shape, self.scale, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale": self.scale}
