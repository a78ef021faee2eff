"""`shaped`: the network equals one of transformed activations."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import initialize
from keras_initx._theory.activation import read_activation
from keras_initx._theory.dks import solve_dks
from tests.support.arrays import array
from tests.support.chains import WIDTH, convolutions, dense


def gelu(z):
    from scipy.special import ndtr

    return z * ndtr(z)


class TestShaped:
    @pytest.mark.parametrize(("name", "phi"), [("relu", lambda z: np.maximum(z, 0)), ("gelu", gelu)])
    @pytest.mark.parametrize("depth", [20, 50])
    def test_it_is_the_network_with_transformed_activations(self, name, phi, depth):
        activation = keras.activations.get(name)
        if name == "gelu":
            activation = functools.partial(keras.activations.gelu, approximate=False)
        hidden = [layers.Dense(WIDTH, activation=activation) for _ in range(depth)]
        model = keras.Sequential([keras.Input((WIDTH,)), *hidden, layers.Dense(WIDTH)])
        plan = initialize(model, "shaped", seed=0)
        assert {row.method for row in plan.rows} == {"shaped"}
        transform = solve_dks(read_activation(activation), depth + 1)
        a, b, c, d = (
            transform.input_scale,
            transform.input_shift,
            transform.output_scale,
            transform.output_shift,
        )
        x = np.random.default_rng(0).normal(size=(16, WIDTH)).astype("float32")
        absorbed = transformed = x.astype("float64")
        for number, layer in enumerate(model.layers):
            inner = number < depth
            kernel = array(layer.kernel) / ((a if inner else 1) * (c if number else 1))
            own = kernel.T @ kernel
            size = np.trace(own) / WIDTH
            # Orthogonal, and of the theoretical size up to the error of a finite width.
            assert size == pytest.approx(1, abs=0.25)
            np.testing.assert_allclose(own / size, np.eye(WIDTH), atol=1e-4)
            transformed = transformed @ kernel
            absorbed = absorbed @ array(layer.kernel) + array(layer.bias)
            if inner:
                transformed, absorbed = c * (phi(a * transformed + b) + d), phi(absorbed)
        size = np.sqrt(np.mean(transformed**2))
        assert np.sqrt(np.mean((absorbed - transformed) ** 2)) < 1e-6 * size
        # The model adds the rounding of its sums, layer by layer.
        assert np.sqrt(np.mean((array(model(x)) - transformed) ** 2)) < 1e-5 * size

    def test_borders_of_convolutions_see_no_padding(self):
        model = convolutions(12, "relu")
        initialize(model, "shaped", seed=0)
        constant = np.ones((2, 7, 7, 16), "float32")
        h = constant
        for layer in model.layers[:-2]:
            h = layer(h)
        maps = array(h)
        # Every position has the same inputs; a window that saw the padding would differ at the border.
        np.testing.assert_allclose(maps, np.broadcast_to(maps[:, 3:4, 3:4], maps.shape), atol=1e-5)

    def test_two_inputs_stay_apart(self):
        model = dense(50, "relu")
        initialize(model, "shaped", seed=0)
        h = np.random.default_rng(1).normal(size=(40, WIDTH)).astype("float32")
        for layer in model.layers[:-1]:
            h = layer(h)
        correlation = np.corrcoef(array(h))
        assert np.mean(correlation[np.triu_indices(40, 1)]) < 0.5

    def test_layers_and_activations_out_of_scope(self):
        assert {r.method for r in initialize(dense(6, "relu", use_bias=False), "shaped", seed=0).rows} == {
            "variance"
        }
        assert {r.method for r in initialize(dense(6, "hard_sigmoid"), "shaped", seed=0).rows} == {"variance"}


def test_an_offset_before_the_head():
    stack = [layers.DepthwiseConv2D(3, padding="same", activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((6, 6, 8)), *stack, layers.Flatten(), layers.Dense(4)])
    assert [row.rms_after for row in initialize(model, "shaped", seed=0).rows] == pytest.approx(
        [1] * 4, abs=0.5
    )
