"""Check the scaling of subclasses, users' layers, lambdas and models that the trace cannot open."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx._graph.trace import trace
from tests.support.arrays import array, rms
from tests.support.recorder import pre_activations
from tests.support.users_layers import Closed, OwnActivated


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs functions of TensorFlow")
def test_layers_inside_an_opaque_model():
    import tensorflow as tf

    class Backend(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(32, activation="relu"), layers.Dense(24)

        def call(self, x):
            return self.two(tf.square(self.one(x)))

    model = Backend()
    model(np.zeros((2, 8), "float32"))
    plan = initialize(model, data=np.random.default_rng(0).normal(size=(64, 8)).astype("float32"), seed=0)
    found = pre_activations(model, np.random.default_rng(1).normal(size=(2000, 8)).astype("float32"))
    assert np.allclose(list(found.values()), 1, atol=0.3)
    assert any("not opened" in note for note in plan.notes)


def test_a_lambda_is_opened():
    kernel = layers.Dense(6, use_bias=False, name="kept")
    x = keras.Input((40,))
    h = layers.Lambda(lambda z: ops.matmul(ops.relu(z), kernel.kernel), output_shape=(6,))
    model = keras.Model(x, layers.Dense(2)(h(x) + kernel(x)))
    kinds = [step.kind for step in trace(model).steps]
    assert {"Relu", "Matmul"} <= set(kinds)
    assert "Lambda" not in kinds


def test_a_lambda_that_cannot_be_opened_is_noted():
    x = keras.Input((40,))
    opaque = layers.Lambda(lambda z: ops.convert_to_tensor(ops.convert_to_numpy(z)), output_shape=(40,))
    plan = initialize(keras.Model(x, layers.Dense(2)(opaque(x))), seed=0)
    assert any("lambda" in note and "not opened" in note for note in plan.notes)


class Bounded(Closed):
    """An opaque layer whose output has a root mean square below 0.1, whatever its kernel is."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6), initializer="he_normal", name="kernel")

    def call(self, x):
        ops.convert_to_numpy(x)
        return 0.1 * ops.tanh(ops.matmul(x, self.kernel))


def test_an_opaque_layer_that_cannot_reach_its_target_is_left_as_drawn():
    model = keras.Sequential([keras.Input((9,)), Bounded(), layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(64, 9)).astype("float32")
    row = initialize(model, data=x, seed=0).rows[0]
    reached = np.sqrt(np.mean(array(model.layers[0](x)) ** 2))
    assert row.target is None
    assert "does not follow its scale" in row.reason
    assert row.rms_after == pytest.approx(reached, rel=1e-3)
    # Not at its bound of 0.1, where growing the kernel would have taken it.
    assert reached < 0.09


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_excluded_weights_keep_every_bit(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.Input((9,)), Closed(), layers.Dense(2)])
    finally:
        keras.config.set_dtype_policy("float32")
    inner = model.layers[0].inner
    inner.bias.assign(np.linspace(0.1, 0.2, 6))
    before = [array(v) for v in inner.weights]
    initialize(model, seed=0, skip="*inner*")
    for variable, value in zip(inner.weights, before, strict=True):
        np.testing.assert_array_equal(array(variable), value)


def test_a_layer_called_by_its_second_argument():
    x = keras.Input((40,))
    layer = OwnActivated()
    model = keras.Model(x, layers.Dense(2)(layer(y=x)))
    initialize(model, seed=0)
    data = np.random.default_rng(1).normal(size=(2000, 40))
    assert rms(data @ array(layer.kernel)) == pytest.approx(1, abs=0.08)


class ScaledTimes(layers.TimeDistributed):
    def call(self, inputs, training=None, mask=None):
        return 100.0 * super().call(inputs, training=training, mask=mask)


def test_a_time_distributed_of_a_user_keeps_its_own_call():
    x = keras.Input((5, 30))
    times, last = ScaledTimes(layers.Dense(20, activation="relu")), layers.Dense(3)
    model = keras.Model(x, last(layers.Flatten()(times(x))))
    data = np.random.default_rng(0).normal(size=(64, 5, 30)).astype("float32")
    initialize(model, data=data, seed=0)
    assert rms(array(times(data)).reshape(64, -1) @ array(last.kernel)) == pytest.approx(1, abs=1e-3)
