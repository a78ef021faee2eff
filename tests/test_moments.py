"""Second moments against scipy's own quadrature of Keras's own functions."""

import math

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from keras_initx import moments
from keras_initx.errors import InitxError

PARAMETERS = {
    "threshold": {"threshold": 0.3, "default_value": -0.4},
}


@pytest.mark.parametrize("name", sorted(set(moments.FORMULAS) - {"glu"}))
def test_formula_is_the_function_of_keras(name):
    given = PARAMETERS.get(name, {})
    z = np.linspace(-8, 8, 4001) + 1e-4  # off the jumps, where float32 rounds to the other side
    with np.errstate(all="ignore"):
        keras_values = keras.ops.convert_to_numpy(
            getattr(keras.activations, name)(keras.ops.convert_to_tensor(z.astype("float32")), **given)
        )
    np.testing.assert_allclose(moments.FORMULAS[name][0](z, **given), keras_values, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("relu", {"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.5}),
        ("leaky_relu", {"negative_slope": 0.4}),
        ("elu", {"alpha": 0.3}),
        ("celu", {"alpha": 2.0}),
        ("gelu", {"approximate": True}),
        ("soft_shrink", {"threshold": 0.2}),
        ("hard_shrink", {"threshold": 0.2}),
        ("squareplus", {"b": 1}),
    ],
)
def test_parameters_mean_what_they_mean_in_keras(name, given):
    z = np.linspace(-5, 5, 2001) + 1e-4
    keras_values = getattr(keras.activations, name)(keras.ops.convert_to_tensor(z.astype("float32")), **given)
    np.testing.assert_allclose(
        moments.FORMULAS[name][0](z, **given), keras.ops.convert_to_numpy(keras_values), rtol=2e-5, atol=2e-6
    )


@pytest.mark.parametrize("name", sorted(moments.FORMULAS))
def test_moment_agrees_with_another_quadrature(name):
    formula, kinks = moments.FORMULAS[name]
    given = PARAMETERS.get(name, {})
    expected, _ = integrate.quad(
        lambda z: float(formula(np.array([z]), **given)[0]) ** 2 * stats.norm.pdf(z),
        -11,
        11,
        points=[*kinks(**given), 0.0],
        limit=400,
        epsabs=1e-13,
    )
    got = moments.second_moment(lambda z: formula(z, **given), kinks(**given), name)
    assert got == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("name", "gain"),
    # FACTS of the field: the square of the exact gains of tanh, sigmoid and SELU; ReLU by hand.
    [("relu", 2.0), ("tanh", 1.5925**2), ("sigmoid", 1.8462**2), ("selu", 1.0), ("linear", 1.0)],
)
def test_known_gains(name, gain):
    formula, kinks = moments.FORMULAS[name]
    assert 1 / moments.second_moment(formula, kinks()) == pytest.approx(gain, rel=1e-4)


def test_closed_form_of_the_leaky_rectifier():
    for slope in (0.0, 0.2, 1.0, 3.0):
        by_quadrature = moments.second_moment(lambda z, a=slope: np.where(z < 0, a * z, z), (0,))
        assert moments.leaky_second_moment(slope) == pytest.approx(by_quadrature, rel=1e-10)


def test_a_jump_nobody_announced_is_found():
    # E[z^2; z > 0.7321] = c pdf(c) + sf(c), by parts.
    c = 0.7321
    assert moments.second_moment(lambda z: np.where(z > c, z, 0.0)) == pytest.approx(
        c * stats.norm.pdf(c) + stats.norm.sf(c), rel=1e-8
    )


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda z: np.exp(np.square(z) / 4), "exists"),
        (lambda z: np.log(z), "finite"),
        (lambda z: z * 0, "not zero everywhere"),
        (lambda z: z * math.nan, "finite"),
    ],
)
def test_a_function_without_a_moment_is_refused(function, says):
    with pytest.raises(InitxError, match=f"phi.*{says}.*gain="):
        moments.second_moment(function, name="phi")
