"""Check gains and moments against SciPy, and the errors for activations without them."""

import functools
import math

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from keras_initx import InitxError, activation_moments, gain
from tests.support.oracles import density

pytestmark = pytest.mark.check

L = keras.layers
# A function that computes in float32, as every function on JAX, keeps six digits.
DIGITS = 1e-5


def expectation(function):
    return integrate.quad(lambda z: function(z) * density(z), -12, 12, points=[0.0], limit=200)[0]


def test_forward_and_backward():
    assert gain("relu") == gain("relu", mode="backward") == 2.0
    assert gain("tanh") == pytest.approx(1 / expectation(lambda z: math.tanh(z) ** 2), rel=1e-9)
    squared = expectation(lambda z: (1 - math.tanh(z) ** 2) ** 2)
    assert gain("tanh", mode="backward") == pytest.approx(1 / squared, rel=1e-9)
    assert gain(None) == gain("linear") == gain("softmax") == gain("softmax", "backward") == 1.0


@pytest.mark.parametrize(
    ("activation", "forward", "backward"),
    [
        (L.LeakyReLU(negative_slope=0.5), 1.6, 1.6),
        (L.PReLU(alpha_initializer=keras.initializers.Constant(0.25)), 2 / 1.0625, 2 / 1.0625),
        (L.ReLU(max_value=1e9), 2.0, 2.0),
        (functools.partial(keras.activations.leaky_relu, negative_slope=0.1), 2 / 1.01, 2 / 1.01),
    ],
    ids=["leaky", "prelu", "capped", "partial"],
)
def test_parameters_of_the_relu_family(activation, forward, backward):
    assert gain(activation) == pytest.approx(forward, rel=1e-8)
    assert gain(activation, mode="backward") == pytest.approx(backward, rel=1e-7)


def test_the_alpha_of_elu():
    for alpha in (0.3, 2.0):

        def elu(z, alpha=alpha):
            return z if z > 0 else alpha * math.expm1(z)

        def slope(z, alpha=alpha):
            return 1 if z > 0 else alpha * math.exp(z)

        for activation in (L.ELU(alpha=alpha), functools.partial(keras.activations.elu, alpha=alpha)):
            assert gain(activation) == pytest.approx(1 / expectation(lambda z: elu(z) ** 2), rel=1e-9)
            backward = gain(activation, mode="backward")
            assert backward == pytest.approx(1 / expectation(lambda z: slope(z) ** 2), rel=1e-8)


def test_both_gelus():
    def exact(z):
        return z * stats.norm.cdf(z)

    def approximate(z):
        return z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    activation = functools.partial(keras.activations.gelu, approximate=True)
    assert gain(activation) == pytest.approx(1 / expectation(lambda z: approximate(z) ** 2), rel=1e-9)
    assert gain("gelu") == pytest.approx(1 / expectation(lambda z: exact(z) ** 2), rel=1e-9)
    assert gain(activation) != gain("gelu")


def test_a_gated_linear_unit_by_monte_carlo():
    rows = np.random.default_rng(0).standard_normal((200_000, 2)).astype("float32") * 1.5 + 0.4
    out = keras.ops.convert_to_numpy(keras.activations.glu(keras.ops.convert_to_tensor(rows)))
    moments = activation_moments("glu", mean=0.4, var=2.25)
    assert moments.second_moment == pytest.approx(np.mean(np.square(out)), rel=0.02)
    assert moments.mean == pytest.approx(np.mean(out), rel=0.02)
    # d/da = sigmoid(b), d/db = a sigmoid'(b): the mean over both halves, by hand.
    gate = 1 / (1 + np.exp(-rows[:, 1]))
    squares = (np.mean(gate**2) + np.mean((rows[:, 0] * gate * (1 - gate)) ** 2)) / 2
    assert moments.slope_second_moment == pytest.approx(squares, rel=0.02)
    slopes = (np.mean(gate) + np.mean(rows[:, 0] * gate * (1 - gate))) / 2
    assert moments.slope_mean == pytest.approx(slopes, rel=0.01)
    assert gain(functools.partial(keras.activations.glu, axis=-1)) == gain("glu")


