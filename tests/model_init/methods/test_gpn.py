"""`gpn`: sigmoid networks keep their signal, inside and at the borders of convolutions."""

import numpy as np
import pytest
from keras import layers

from keras_initx import initialize
from keras_initx._theory.activation import read_activation
from keras_initx._theory.mean_field import gpn_shift
from tests.support.arrays import array
from tests.support.chains import dense, follow, spread


class TestGpn:
    @pytest.mark.parametrize("use_bias", [True, False])
    def test_sigmoid_holds_with_a_bias_and_without(self, use_bias):
        model = dense(50, "sigmoid", use_bias=use_bias)
        initialize(model, "gpn", seed=0)
        assert np.all(np.abs(spread(model, "sigmoid")) < 0.3)
        if use_bias:
            # The same network without the shift does not hold.
            initialize(model, "variance", seed=0)
            assert np.max(np.abs(spread(model, "sigmoid"))) > 10

    def test_the_bias_is_the_shift_times_the_column_sums(self):
        model = dense(6, "sigmoid")
        initialize(model, "gpn", seed=0)
        d = gpn_shift(read_activation("sigmoid"))
        kernel = array(model.layers[3].kernel)
        np.testing.assert_allclose(array(model.layers[3].bias), d * kernel.sum(axis=0), rtol=1e-3, atol=1e-5)
        assert not array(model.layers[0].bias).any()


def response(model, x):
    """Return log10 of the mean square change of the outputs over the mean square of a small random step."""
    step = 1e-2 * np.random.default_rng(5).standard_normal(x.shape).astype("float32")
    return np.log10(np.mean((array(model(x + step)) - array(model(x))) ** 2) / np.mean(step**2))


@pytest.mark.parametrize("method", ["auto", "gpn", "shaped"])
@pytest.mark.parametrize(
    "unit",
    [
        lambda n: layers.Conv2DTranspose(6 + n % 2, 3, padding="same", activation="sigmoid"),
        lambda n: layers.EinsumDense("ab,cb->ac", 16, bias_axes="c", activation="sigmoid"),
        lambda n: layers.DepthwiseConv2D(3, padding="same", activation="sigmoid"),
        lambda n: layers.SeparableConv2D(6, 3, padding="same", activation="sigmoid"),
    ],
    ids=["transposed", "einsum", "depthwise", "separable"],
)
def test_layers_that_cannot_carry_a_shift_get_none(unit, method):
    stack = [unit(n) for n in range(12)]
    shape = (16,) if isinstance(stack[0], layers.EinsumDense) else (6, 6, 6)
    model, _ = follow(*stack, shape=shape)
    plan = initialize(model, method, seed=0)
    assert {row.method for row in plan.rows} <= {"variance", "edge"}
    for layer in model.layers:
        assert not np.any(array(layer.bias))


class Own(layers.Dense):
    pass


class Called(layers.Dense):
    def call(self, inputs, training=None):
        return super().call(inputs)


@pytest.mark.parametrize(("kind", "is_dense"), [(Own, True), (Called, False)])
def test_a_subclass_counts_as_its_base_unless_it_overrides_call(kind, is_dense):
    model, _ = follow(*(kind(32, activation="sigmoid") for _ in range(12)), shape=(32,))
    assert ("gpn" in {row.method for row in initialize(model, "auto", seed=0).rows}) is is_dense


def test_sigmoid_convolutions_keep_their_signal_at_the_border():
    stack = [layers.Conv2D(32, 3, padding="same", activation="sigmoid") for _ in range(20)]
    model, x = follow(*stack, shape=(8, 8, 32))
    initialize(model, "auto", seed=0)
    # A wrong bias at the border would lower the response by 1.5 decades here.
    plain = response(model, x)
    initialize(model, "gpn", seed=0)
    assert plain == pytest.approx(response(model, x), abs=0.3)
