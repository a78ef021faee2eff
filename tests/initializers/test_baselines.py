import keras
import numpy as np
import pytest

from keras_initx import AllZeros, SmallNormal, UnitUniform
from keras_initx.errors import InitxError
from tests.support.arrays import numpy

pytestmark = pytest.mark.check

L = keras.layers


def test_small_normal_has_its_scale_in_every_layer(assert_std):
    for layer, shape in ((L.Dense(700), (None, 40)), (L.Conv2D(40, 3), (None, 9, 9, 30))):
        layer.kernel_initializer = SmallNormal(scale=0.05, seed=1)
        layer.build(shape)
        assert_std(layer.kernel, 0.05)


def test_unit_uniform_lies_between_zero_and_its_scale():
    values = numpy(UnitUniform(scale=0.5, seed=1)((200, 300)))
    assert 0 <= values.min() < 1e-3
    assert 0.499 < values.max() <= 0.5
    assert values.mean() == pytest.approx(0.25, abs=5 * 0.5 / np.sqrt(12 * values.size))


def test_zeros_are_zeros_and_a_constant_is_constant():
    assert not numpy(AllZeros()((3, 4))).any()
    np.testing.assert_array_equal(numpy(AllZeros(scale=0.5)((3, 4))), np.full((3, 4), 0.5))


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(
    "initializer",
    [SmallNormal(scale=0.05), UnitUniform(), UnitUniform(scale=0.02)],
    ids=["normal", "uniform", "small"],
)
def test_the_verdict_is_what_a_chain_of_layers_measures(initializer, activation):
    width = 128
    layers = [L.Dense(width, activation=activation, kernel_initializer=initializer) for _ in range(6)]
    x = np.random.default_rng(0).standard_normal((200, width))
    signal = []
    for layer in layers:
        layer.build(x.shape)
        pre = x @ numpy(layer.kernel).astype("float64")
        signal.append(np.sqrt(np.mean(np.square(pre))))
        x = np.maximum(pre, 0) if activation else pre
    # From the second layer on, since only there the inputs come from such layers.
    measured = (signal[5] / signal[1]) ** (1 / 4)
    verdict = initializer.bound_to(layers[0], "kernel").verdict((width, width))
    one, ten = (float(text.split()[0].rstrip(",")) for text in verdict.split("by ")[1:])
    assert measured == pytest.approx(one, rel=0.1)
    assert ten == pytest.approx(one**10, rel=0.5)


@pytest.mark.parametrize(
    ("initializer", "word"),
    [
        (SmallNormal(), "vanishing"),
        (SmallNormal(scale=1.0), "exploding"),
        (SmallNormal(scale=0.1), "held"),
        (UnitUniform(), "exploding"),
        (UnitUniform(scale=0.01), "vanishing"),
        (AllZeros(), "symmetric"),
        (AllZeros(scale=0.1), "symmetric"),
    ],
    ids=["small", "large", "right", "unit", "tiny", "zeros", "constant"],
)
def test_verdicts(initializer, word):
    assert initializer.verdict((100, 100)).startswith(word)


def test_the_verdict_of_zeros_is_true():
    # All units are equal before training and after it: the gradient cannot separate them.
    layers = [L.Dense(4, activation="relu", kernel_initializer=AllZeros(scale=0.3)) for _ in range(2)]
    model = keras.Sequential([keras.Input((3,)), *layers, L.Dense(1, kernel_initializer=AllZeros(scale=0.3))])
    model.compile("adam", "mse", jit_compile=False)
    x = np.random.default_rng(0).standard_normal((32, 3))
    model.fit(x, x[:, :1], epochs=3, verbose=0)
    for layer in model.layers[:2]:
        kernel = numpy(layer.kernel)
        np.testing.assert_allclose(kernel, np.broadcast_to(kernel[:, :1], kernel.shape), rtol=1e-4, atol=1e-6)


def test_the_verdict_of_a_look_up_is_its_size():
    bound = SmallNormal(scale=0.3).bound_to(L.Embedding(10, 4), "embeddings")
    assert bound.verdict((10, 4)) == "look-up: the vectors it returns have size 0.3"


@pytest.mark.parametrize("shape", [64, "64,64", (64, -1), (), (64.0, 64)])
def test_a_verdict_needs_a_shape(shape):
    with pytest.raises(InitxError, match="`shape` must be a tuple of integers >= 1, as"):
        SmallNormal().verdict(shape)
