import numpy as np
import pytest

from keras_initx._theory.piecewise import TooRough, pieces

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

NODES = np.array([-0.9, 0.1, 0.7])


def test_kinks_are_found_where_they_are():
    cut = pieces(lambda z: np.abs(z - 0.3) + np.where(z > 1.7, 1.0, 0.0), [-3, 3])
    near = np.unique(np.round(cut.kinks, 6))
    np.testing.assert_allclose(near, [0.3, 1.7])


def test_the_pieces_cover_everything_once():
    cut = pieces(lambda z: np.tanh(3 * z) + np.abs(z - 0.1), [-5, 0, 5])
    assert (cut.low[0], cut.high[-1]) == (-5, 5)
    np.testing.assert_array_equal(cut.high[:-1], cut.low[1:])


def test_the_derivative_of_a_smooth_function():
    cut = pieces(np.sin, [-4, 4])
    z = cut.low[:, None] + (cut.high - cut.low)[:, None] / 2 * (1 + NODES)
    np.testing.assert_allclose(cut.derivative(NODES), np.cos(z), atol=1e-9)
    assert not cut.kink.any()


def test_the_derivative_of_each_side_at_a_kink():
    cut = pieces(lambda z: np.where(z < 0.3, -z, 2 * z), [-1, 1])
    slopes = cut.derivative(NODES)
    middle = (cut.low + cut.high) / 2
    # The last pieces before the kink are 1e-9 wide, so values of precision 1e-16 leave about five digits.
    np.testing.assert_allclose(slopes[(middle < 0.3) & ~cut.kink], -1, atol=1e-4)
    np.testing.assert_allclose(slopes[(middle > 0.3) & ~cut.kink], 2, atol=1e-4)
    left, right = cut.sides()
    assert (left.slope, right.slope) == pytest.approx((-1, 2), abs=1e-4)
    assert left.at == right.at == pytest.approx(0.3, abs=1e-8)
    assert left.growth < 1e-3
    assert right.growth < 1e-3


@pytest.mark.parametrize("power", [0.5, 0.7])
def test_a_pole_of_the_slope_has_its_exponent(power):
    # d/dz |z - c|^a ~ |z - c|^(a - 1), squared.
    for side in pieces(lambda z: np.abs(z - 0.37) ** power, [-1, 1]).sides():
        assert side.growth == pytest.approx(2 - 2 * power, abs=0.05)


@pytest.mark.parametrize("at", [0.002, -0.0005, 1.998, 0.9999])
def test_a_kink_close_to_an_edge_is_found(at):
    for function in (lambda z: np.maximum(z - at, 0), lambda z: np.where(z > at, 1.0, 0.0)):
        assert pieces(function, [-2, -1, 0, 1, 2]).kinks == pytest.approx(at, abs=1e-8)


def test_a_narrow_ramp_between_two_kinks_is_found():
    cut = pieces(lambda z: np.clip(z - 0.3, 0, 1e-5) * 1e5, [-2, -1, 0, 1, 2])
    assert np.max(cut.derivative(NODES)) == pytest.approx(1e5, rel=1e-3)


def test_a_constant_has_a_slope_of_exactly_zero():
    cut = pieces(lambda z: np.where(z > 0.3, 2 / 3, 1 / 3), [-2, 0, 2])
    assert not cut.derivative(NODES).any()


def test_the_noise_of_single_precision_is_seen():
    assert pieces(np.tanh, [-2, -1, 0, 1, 2]).rounding < 1e-14
    rounded = pieces(lambda z: np.tanh(z.astype("float32")), [-2, -1, 0, 1, 2])
    assert 1e-9 < rounded.rounding < 1e-6


@pytest.mark.parametrize(("dtype", "noise"), [("float32", 6e-8), ("float16", 4.9e-4)])
def test_the_precision_of_the_values_is_read_where_rounding_shows_nothing(dtype, noise):
    # Straight lines round to themselves at many points.
    cut = pieces(lambda z: np.maximum(z.astype(dtype), np.dtype(dtype).type(0)), [-2, -1, 0, 1, 2])
    assert cut.rounding == pytest.approx(noise, rel=0.1)


def test_a_constant_is_one_piece():
    assert len(pieces(np.zeros_like, [0, 1]).low) == 1


@pytest.mark.parametrize(
    "function", [np.log, lambda z: np.random.default_rng().uniform(size=z.shape)], ids=["log", "random"]
)
def test_functions_without_pieces_are_refused(function):
    with pytest.raises(TooRough, match="a function"):
        pieces(function, [-1, 1])