def test_moments_under_another_gaussian():
    # ReLU of N(0, 4): E phi = 2 / sqrt(2 pi), E phi^2 = 2, and half of the slopes are 1.
    moments = activation_moments("relu", var=4)
    assert moments.second_moment == pytest.approx(2, rel=1e-9)
    assert moments.mean == pytest.approx(2 / math.sqrt(2 * math.pi), rel=1e-9)
    assert moments.variance == pytest.approx(2 - 4 / (2 * math.pi), rel=1e-9)
    assert (moments.slope_mean, moments.slope_second_moment) == pytest.approx((0.5, 0.5))
    shifted = activation_moments("relu", mean=1.0)
    assert shifted.slope_mean == pytest.approx(stats.norm.cdf(1.0), rel=1e-8)


def test_every_activation_of_keras_has_gains():
    for name in dir(keras.activations):
        function = getattr(keras.activations, name)
        if name.islower() and name[0] != "_" and name not in ("get", "serialize", "deserialize", "threshold"):
            assert gain(function) > 0
            assert gain(function, mode="backward") > 0


@pytest.mark.parametrize(
    ("activation", "mode", "message"),
    [
        ("rleu", "forward", "^`activation` 'rleu' is not known.*Did you mean 'relu'"),
        ("relu", "sideways", "^`mode` must be 'forward' or 'backward', got 'sideways'"),
        (lambda x: 0 * x, "forward", "a function that is not zero everywhere, got '<lambda>'.*gain="),
        (lambda x: keras.ops.sign(x), "backward", "a function whose slope is not zero everywhere"),
        (lambda x: keras.ops.sqrt(keras.ops.abs(x)), "backward", "phi'.*exists"),
        # In float32, as on JAX, it overflows before its growth can be measured.
        (lambda x: keras.ops.exp(x * x), "forward", "exists|finite"),
        (lambda x: x / 0, "forward", "finite"),
        (lambda x: keras.ops.softmax(x), "forward", "elementwise"),
        (lambda x: x[:, :1] * keras.ops.sigmoid(x[:, 1:]), "forward", "half as many columns, as a gat"),
        ("threshold", "forward", r"'threshold' does not work with its arguments.*functools.partial"),
        (keras.activations.threshold, "forward", r"'threshold' does not work.*functools.partial"),
        (
            functools.partial(keras.activations.gelu, alpha=2),
            "forward",
            "unexpected keyword argument 'alpha'",
        ),
        (L.LeakyReLU(negative_slope=float("nan")), "forward", "'leaky_relu'.* nan is not a finite number"),
        (
            functools.partial(keras.activations.elu, alpha="a"),
            "forward",
            "'elu' does not work.*'a'.*finite number",
        ),
        (functools.partial(keras.activations.softmax, foo=1), "forward", "unexpected keyword argument 'foo'"),
        (L.LeakyReLU, "forward", r"`activation` 'LeakyReLU' is a class.*Pass an instance: LeakyReLU\(\)"),
        ("swiglu", "forward", "gates one kernel's output with another's: both are linear layers"),
    ],
    ids=[
        "typo",
        "mode",
        "zero",
        "flat",
        "root",
        "growing",
        "nan",
        "row",
        "gated",
        "name",
        "function",
        "keyword",
        "nan slope",
        "text",
        "softmax keyword",
        "class",
        "swiglu",
    ],
)
def test_activations_without_a_gain_are_refused(activation, mode, message):
    with pytest.raises(InitxError, match=message):
        gain(activation, mode=mode)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"var": 0}, "^`var` must be a finite number > 0, got 0"),
        ({"var": float("nan")}, "^`var` must be a finite number, got nan"),
        ({"mean": "1"}, "^`mean` must be a finite number, got '1'"),
        ({"mean": float("inf")}, "^`mean` must be a finite number, got inf"),
    ],
    ids=["zero", "nan", "text", "infinite"],
)
def test_bad_gaussians(changes, message):
    with pytest.raises(InitxError, match=message):
        activation_moments("relu", **changes)


def test_a_number_of_numpy_is_a_number():
    assert activation_moments("relu", mean=np.float64(0), var=np.float32(4)).second_moment == pytest.approx(2)
    activation = functools.partial(keras.activations.leaky_relu, negative_slope=np.array([0.5]))
    assert gain(activation) == pytest.approx(1.6)


def test_softmax_has_no_moments():
    with pytest.raises(InitxError, match=r"softmax.*whole row"):
        activation_moments("softmax")
