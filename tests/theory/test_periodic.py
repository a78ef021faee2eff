"""Check the measured periods against functions whose period is known."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from scipy.optimize import brentq
from scipy.stats import norm

from keras_initx._theory.activation import Activation, read_activation
from keras_initx._theory.periodic import in_natural_units, kernel_gain, natural_std, period, siren_variance

pytestmark = pytest.mark.check

PERIODIC = {
    "cos": (lambda z: ops.cos(7 * z), 7),
    "square": (lambda z: ops.sin(5 * z) ** 2, 10),
    "harmonics": (lambda z: ops.sin(z) + 0.5 * ops.cos(3 * z), 1),
    "two waves": (lambda z: ops.sin(2 * z) + ops.sin(3 * z), 1),
    "triangle": (lambda z: ops.abs(z - ops.round(z)), 2 * math.pi),
    "inside": (lambda z: ops.exp(ops.sin(4 * z)), 4),
    "half": (lambda z: ops.relu(ops.sin(3 * z)), 3),
}
OTHERS = {
    "linear": lambda z: 2 * z,
    "constant": lambda z: 0 * z + 1,
    "tanh": lambda z: ops.tanh(z),
    "step": lambda z: ops.cast(z > 0, z.dtype),
    "snake": lambda z: z + ops.sin(10 * z) ** 2 / 10,
    "gabor": lambda z: ops.cos(20 * z) * ops.exp(-z * z),
    "almost": lambda z: ops.sin(z) + ops.sin(math.sqrt(2) * z),
    "growing": lambda z: z * ops.sin(z),
    "exponential": lambda z: ops.exp(z),
    "bounded part": lambda z: ops.sin(3 * ops.clip(z, -3, 3)),
}


@pytest.mark.parametrize("frequency", [0.02, 1, 30, 3000, 1e5])
def test_any_frequency_of_a_sine(frequency):
    found = period(read_activation(lambda z: ops.sin(frequency * z)))
    assert found == pytest.approx(2 * math.pi / frequency, rel=2e-6)


@pytest.mark.parametrize("name", PERIODIC)
def test_the_form_of_the_function_does_not_matter(name):
    function, frequency = PERIODIC[name]
    assert natural_std(read_activation(function)) == pytest.approx(1 / frequency, rel=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_functions_that_are_not_periodic(name):
    activation = read_activation(OTHERS[name])
    assert period(activation) is None
    assert natural_std(activation) == 1
    assert in_natural_units(activation) is activation


@pytest.mark.parametrize("name", ["cos", "harmonics", "two waves", "half"])
def test_the_variances_of_siren(name):
    activation = in_natural_units(read_activation(PERIODIC[name][0]))
    phi = activation.function.function
    # The trapezoidal rule is very exact for functions that are periodic, or vanish at the ends.
    phases, u = np.arange(20_000) * 2 * math.pi / 20_000, np.linspace(-9, 9, 40_001)
    mean_square = np.mean(phi(phases) ** 2)
    first, second, third = (siren_variance(activation, layers) for layers in (1, 2, 3))
    assert first == 1
    for variance, following in ((first, second), (second, third)):
        moment = np.trapezoid(phi(u) ** 2 * norm.pdf(u, scale=math.sqrt(variance)), u)
        assert following == pytest.approx(moment / mean_square, rel=1e-3)


@pytest.mark.parametrize(("function", "sign"), [(ops.sin, -1), (ops.cos, 1)], ids=["sin", "cos"])
def test_the_variance_of_many_layers(function, sign):
    # E[cos(2 u)] = exp(-2 v).
    expected = brentq(lambda v: 1 + sign * math.exp(-2 * v) - v, 0.5, 2)
    activation = in_natural_units(read_activation(lambda z: function(30 * z)))
    assert siren_variance(activation, 40) == pytest.approx(expected, rel=1e-4)


def test_variances_that_vanish():
    # Each layer lowers a small variance further: the function is flat at 0.
    assert siren_variance(read_activation(lambda z: (1 - ops.cos(z)) ** 3), 9) == 1
    assert siren_variance(Activation("tanh"), 9) == 1


def test_named_activations_are_not_periodic():
    for name in ("relu", "tanh", "softmax", "glu"):
        assert period(Activation(name)) is None


def test_a_layer_is_measured_too():
    class Sine(keras.layers.Layer):
        def call(self, x):
            return ops.sin(12 * x)

    assert natural_std(read_activation(Sine())) == pytest.approx(1 / 12)


def test_the_gain_holds_the_natural_variance():
    # The exact value: E[sin(u)^2] = (1 - exp(-2)) / 2 for u ~ N(0, 1).
    exact = 2 / (1 - math.exp(-2))
    for frequency in (0.1, 1, 30):
        gain = kernel_gain(read_activation(lambda z: ops.sin(frequency * z)))  # noqa: B023
        assert gain * frequency**2 == pytest.approx(exact, rel=1e-5)
    assert kernel_gain(Activation("relu")) == 2


def test_natural_units():
    activation = read_activation(lambda z: ops.sin(30 * z))
    psi = in_natural_units(activation)
    u = np.array([-2.0, 0.1, 1.0])
    assert psi.function.function(u) == pytest.approx(np.sin(u), abs=1e-5)
    assert natural_std(psi) == 1
    assert psi.function != activation.function
