"""Check DKS transforms against SciPy's quadrature of their conditions and in networks that absorb them."""

import itertools
import math

import keras
import numpy as np
import pytest
from scipy import integrate, special

from keras_initx._theory.activation import Activation, read_activation
from keras_initx._theory.dks import DKSTransform, solve_dks
from keras_initx._theory.formulas import FORMULAS
from keras_initx.errors import InitxError
from tests.support.oracles import density

HOMOGENEOUS = ("relu", "leaky_relu")
SMOOTH = ["elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "tanh", "softsign", "sigmoid"]
USERS = {
    "sin": (keras.ops.sin, np.sin),
    "steep": (lambda x: x * keras.ops.sigmoid(1.5 * x), lambda z: z * special.expit(1.5 * z)),
}
WITHOUT_TRANSFORM = ("linear", "relu6", "hard_sigmoid", "hard_tanh", "exponential")


def activation_of(name):
    return read_activation(USERS[name][0] if name in USERS else name)


def conditions(name, transform):
    """Return E phi^, E phi^^2, Q'(1) and C'(1) by QUADPACK, with derivatives by differences."""
    formula, kinks = (USERS[name][1], ()) if name in USERS else (FORMULAS[name][0], FORMULAS[name][1]())
    a, b, c, d = transform.input_scale, transform.input_shift, transform.output_scale, transform.output_shift
    corners = [(kink - b) / a for kink in kinks]

    def phi(x):
        return c * (float(formula(np.array([a * x + b]))[0]) + d)

    def slope(x):
        step = 1e-3 * min(1.0, *(abs(x - corner) / 2.1 for corner in (*corners, 1e9)))
        if step == 0:
            return 0.0
        around = np.array([phi(x + k * step) for k in (-2, -1, 1, 2)])
        return float(around @ np.array([1.0, -8.0, 8.0, -1.0])) / (12 * step)

    def expect(function):
        edges = sorted({-13, -6, -2, 0, 2, 6, 13, *(x for x in corners if abs(x) < 13)})
        return math.fsum(
            integrate.quad(lambda x: function(x) * density(x), low, high, epsabs=1e-12, epsrel=1e-9)[0]
            for low, high in itertools.pairwise(edges)
        )

    return (
        expect(phi),
        expect(lambda x: phi(x) ** 2),
        expect(lambda x: phi(x) * slope(x) * x),
        expect(lambda x: slope(x) ** 2),
    )


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("depth", "zeta"), [(3, 1.1), (10, 10.0), (30, 1.5), (1000, 1.5)])
def test_the_four_conditions_hold(name, depth, zeta):
    mean, square, q_slope, c_slope = conditions(name, solve_dks(activation_of(name), depth, zeta))
    assert mean == pytest.approx(0, abs=1e-7)
    assert square == pytest.approx(1, abs=1e-7)
    assert q_slope == pytest.approx(1, abs=1e-6)
    assert c_slope == pytest.approx(zeta ** (1 / depth), abs=1e-6)


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("depth", [5, 30])
def test_custom_functions_are_solved_to_their_precision(name, depth):
    mean, square, q_slope, c_slope = conditions(name, solve_dks(activation_of(name), depth))
    assert mean == pytest.approx(0, abs=1e-4)
    assert square == pytest.approx(1, abs=1e-4)
    assert q_slope == pytest.approx(1, abs=1e-3)
    assert c_slope - 1 == pytest.approx(1.5 ** (1 / depth) - 1, rel=0.06)


@pytest.mark.parametrize("name", HOMOGENEOUS)
@pytest.mark.parametrize(("depth", "zeta"), [(3, 1.1), (30, 1.5), (1000, 10.0)])
def test_homogeneous_activations_meet_three_conditions_and_are_stable(name, depth, zeta):
    transform = solve_dks(activation_of(name), depth, zeta)
    mean, square, q_slope, c_slope = conditions(name, transform)
    assert transform.input_scale == 1
    assert transform.input_shift > 0
    assert (mean, square) == pytest.approx((0, 1), abs=1e-7)
    assert 0.7 < q_slope < 1
    assert c_slope == pytest.approx(zeta ** (1 / depth), abs=1e-6)


