"""Check chi, stability and the edge against SciPy's quadrature and in networks."""

import math

import keras
import numpy as np
import pytest

from keras_initx._theory.activation import Activation, read_activation
from keras_initx._theory.mean_field import chi, edge_variance, elementwise, gpn_shift, stability
from keras_initx.errors import InitxError
from tests.support.oracles import NAMES, USERS, activation_of, expect, oracle, orthogonal

pytestmark = pytest.mark.check


def oracle_chi(name, var):
    phi, slope, kinks = oracle(name)
    return var * expect(lambda z: slope(z) ** 2, var, kinks) / expect(lambda z: phi(z) ** 2, var, kinks)


@pytest.mark.parametrize("name", NAMES)
def test_chi_and_stability_agree_with_scipy(name):
    tolerance = 1e-4 if name in USERS else 1e-6
    phi, slope, kinks = oracle(name)
    for var in (0.05, 1.0, 4.0):
        assert chi(activation_of(name), var) == pytest.approx(oracle_chi(name, var), rel=tolerance)
        second = expect(lambda z: phi(z) ** 2, var, kinks)
        expected = expect(lambda z: z * phi(z) * slope(z), var, kinks) / second
        assert stability(activation_of(name), var) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [5, 30, 1000])
def test_edge_is_the_nearest_variance_within_the_budget(name, depth):
    q = edge_variance(activation_of(name), depth)

    def drift(var):
        return (depth - 1) * abs(math.log10(chi(activation_of(name), var)))

    if q is None:
        assert name == "softplus"
        assert min(drift(var) for var in np.logspace(-6, 2, 50)) > 0.2
        return
    allowed = 0.2 * 1.001
    assert drift(q) <= allowed
    if name not in USERS:
        assert (depth - 1) * abs(math.log10(oracle_chi(name, q))) <= allowed + 1e-7 * depth
    reach = abs(math.log10(q))
    for log_q in np.linspace(-min(reach, 6), min(reach, 2), 80) * 0.99:
        assert q == 1 or drift(10**log_q) > 0.2 * 0.999


@pytest.mark.parametrize(
    ("name", "at_30", "at_100"),
    [
        ("relu", 1, 1),
        ("tanh", 0.1505, 0.0703),
        ("selu", 0.1213, 0.0299),
        ("gelu", 0.0288, 0.0076),
        ("sigmoid", 44.05, 45.16),
    ],
)
def test_edges_as_measured(name, at_30, at_100):
    assert edge_variance(activation_of(name), 30) == pytest.approx(at_30, rel=5e-3)
    assert edge_variance(activation_of(name), 100) == pytest.approx(at_100, rel=5e-3)


@pytest.mark.parametrize("name", ["tanh", "selu", "elu", "softsign"])
def test_a_network_at_the_edge_holds_signal_and_gradient(name):
    depth, width, rng = 30, 200, np.random.default_rng(3)
    phi, _ = elementwise(activation_of(name))
    q = edge_variance(activation_of(name), depth)
    gain = math.sqrt(q / activation_of(name).moments(0.0, q).second_moment)
    z = math.sqrt(q) * rng.standard_normal((32, width))
    slopes, kernels = [], []
    for _ in range(depth - 1):
        slopes.append((phi(z + 1e-6) - phi(z - 1e-6)) / 2e-6)
        kernels.append(gain * orthogonal(rng, width))
        z = phi(z) @ kernels[-1]
    last = gradient = rng.standard_normal(z.shape)
    for slope, kernel in zip(reversed(slopes), reversed(kernels), strict=True):
        gradient = (gradient @ kernel.T) * slope
    growth = math.log10(np.mean(gradient**2) / np.mean(last**2))
    # Finite width adds a few hundredths.
    assert growth == pytest.approx((depth - 1) * math.log10(chi(activation_of(name), q)), abs=0.1)
    assert abs(math.log10(np.mean(z**2) / q)) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_gpn_shift_solves_its_equation(name):
    phi, slope, kinks = oracle(name)
    mean, square = expect(phi, 1.0, kinks), expect(lambda z: phi(z) ** 2, 1.0, kinks)
    slope_square = expect(lambda z: slope(z) ** 2, 1.0, kinks)
    d = gpn_shift(activation_of(name))
    assert (mean + d) ** 2 + square - mean**2 == pytest.approx(slope_square, rel=1e-4)
    other = -2 * mean - d
    assert abs(d) <= abs(other) + 1e-4


def test_activations_without_a_gpn_shift():
    # The same text on every processor: no -0.0, no rounding error.
    for name in ("linear", "relu", "leaky_relu"):
        assert str(gpn_shift(Activation(name))) == "0.0"
    assert gpn_shift(Activation("softmax")) is None
    assert gpn_shift(Activation("glu")) is None
    assert gpn_shift(read_activation(lambda x: keras.ops.sign(x))) is None
    # Its jumps, which the gradient does not see, make the variance larger than the squared slope.
    assert gpn_shift(Activation("hard_shrink")) is None


def test_gpn_shift_of_a_negative_mean_is_the_smaller_root():
    # log_sigmoid(z) = -softplus(-z).
    assert gpn_shift(Activation("log_sigmoid")) == pytest.approx(-gpn_shift(Activation("softplus")), rel=1e-9)


def test_deep_networks_have_an_edge():
    for name in ("tanh", "selu", "elu", "softsign", "sin"):
        assert 1e-4 < edge_variance(activation_of(name), 1000) < edge_variance(activation_of(name), 100) < 1


def test_the_cache_separates_functions_of_one_name():
    first, second = (read_activation(f) for f in (lambda x: keras.ops.tanh(x), lambda x: keras.ops.sin(x)))
    assert first == second
    assert edge_variance(first, 30) != edge_variance(second, 30)


def test_parameters_matter():
    small, large = (Activation("elu", (("alpha", alpha),)) for alpha in (0.5, 2.0))
    assert edge_variance(small, 30) != edge_variance(large, 30)


def test_row_wise_activations_have_no_edge():
    for name in ("softmax", "glu"):
        assert edge_variance(Activation(name), 10) is None
        for refused in (chi, stability):
            with pytest.raises(InitxError, match="whole row"):
                refused(Activation(name), 1.0)


def test_bad_arguments():
    for bad in (0, 2.5, True, None):
        with pytest.raises(InitxError, match=r"^`depth` must be an integer >= 1.*, got "):
            edge_variance(Activation("tanh"), bad)
    for bad in (0, -1.0, math.nan, "1"):
        with pytest.raises(InitxError, match=r"^`budget` must be a finite number > 0, got "):
            edge_variance(Activation("tanh"), 10, budget=bad)
        with pytest.raises(InitxError, match=r"^`var` must be a finite number > 0, got "):
            chi(Activation("tanh"), bad)
