"""A batch for the tests of the signal before training."""

import numpy as np
import pytest
from keras_initx.tuning.data import Batch


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=(16, size)).astype("float32") for size in (5, 3))
    return Batch.of_arrays(x, y)
