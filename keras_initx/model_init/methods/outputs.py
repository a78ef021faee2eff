"""The choices for two kinds of outputs: logits of a tied table, and layers whose bias sets a prior."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Step, WeightContext
from keras_initx.initializers import PriorBias, Seeded
from keras_initx.model_init.methods.choice import Choice

# The factor on the kernel: outputs of this standard deviation hardly change the prior.
_FACTOR = 0.1
# The smallest bias that counts as a prior. A sigmoid then returns 0.12 or 0.88.
_SMALLEST = 2.0


def tied_choice(choice: Choice) -> Choice:
    """Return the choice for a table that also projects to the logits, from the choice for the projection.

    Whatever reads the rows can scale them again; nothing follows the logits. So the projection decides: a
    standard deviation of 1 / sqrt(width) gives logits of variance 1.

    References: Press & Wolf 2017 (arXiv 1608.05859) for tied embeddings.
    """
    reason = "looked up and multiplied: the product decides, with 1 / sqrt(width) for variance 1"
    return replace(choice, method="tied", initializer=TiedTable(), reason=reason)


class TiedTable(Seeded):
    """A table (rows, width) whose products with a signal of variance 1 have variance 1."""

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        limit = (3 / shape[-1]) ** 0.5
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)


def sets_prior(step: Step, context: WeightContext) -> bool:
    """Return whether the bias that a layer starts with sets its probabilities far from the middle."""
    own = getattr(step.operation, "bias_initializer", None)
    if step.bias is None or own is None or isinstance(own, keras.initializers.Zeros):
        return False
    # The bias of an output without an activation may as well be the mean of a regression.
    if context.activation.name not in ("sigmoid", "softmax") and not isinstance(own, PriorBias):
        return False
    return bool(np.mean(np.abs(keras.ops.convert_to_numpy(step.bias))) >= _SMALLEST)


def prior_choice(choice: Choice) -> Choice:
    """Return the choice for an output layer with a prior, from the choice for one without.

    A sigmoid of b + z with z ~ N(0, s^2) has the mean sigmoid(b) exp(s^2 / 2) if b is far below 0: 1.65 times
    the prior for s = 1, and 1.005 times for s = 0.1.

    References: Lin et al. 2017 (arXiv 1708.02002), section 4.1, whose kernels have standard deviation 0.01.
    """
    reason = "small, because the bias sets a prior, which a larger output would change"
    return replace(choice, factor=choice.factor * _FACTOR, reason=reason)
