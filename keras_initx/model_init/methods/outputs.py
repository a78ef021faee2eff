"""The choices for two kinds of outputs: logits of a tied table, and layers whose bias sets the output."""

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._theory import ROW_WISE, Activation
from keras_initx.initializers import Seeded, is_overridden
from keras_initx.model_init.methods.choice import Choice

# The factor on the kernel: the largest root mean square s of logits z that keeps the mean of sigmoid(b + z)
# within 10 % of sigmoid(b), however z divides into a mean and a spread: at most the factor exp(s).
_FACTOR = math.log(1.1)
# The smallest bias, on average, that is meant to hold. Logits z of the usual size, 1, bring the mean of
# sigmoid(-1 + z) to 1.13 times sigmoid(-1), and the mean of sigmoid(-3 + z) to 1.46 times.
_SMALLEST = 1.0


def tied_choice(choice: Choice) -> Choice:
    """Return the choice for a look-up table that also projects to logits, from the choice for the projection.

    Whatever reads the rows can scale them again; nothing follows the logits. So the projection decides: a
    standard deviation of 1 / sqrt(width) gives logits of variance 1.

    References: Press & Wolf 2017 (arXiv 1608.05859) for tied embeddings.
    """
    reason = "looked up and multiplied: the product decides, with 1 / sqrt(width) for variance 1"
    return replace(choice, method="tied", initializer=TiedTable(), reason=reason)


class TiedTable(Seeded):
    """A look-up table (rows, width) whose products with a signal of variance 1 have variance 1."""

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        limit = (3 / shape[-1]) ** 0.5
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)


def is_held(bias: keras.Variable | None, activation: Activation) -> bool:
    """Return whether the bias of an output layer is meant to be its output at the start.

    That is a bias larger than outputs of the usual size: the log-odds of a prior, whether the loss or the
    layer applies the sigmoid, or the mean of a regression. A softmax takes no notice of what its logits have
    in common.
    """
    if bias is None or is_overridden(bias):
        return False
    values = keras.ops.convert_to_numpy(bias)
    if activation.name in ROW_WISE:
        values = values - np.mean(values)
    return bool(np.mean(np.abs(values)) >= _SMALLEST)


def held_choice(choice: Choice) -> Choice:
    """Return the choice for an output layer whose bias sets the output, from the choice for any other.

    A sigmoid of b + z with z ~ N(m, v) has the mean sigmoid(b) exp(m + v / 2) if b is far below 0, and less
    change elsewhere. For m^2 + v = s^2 < 1 that factor is largest, exp(s), where z is all mean.

    References: Lin et al. 2017 (arXiv 1708.02002), section 4.1, whose kernels have standard deviation 0.01.
    """
    reason = "small, because the bias sets the output, which a larger kernel would change"
    return replace(choice, factor=choice.factor * _FACTOR, reason=reason)
