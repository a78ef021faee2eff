"""Check the arguments of all initializers with a gain and a fan: mode, gain, activation, distribution."""

import json

import keras
import numpy as np
import pytest

from keras_initx.errors import InitxError

pytestmark = pytest.mark.check

L = keras.layers


def test_an_activation_survives_the_config(by_activation):
    for activation in ("gelu", keras.activations.gelu, L.LeakyReLU(negative_slope=0.5)):
        again = by_activation.cls.from_config(by_activation.cls(activation=activation).get_config())
        assert again.scale((50, 5)).std == by_activation.cls(activation=activation).scale((50, 5)).std


@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
def test_all_distributions_have_the_same_variance(variance, distribution, assert_std):
    values = variance.cls(distribution=distribution, gain=1.7, mode="fan_in", seed=1)((300, 500))
    assert_std(values, np.sqrt(1.7 / 300))
    spread = float(keras.ops.max(keras.ops.abs(values))) / np.sqrt(1.7 / 300)
    assert {
        "truncated_normal": 2.2 < spread < 2.28,
        "normal": spread > 4,
        "uniform": 1.7 < spread < 1.7321,
    }[distribution]


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_mode_overrides_the_rule(scaled, mode, assert_std):
    fan = {"fan_in": 20, "fan_out": 900, "fan_avg": 460}[mode]
    assert_std(scaled.cls(mode=mode, gain=1.0, seed=1)((20, 900)), np.sqrt(1 / fan))


def test_gain_overrides_the_layer(variance, assert_std):
    layer = L.Dense(40, activation="relu", kernel_initializer=variance.cls(gain=0.3, mode="fan_in"))
    layer.build((None, 900))
    assert_std(layer.kernel, np.sqrt(0.3 / 900))


def test_activation_overrides_the_layer(by_activation, assert_std):
    layer = L.Dense(40, activation="relu", kernel_initializer=by_activation.cls(activation="gelu"))
    layer.build((None, 900))
    # Orthonormal columns have entries of mean square 1 / 900 too.
    assert_std(layer.kernel, np.sqrt(2.35171561 / 900))


def test_outside_any_layer_the_shape_is_read_as_in_keras(scaled, assert_std):
    assert_std(scaled.cls(gain=1.0, mode="fan_in", seed=1)((3, 3, 50, 20)), np.sqrt(1 / 450))


def test_a_bare_variable_falls_back_to_the_shape(scaled, assert_std):
    variable = keras.Variable(scaled.cls(gain=1.0, mode="fan_in"), shape=(500, 30))
    assert_std(variable, np.sqrt(1 / 500))


def test_an_activation_without_a_gain_names_the_layer_and_the_way_out(by_activation):
    def growing(x):
        return keras.ops.exp(x * x)

    layer = L.Dense(3, activation=growing, kernel_initializer=by_activation.cls(), name="bad")
    with pytest.raises(InitxError, match=r"bad/kernel.*growing.*gain="):
        layer.build((None, 4))
    L.Dense(3, activation=growing, kernel_initializer=by_activation.cls(gain=1.0)).build((None, 4))


def test_a_users_function_named_like_one_of_keras_stays_itself(by_activation):
    def elu(x):
        return 3 * x

    keras.saving.register_keras_serializable(package="test")(elu)
    again = by_activation.cls.from_config(
        json.loads(json.dumps(by_activation.cls(activation=elu).get_config()))
    )
    assert again.scale((50, 5)).std == by_activation.cls(activation=elu).scale((50, 5)).std


def test_a_huge_weight_has_a_scale_on_paper(scaled):
    shape = (2**20, 2**14)
    scale = scaled.cls(gain=2.0, mode="fan_in").scale(shape)
    assert scale.fans.fan_in == 2**20
    assert scale.std == pytest.approx(np.sqrt(2 / 2**20))
    table = scaled.cls().bound_to(L.Embedding(2**24, 2**8), "embeddings")
    assert table.scale((2**24, 2**8)).std == 1.0


def test_a_gain_leaves_the_fan_to_the_rule(variance):
    # In the table of he_auto, tanh has Xavier's mean of both fans.
    scale = variance.cls(gain=2.0).bound_to(L.Dense(70, activation="tanh"), "kernel").scale((30, 70))
    expected = {"auto": "fan_in", "lecun_auto": "fan_in"}.get(variance.name, "fan_avg")
    assert scale.mode == expected
    assert scale.std == pytest.approx(np.sqrt(2 / (50 if expected == "fan_avg" else 30)))


def test_an_empty_weight_has_an_empty_scale(scaled):
    bound = scaled.cls(gain=1.0, mode="fan_in").bound_to(L.Dense(5), "kernel")
    assert bound.scale((0, 5)).std == 0
    assert scaled.cls().scale((0, 0)).std == 0


@pytest.mark.parametrize(
    "layer",
    [
        lambda i: L.Dense(3, bias_initializer=i, name="here"),
        lambda i: L.BatchNormalization(gamma_initializer=i, name="here"),
        lambda i: L.PReLU(alpha_initializer=i, name="here"),
    ],
    ids=["bias", "gamma", "alpha"],
)
def test_biases_and_gains_are_refused(scaled, layer):
    with pytest.raises(InitxError, match=r"^here/\w+: `initializer` '\w+' is for kernels, not for"):
        layer(scaled.cls()).build((None, 4))
