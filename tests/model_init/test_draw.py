"""The values of one weight: mirrored pairs, and unit variance for what is no kernel."""

import numpy as np
import pytest
from keras import layers

from keras_initx import HeAuto
from keras_initx.model_init.draw import draw
from keras_initx.model_init.methods.choice import ChainRule, Choice
from tests.support.arrays import array

pytestmark = pytest.mark.check
MIRRORED = ChainRule(mirrored=True)


def drawn(shape, **rules):
    layer = layers.Dense(shape[1])
    layer.build((None, shape[0]))
    return array(draw(Choice("test", HeAuto(), **rules), layer, "kernel", layer.kernel, seed=1))


@pytest.mark.parametrize("size", [6, 7])
def test_neighbours_are_opposite(size):
    after = drawn((5, size), after=MIRRORED)
    np.testing.assert_array_equal(after[:, 1::2], -after[:, 0 : size - 1 : 2])
    before = drawn((size, 5), before=MIRRORED)
    np.testing.assert_array_equal(before[1::2], -before[0 : size - 1 : 2])
    assert len(np.unique(np.abs(after[0]))) == -(-size // 2)


def test_a_weight_that_is_no_kernel_has_variance_one(assert_std):
    layer = layers.Dense(20_000)
    layer.build((None, 1))
    assert_std(draw(Choice("test", HeAuto()), layer, "table", layer.bias, seed=1), 1.0)
