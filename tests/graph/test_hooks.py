"""Weights, tensors and attributes of one layer."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph.hooks import first_tensor, is_concrete, own_weights, patched_attribute, zeros

pytestmark = pytest.mark.check


def test_own_weights_leave_out_those_of_sublayers():
    layer = layers.MultiHeadAttention(2, 4)
    layer.build((None, 3, 8), (None, 3, 8))
    assert own_weights(layer) == []
    assert [v.name for v in own_weights(layer.query_dense)] == ["kernel", "bias"]


def test_tensors_with_and_without_values():
    tensor = ops.ones(2)
    assert first_tensor({"a": None, "b": (tensor, ops.zeros(2))}) is tensor
    assert is_concrete([tensor, 1, None])
    seen = []

    def inside(x):
        seen.append(is_concrete(x))
        return (x + 1,)

    ops.while_loop(lambda x: ops.sum(x) < 3, inside, (tensor,))
    if keras.backend.backend() == "jax":
        assert seen == [False]


def test_a_state_of_zeros_leaves_the_variable_unchanged():
    variable = keras.Variable([1.0, 2.0])
    with keras.StatelessScope(state_mapping=zeros([variable])):
        inside = ops.convert_to_numpy(variable.value)
    np.testing.assert_array_equal(inside, [0, 0])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), [1, 2])


@pytest.mark.parametrize("name", ["units", "not_there_before"])
def test_an_attribute_is_restored_after_an_error(name):
    layer = layers.Dense(3)
    before = dict(layer.__dict__)
    with contextlib.suppress(RuntimeError), patched_attribute(layer, name, 7):
        assert getattr(layer, name) == 7
        raise RuntimeError
    assert layer.__dict__ == before