def test_homogeneity_is_recognized_in_custom_functions():
    relu = solve_dks(Activation("relu"), 30)
    custom = solve_dks(read_activation(lambda x: keras.ops.maximum(x, 0)), 30)
    assert custom.input_scale == 1
    assert custom.input_shift == pytest.approx(relu.input_shift, abs=1e-2)
    # With a slope above 1 the negative side is the steeper one.
    mirrored = solve_dks(Activation("leaky_relu", (("negative_slope", 5.0),)), 30)
    assert mirrored.input_shift == pytest.approx(
        -solve_dks(Activation("leaky_relu"), 30).input_shift, abs=1e-6
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_solved_at_every_depth(name):
    for depth, zeta in itertools.product((3, 7, 20, 60, 200, 1000), (1.1, 1.5, 10.0)):
        # Near the slope of a transformed ReLU, 1.467, and above it many activations have no solution.
        if zeta ** (1 / depth) > 1.4:
            continue
        transform = solve_dks(activation_of(name), depth, zeta)
        assert 1e-3 < transform.input_scale < 100
        assert transform.output_scale > 0


@pytest.mark.parametrize("name", WITHOUT_TRANSFORM)
@pytest.mark.parametrize("depth", [10, 100])
def test_activations_without_a_transform_are_refused(name, depth):
    with pytest.raises(InitxError, match=rf"^`activation` '{name}': no c .*fixed length.*another method"):
        solve_dks(activation_of(name), depth)


def test_the_choice_among_several():
    silu = solve_dks(Activation("silu"), 30)
    # The largest a is 0.359 at b = -3.39, where the kernels are 13 times as large.
    assert silu.input_shift == pytest.approx(0.348, abs=1e-3)
    assert silu.input_scale * silu.output_scale < 1.5
    assert solve_dks(Activation("tanh"), 30).input_shift > 0
    assert 0 < solve_dks(activation_of("sin"), 30).input_shift < math.pi / 2
    # The flank with the smaller values wins.
    assert solve_dks(Activation("sigmoid"), 30).input_shift < 0


@pytest.mark.parametrize("name", [*SMOOTH, *HOMOGENEOUS])
def test_weights_absorb_the_transform(name):
    depth, width, rng = 50, 24, np.random.default_rng(7)
    transform = solve_dks(activation_of(name), depth)
    a, b, c, d = transform.input_scale, transform.input_shift, transform.output_scale, transform.output_shift
    formula = FORMULAS[name][0]
    kernels = [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(depth + 1)]
    x = rng.standard_normal((16, width))

    shaped = x @ kernels[0]
    for kernel in kernels[1:]:
        shaped = c * (formula(a * shaped + b) + d) @ kernel

    plain = x @ (a * kernels[0]) + b
    for index, kernel in enumerate(kernels[1:], 1):
        last = index == depth
        scaled = (c if last else a * c) * kernel
        plain = formula(plain) @ scaled + d * scaled.sum(axis=0) + (0 if last else b)

    assert np.max(np.abs(plain - shaped)) < 1e-10
    # With 24 units the signal fluctuates, but it neither dies nor explodes.
    assert 0.1 < np.mean(shaped**2) < 10


def test_the_cache_separates_functions_of_one_name():
    assert solve_dks(Activation("gelu"), 40) is solve_dks(Activation("gelu"), 40)
    first, second = (read_activation(f) for f in (lambda x: keras.ops.tanh(x), lambda x: keras.ops.sin(x)))
    assert first == second
    assert solve_dks(first, 20) != solve_dks(second, 20)
    assert isinstance(solve_dks(first, 20), DKSTransform)


def test_bad_arguments():
    for bad in (0, -3, 2.5, True, None):
        with pytest.raises(InitxError, match=r"^`depth` must be an integer >= 1.*, got "):
            solve_dks(Activation("tanh"), bad)
    for bad in (1, 0.5, math.nan, math.inf, "2"):
        with pytest.raises(InitxError, match=r"^`zeta` must be a finite number > 1, got "):
            solve_dks(Activation("tanh"), 10, zeta=bad)
    for name in ("softmax", "glu"):
        with pytest.raises(InitxError, match="whole row"):
            solve_dks(Activation(name), 10)
    with pytest.raises(InitxError, match="nearer to 1, more layers"):
        solve_dks(Activation("relu"), 3, zeta=10.0)
