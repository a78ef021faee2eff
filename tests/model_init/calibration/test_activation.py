"""Kernels are scaled by the pre-activation of their layer, without its bias."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from tests.support.arrays import array, rms
from tests.support.users_layers import Closed, OwnActivated


class Sub(layers.Dense):
    pass


def test_a_subclass_with_a_bias_is_scaled_without_it():
    layer = Sub(40, activation="relu", bias_initializer=keras.initializers.Constant(3.0))
    model = keras.Sequential([keras.Input((300,)), layer, layers.Dense(2)])
    data = np.random.default_rng(0).normal(size=(64, 300)).astype("float32")
    initialize(model, data=data, seed=0)
    assert rms(data @ array(layer.kernel)) == pytest.approx(1, abs=1e-3)


class ActivatesInputs(layers.Layer):
    """A user's layer whose activation does not follow its kernel."""

    def build(self, shape):
        self.activation = keras.activations.tanh
        self.kernel = self.add_weight(shape=(shape[-1], 6), name="kernel")

    def call(self, x=None, y=None):
        return ops.matmul(self.activation(y), self.kernel)


def test_an_activation_of_the_inputs_is_no_pre_activation():
    closed = Closed()
    closed.inner = ActivatesInputs(name="inner")
    model = keras.Sequential([keras.Input((9,)), closed, layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 9)).astype("float32")
    initialize(model, data=x, seed=0)
    assert rms(np.tanh(x) @ array(closed.inner.kernel)) == pytest.approx(1, abs=0.02)


def test_a_users_activation_behind_a_large_bias():
    x = keras.Input((40,))
    layer = OwnActivated()
    model = keras.Model(x, layers.Dense(2)(layer(x)))
    layer.bias.assign(np.full(6, 5.0))
    data = np.random.default_rng(1).normal(size=(500, 40)).astype("float32")
    initialize(model, data=data, seed=0)
    assert rms(data[:64] @ array(layer.kernel)) == pytest.approx(1, abs=1e-3)
