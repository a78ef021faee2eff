import numpy as np
import pytest

from keras_initx.pieces import TooRough, pieces

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
    np.testing.assert_allclose(slopes[(middle < 0.3) & ~cut.kink], -1, atol=1e-6)
    np.testing.assert_allclose(slopes[(middle > 0.3) & ~cut.kink], 2, atol=1e-6)
    assert set(np.round(slopes[cut.kink].ravel(), 3)) <= {-1.0, 2.0}


def test_the_noise_of_single_precision_is_seen():
    assert pieces(np.tanh, [-2, -1, 0, 1, 2]).noise < 1e-14
    rounded = pieces(lambda z: np.tanh(z.astype("float32")), [-2, -1, 0, 1, 2])
    assert 1e-9 < rounded.noise < 1e-6


def test_a_constant_is_one_piece():
    assert len(pieces(np.zeros_like, [0, 1]).low) == 1


@pytest.mark.parametrize(
    "function", [np.log, lambda z: np.random.default_rng().uniform(size=z.shape)], ids=["log", "random"]
)
def test_what_has_no_pieces_says_so(function):
    with pytest.raises(TooRough, match="a function"):
        pieces(function, [-1, 1])
