import functools

import keras
import pytest

from keras_initx._theory.activation import LINEAR, read_activation
from keras_initx.errors import InitxError

pytestmark = pytest.mark.check

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


def test_linear_is_one_object_for_all():
    assert read_activation(None) is LINEAR
