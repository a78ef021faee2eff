"""Check mirrored pairs against SciPy's quadrature and in networks."""

import math

import keras
import numpy as np
import pytest

from keras_initx._theory.activation import Activation, read_activation
from keras_initx._theory.looks_linear import evenness, odd_part
from keras_initx._theory.mean_field import chi, edge_variance
from keras_initx.errors import InitxError
from tests.support.oracles import NAMES, ODD, activation_of, expect, oracle, orthogonal

pytestmark = pytest.mark.check


@pytest.mark.parametrize("name", NAMES)
def test_evenness_agrees_with_scipy(name):
    _, slope, kinks = oracle(name)
    both = (*kinks, *(-kink for kink in kinks))
    for var in (0.3, 1.0):
        apart = expect(lambda z: (slope(z) - slope(-z)) ** 2, var, both)
        together = expect(lambda z: (slope(z) + slope(-z)) ** 2, var, both)
        assert evenness(activation_of(name), var) == pytest.approx(apart / together, abs=2e-4)


def test_evenness_at_its_ends():
    for name in (*ODD, "sigmoid", "hard_sigmoid", "linear"):
        assert evenness(activation_of(name)) == 0
    assert evenness(Activation("relu")) == pytest.approx(1, abs=1e-9)
    assert evenness(read_activation(lambda x: keras.ops.abs(x))) == math.inf
    # The even part consists of rounding error alone.
    assert evenness(read_activation(lambda x: 1 / (1 + keras.ops.exp(-x)) - 0.5)) < 1e-3


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "gelu", "silu", "softplus", "steep"])
def test_mirrored_pairs_of_these_are_linear_at_any_depth(name):
    assert [edge_variance(odd_part(activation_of(name)), depth) for depth in (2, 30, 1000)] == [1, 1, 1]


def test_a_mirrored_network_is_linear():
    rng, width = np.random.default_rng(5), 30
    h = start = rng.standard_normal((10, width))
    for _ in range(40):
        kernel = orthogonal(rng, width)
        pairs = np.maximum(h @ np.concatenate([kernel, -kernel], axis=1), 0)
        h = pairs @ np.concatenate([np.eye(width), -np.eye(width)])
    assert np.sum(h**2, axis=1) == pytest.approx(np.sum(start**2, axis=1), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_odd_part(name):
    psi = odd_part(activation_of(name))
    assert psi.name.endswith("(-z)")
    z = np.array([-2.5, -0.3, 0.0, 0.7, 7.0])
    phi = oracle(name)[0]
    assert psi.function.function(z) == pytest.approx([phi(x) - phi(-x) for x in z], rel=1e-5, abs=1e-6)
    if name in ODD:
        assert chi(psi, 0.7) == pytest.approx(chi(activation_of(name), 0.7), rel=1e-4)


def test_parameters_matter():
    steep = Activation("leaky_relu", (("negative_slope", 0.5),))
    assert evenness(steep) == pytest.approx((0.5 / 1.5) ** 2)


def test_pairs_of_elu_have_an_edge_of_their_own():
    pair = odd_part(Activation("elu"))
    assert 0 < edge_variance(pair, 1000) < edge_variance(pair, 100) < 1


def test_the_cache_separates_functions_of_one_name():
    first, second = (read_activation(f) for f in (lambda x: keras.ops.tanh(x), lambda x: keras.ops.sin(x)))
    assert edge_variance(odd_part(first), 30) != edge_variance(odd_part(second), 30)


def test_row_wise_activations_have_no_pairs():
    for name in ("softmax", "glu"):
        assert odd_part(Activation(name)) is None
        with pytest.raises(InitxError, match="whole row"):
            evenness(Activation(name))


def test_bad_arguments():
    even = odd_part(read_activation(lambda x: keras.ops.cos(x)))
    assert edge_variance(even, 10) is None
    with pytest.raises(InitxError, match="not zero everywhere"):
        chi(even, 1.0)
    for bad in (0, -1.0, math.nan, "1"):
        with pytest.raises(InitxError, match=r"^`var` must be a finite number > 0, got "):
            evenness(Activation("relu"), bad)
