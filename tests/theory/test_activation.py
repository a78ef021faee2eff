import functools
import random

import keras
import numpy as np
import pytest

from keras_initx._theory.activation import LINEAR, read_activation
from keras_initx.errors import InitxError

L = keras.layers


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "linear"),
        ("relu", "relu"),
        ("swish", "silu"),
        (keras.activations.swish, "silu"),
        (keras.activations.tanh, "tanh"),
        (keras.ops.gelu, "gelu"),
        (L.Activation("mish"), "mish"),
        (L.ReLU(), "relu"),
        (L.Softmax(), "softmax"),
        (L.ELU(alpha=0.5), "elu"),
        (functools.partial(keras.activations.gelu, approximate=True), "gelu"),
        ("log_softmax", "log_softmax"),
    ],
)
def test_recognised_by_name(value, name):
    assert read_activation(value).name == name


@pytest.mark.parametrize(
    ("value", "slope"),
    [
        ("relu", 0.0),
        ("leaky_relu", 0.2),
        (keras.activations.leaky_relu, 0.2),
        (L.LeakyReLU(), 0.3),
        (L.LeakyReLU(negative_slope=0.05), 0.05),
        (L.ReLU(negative_slope=0.4), 0.4),
        (L.PReLU(), 0.0),
        (L.PReLU(alpha_initializer=keras.initializers.Constant(0.25)), 0.25),
        (functools.partial(keras.activations.leaky_relu, negative_slope=0.7), 0.7),
        (L.ReLU(max_value=6), None),
        ("tanh", None),
    ],
)
def test_negative_slope(value, slope):
    slope_read = read_activation(value).negative_slope
    assert slope_read == (None if slope is None else pytest.approx(slope))


def test_a_prelu_with_random_slopes_has_their_mean_square():
    layer = L.PReLU(alpha_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=3))
    assert read_activation(layer).moments().second_moment == pytest.approx((1 + 0.25) / 2, rel=0.05)


def test_a_lambda_is_integrated():
    written = read_activation(lambda x: keras.ops.tanh(x))
    assert written.moments().second_moment == pytest.approx(
        read_activation("tanh").moments().second_moment, rel=1e-6
    )


def test_a_custom_layer_is_read_without_building_it():
    @keras.saving.register_keras_serializable()
    class Swish(L.Layer):
        def build(self, input_shape):
            self.beta = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, x):
            return x * keras.ops.sigmoid(self.beta * x)

    layer = Swish()
    expected = read_activation("silu").moments().second_moment
    assert read_activation(layer).moments().second_moment == pytest.approx(expected, rel=1e-6)
    assert not layer.built


def test_a_foreign_function_need_not_be_keras():
    assert read_activation(lambda x: keras.ops.maximum(x, 0)).moments().second_moment == pytest.approx(
        0.5, rel=1e-5
    )


def test_parameters_reach_the_moment():
    gelu = functools.partial(keras.activations.gelu, approximate=True)
    exact, approximate = (
        read_activation("gelu").moments().second_moment,
        read_activation(gelu).moments().second_moment,
    )
    assert exact != approximate
    assert exact == pytest.approx(approximate, rel=1e-3)


def test_row_wise_activations_have_gain_one():
    assert read_activation("softmax").gain() == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("rleu", "Did you mean 'relu'"),
        (3, "a name, a function or a layer"),
        (lambda x: keras.ops.softmax(x, axis=0), "elementwise"),
        (lambda x: x[:1], "elementwise"),
        (lambda x: keras.ops.softmax(x), "elementwise"),
        (lambda x: x / keras.ops.norm(x, axis=-1, keepdims=True), "elementwise"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_unreadable_activations_are_refused(value, message):
    with pytest.raises(InitxError, match=message):
        read_activation(value)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch.compile cannot trace a Keras Input")
def test_reading_inside_a_trace_gives_the_same():
    seen = []

    class Probe(L.Layer):
        def call(self, x):
            seen.append(read_activation(lambda z: keras.ops.sin(z)).moments().second_moment)
            return x

    keras.Model(inputs := keras.Input((2,)), Probe()(inputs)).compile("sgd", "mse", jit_compile=True)
    model = keras.Sequential([Probe()])
    model.compile(loss="mse", jit_compile=True)
    model.predict(np.ones((2, 2)), verbose=0)
    # E[sin^2] = (1 - exp(-2)) / 2.
    assert len(seen) >= 2
    assert seen == pytest.approx([(1 - np.exp(-2)) / 2] * len(seen), rel=1e-6)


def test_linear_is_one_object_for_all():
    assert read_activation(None) is LINEAR


def test_reading_a_layer_leaves_the_random_state_alone():
    @keras.saving.register_keras_serializable()
    class Noisy(L.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(1,), initializer=keras.initializers.RandomNormal(1.0, 0.0))

        def call(self, x):
            return self.scale * x

    activation = Noisy()
    keras.utils.set_random_seed(1)
    expected = random.random()
    keras.utils.set_random_seed(1)
    read_activation(activation)
    assert random.random() == expected
