"""Check the moments against SciPy's adaptive quadrature, closed forms and deliberately awkward functions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from keras_initx._theory import moments
from keras_initx._theory.formulas import FORMULAS
from keras_initx._theory.moments import gaussian_moments
from keras_initx.errors import InitxError
from tests.support.oracles import density

pytestmark = pytest.mark.one_backend

ARGUMENTS = {"threshold": {"threshold": 0.3, "default_value": -0.4}}
NAMES = sorted(FORMULAS)


def by_scipy(function, mean, var, kinks):
    """Return E[function(z)] for z ~ N(mean, var) by QUADPACK, split at the kinks and standard deviations."""
    sd = math.sqrt(var)
    edges = sorted(
        {mean + sd * k for k in range(-14, 15)} | {k for k in (0, *kinks) if abs(k - mean) < 14 * sd}
    )
    parts = [
        integrate.quad(
            lambda z: float(function(z)) * density(z, mean, var), a, b, epsabs=1e-15, epsrel=1e-10
        )[0]
        for a, b in itertools.pairwise(edges)
        if b - a > 1e-9
    ]
    return math.fsum(parts)


def slope(function, z, step):
    """Return the derivative by five points, exact for polynomials of degree four."""
    return (
        function(z - 2 * step) - 8 * function(z - step) + 8 * function(z + step) - function(z + 2 * step)
    ) / (12 * step)


@given(
    name=st.sampled_from(NAMES),
    mean=st.floats(-3, 3).map(lambda x: round(x, 3)),
    var=st.floats(-4, 1).map(lambda x: round(10**x, 6)),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_values_agree_with_scipy(name, mean, var):
    formula, kinks_of = FORMULAS[name]
    arguments = ARGUMENTS.get(name, {})
    kinks = kinks_of(**arguments)

    def phi(z):
        return formula(np.asarray([z]), **arguments)[0]

    # Only SciPy gets the kinks: gaussian_moments has to find them.
    result = gaussian_moments(lambda z: formula(z, **arguments), mean, var)
    second = by_scipy(lambda z: phi(z) ** 2, mean, var, kinks)
    assert result.second_moment == pytest.approx(second, rel=1e-8, abs=1e-30)
    assert result.mean == pytest.approx(
        by_scipy(phi, mean, var, kinks), rel=1e-8, abs=1e-8 * math.sqrt(second)
    )
    assert result.error < 1e-7


@given(
    name=st.sampled_from(NAMES),
    mean=st.floats(-2, 2).map(lambda x: round(x, 3)),
    var=st.floats(-2, 1).map(lambda x: round(10**x, 4)),
)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_slopes_agree_with_scipy(name, mean, var):
    formula, kinks_of = FORMULAS[name]
    arguments = ARGUMENTS.get(name, {})
    kinks = kinks_of(**arguments)

    def derivative(z):
        # One-sided steps near a kink would cross it; QUADPACK's nodes never come closer than this.
        near = min((abs(z - k) for k in (*kinks, 0.0)), default=1.0)
        step = min(1e-3, near / 4) or 1e-9
        return slope(lambda x: float(formula(np.asarray([x]), **arguments)[0]), z, step)

    result = gaussian_moments(lambda z: formula(z, **arguments), mean, var)
    second = by_scipy(lambda z: derivative(z) ** 2, mean, var, kinks)
    assert result.slope_second_moment == pytest.approx(second, rel=1e-6, abs=1e-12)
    assert result.slope_mean == pytest.approx(
        by_scipy(derivative, mean, var, kinks), rel=1e-6, abs=1e-7 * math.sqrt(second) + 1e-12
    )


def test_two_of_the_moments_are_tied_by_steins_lemma():
    # E[z phi(z)] = E[phi'(z)], and the left side needs no derivative.
    for name in ("tanh", "gelu", "relu", "softsign", "hard_silu"):
        formula, kinks = FORMULAS[name]
        left = by_scipy(lambda z, f=formula: z * float(f(np.asarray([z]))[0]), 0.0, 1.0, kinks())
        assert gaussian_moments(formula).slope_mean == pytest.approx(left, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "gain"),
    # The squares of the published gains of tanh, sigmoid and SELU; ReLU by hand.
    [("relu", 2.0), ("tanh", 1.5925**2), ("sigmoid", 1.8462**2), ("selu", 1.0), ("linear", 1.0)],
)
def test_known_gains(name, gain):
    formula, kinks = FORMULAS[name]
    assert 1 / gaussian_moments(formula, kinks=kinks()).second_moment == pytest.approx(gain, rel=1e-4)


def test_closed_form_of_the_leaky_rectifier():
    for a in (0.0, 0.2, 1.0, 3.0):
        result = gaussian_moments(lambda z, a=a: np.where(z < 0, a * z, z))
        assert moments.leaky_second_moment(a) == pytest.approx(result.second_moment, rel=1e-12)
        assert moments.leaky_second_moment(a) == pytest.approx(result.slope_second_moment, rel=1e-8)


def test_the_exponential_under_any_variance():
    # E[exp(2z)] = exp(2 var): with var = 100 the integrand peaks at 20 standard deviations.
    for var in (0.25, 1.0, 9.0, 40.0, 100.0):
        result = gaussian_moments(np.exp, 0.0, var)
        assert result.second_moment == pytest.approx(math.exp(2 * var), rel=1e-10)
        assert result.slope_second_moment == pytest.approx(result.second_moment, rel=1e-8)


def test_an_unknown_jump_is_found():
    # E[z^2; z > c] = c pdf(c) + sf(c), by parts; the slope is 1 above c, and backpropagation sees no jump.
    c = 0.7321
    result = gaussian_moments(lambda z: np.where(z > c, z, 0.0))
    assert result.second_moment == pytest.approx(c * stats.norm.pdf(c) + stats.norm.sf(c), rel=1e-9)
    assert result.slope_second_moment == pytest.approx(stats.norm.sf(c), rel=1e-8)


def test_many_unknown_kinks_are_found():
    # A triangular wave with 240 kinks within twelve standard deviations: slope +-5 almost everywhere.
    result = gaussian_moments(lambda z: np.abs(5 * z - np.round(5 * z)))
    assert result.slope_second_moment == pytest.approx(25, rel=1e-7)
    assert result.second_moment == pytest.approx(1 / 12, rel=1e-9)


@pytest.mark.parametrize("at", [0.002, 0.3, 1.998, -0.7])
def test_kinks_and_jumps_anywhere(at):
    above = stats.norm.sf(at)
    step = gaussian_moments(lambda z: np.where(z > at, 2 / 3, 1 / 3))
    assert step.second_moment == pytest.approx(1 / 9 + above / 3, rel=1e-8)
    assert step.slope_second_moment == 0
    kink = gaussian_moments(lambda z: np.maximum(z - at, 0))
    assert kink.slope_second_moment == pytest.approx(above, rel=1e-7)


def test_the_error_estimate_covers_piecewise_linear_functions():
    rng = np.random.default_rng(0)
    for _ in range(300):
        kinks = np.sort(rng.normal(size=3) * rng.choice([0.003, 0.1, 1.0, 2.0]) + rng.choice([0, 1, 2, -1]))
        slopes = rng.normal(size=4)

        def phi(z, kinks=kinks, slopes=slopes):
            bends = (b * np.maximum(z - k, 0) for b, k in zip(np.diff(slopes), kinks, strict=True))
            return 0.3 + slopes[0] * (z - kinks[0]) + sum(bends)

        exact = np.diff(stats.norm.cdf([-np.inf, *kinks, np.inf])) @ np.square(slopes)
        result = gaussian_moments(phi)
        assert abs(result.slope_second_moment / exact - 1) <= 10 * result.error + 1e-9
        assert result.error < 1e-6


def test_a_narrow_feature_counts():
    # A box of height 30 and width 0.02 on a ReLU adds (z + 30)^2 - z^2 within the box.
    result = gaussian_moments(lambda z: np.maximum(z, 0) + 30 * (np.abs(z - 0.33) < 0.01))
    added = integrate.quad(lambda z: (60 * z + 900) * stats.norm.pdf(z), 0.32, 0.34)[0]
    assert result.second_moment == pytest.approx(0.5 + added, rel=1e-7)
    ramp = gaussian_moments(lambda z: np.clip(z - 0.3, 0, 1e-5) * 1e5)
    assert ramp.slope_second_moment == pytest.approx(1e5 * stats.norm.pdf(0.3), rel=1e-3)


def test_steep_functions_in_single_precision():
    for steepness in (30, 1000):
        exact = gaussian_moments(lambda z, s=steepness: np.tanh(s * (z - 0.123)))

        def rounded(z, s=steepness):
            return np.tanh(np.float32(s) * (z.astype("float32") - np.float32(0.123)))

        result = gaussian_moments(rounded)
        assert result.second_moment == pytest.approx(exact.second_moment, rel=1e-5)
        assert result.slope_second_moment == pytest.approx(exact.slope_second_moment, rel=1e-4)


def test_half_precision_has_values_but_no_slopes():
    result = gaussian_moments(lambda z: np.maximum(z.astype("float16"), 0))
    assert result.second_moment == pytest.approx(0.5, rel=2e-3)
    assert math.isnan(result.slope_second_moment)
    assert math.isnan(result.slope_mean)
    assert result.error > 1e-4


def test_a_step_has_no_slope_and_a_root_has_no_finite_one():
    assert gaussian_moments(np.sign).slope_second_moment == 0
    root = gaussian_moments(lambda z: np.sqrt(np.abs(z)))
    assert root.slope_second_moment == math.inf
    # E|z| = sqrt(2 / pi).
    assert root.second_moment == pytest.approx(math.sqrt(2 / math.pi), rel=1e-7)


def test_a_function_that_rounds_to_float32_keeps_six_digits_and_reports_the_error():
    exact = gaussian_moments(np.tanh)
    result = gaussian_moments(lambda z: np.tanh(z.astype("float32")))
    assert result.second_moment == pytest.approx(exact.second_moment, rel=1e-6)
    assert result.slope_second_moment == pytest.approx(exact.slope_second_moment, rel=1e-5)
    assert 1e-9 < result.error < 1e-3
    kinked = gaussian_moments(lambda z: np.maximum(z.astype("float32"), 0))
    assert kinked.slope_second_moment == pytest.approx(0.5, rel=1e-4)


def test_variance_is_never_negative():
    assert gaussian_moments(lambda z: np.full_like(z, 3.0)).variance == pytest.approx(0, abs=1e-12)
    assert gaussian_moments(np.tanh).variance == pytest.approx(0.394294, rel=1e-5)


@pytest.mark.parametrize(
    ("function", "allowed"),
    [
        (lambda z: np.exp(np.square(z) / 4), "exists"),
        (lambda z: np.exp(np.square(z)), "exists"),
        (lambda z: np.log(z), "finite"),
        (lambda z: z * math.nan, "finite"),
        (lambda z: np.random.default_rng().standard_normal(z.shape), "same value"),
    ],
    ids=["exp(z^2/4)", "exp(z^2)", "log", "nan", "random"],
)
def test_a_function_without_moments_is_refused(function, allowed):
    message = rf"^`activation` must be a function .*{allowed}.*, got 'phi'\. Pass gain= to the initializer\.$"
    with pytest.raises(InitxError, match=message):
        gaussian_moments(function, name="phi")
