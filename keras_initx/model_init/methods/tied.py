"""The choice for a tied weight: a table that is looked up, and also multiplies a signal."""

from dataclasses import replace
from typing import Any

import keras

from keras_initx.initializers import Seeded
from keras_initx.model_init.methods.choice import Choice


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
