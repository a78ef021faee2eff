"""Check the fans with white noise through real layers; the tests share no formula with the source."""

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.initializers.fans import Fans, Geometry, einsum_axes, from_shape

pytestmark = pytest.mark.check

L = keras.layers
UNIT = {"distribution": "normal", "gain": 1.0, "mode": "fan_in"}


def unit(**changes):
    import keras_initx

    return keras_initx.Auto(**{**UNIT, **changes})


# (layer, input shape, trim): `trim` cuts off the border, where padding replaces some of the inputs.
LAYERS = {
    "dense": (lambda: L.Dense(40, kernel_initializer=unit()), (300,), 0),
    "conv1d": (lambda: L.Conv1D(48, 5, kernel_initializer=unit()), (40, 16), 0),
    "conv2d": (lambda: L.Conv2D(32, 3, kernel_initializer=unit()), (16, 16, 24), 0),
    "conv2d_strided": (lambda: L.Conv2D(32, 3, strides=2, kernel_initializer=unit()), (17, 17, 24), 0),
    "conv3d": (lambda: L.Conv3D(16, 3, kernel_initializer=unit()), (8, 8, 8, 6), 0),
    "grouped": (lambda: L.Conv2D(32, 3, groups=4, kernel_initializer=unit()), (12, 12, 64), 0),
    "depthwise1d": (
        lambda: L.DepthwiseConv1D(7, depth_multiplier=3, depthwise_initializer=unit()),
        (64, 96),
        0,
    ),
    "depthwise2d": (
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, depthwise_initializer=unit()),
        (12, 12, 96),
        0,
    ),
    "separable1d": (
        lambda: L.SeparableConv1D(
            64, 5, depth_multiplier=2, depthwise_initializer=unit(), pointwise_initializer=unit()
        ),
        (40, 64),
        0,
    ),
    "separable2d": (
        lambda: L.SeparableConv2D(64, 3, depthwise_initializer=unit(), pointwise_initializer=unit()),
        (12, 12, 96),
        0,
    ),
    "transposed1d": (lambda: L.Conv1DTranspose(12, 5, kernel_initializer=unit()), (48, 64), 8),
    "transposed2d": (lambda: L.Conv2DTranspose(8, 3, kernel_initializer=unit()), (14, 14, 64), 4),
    "transposed2d_strided": (
        lambda: L.Conv2DTranspose(8, 4, strides=2, kernel_initializer=unit()),
        (12, 12, 96),
        4,
    ),
    "transposed3d": (lambda: L.Conv3DTranspose(6, 2, strides=2, kernel_initializer=unit()), (6, 6, 6, 48), 2),
    "depthwise2d_strided": (
        lambda: L.DepthwiseConv2D(3, strides=2, padding="same", depthwise_initializer=unit()),
        (16, 16, 96),
        2,
    ),
    "einsum": (lambda: L.EinsumDense("abc,cde->abde", (None, 4, 16), kernel_initializer=unit()), (9, 80), 0),
    "einsum_joined": (
        lambda: L.EinsumDense("abcd,cde->abe", (None, 48), kernel_initializer=unit()),
        (9, 4, 32),
        0,
    ),
    "einsum_per_head": (
        lambda: L.EinsumDense("abc,bcd->abd", (6, 24), kernel_initializer=unit()),
        (6, 200),
        0,
    ),
}


def test_the_pre_activations_of_every_gate_have_variance_one():
    cells = ((L.LSTMCell(60, kernel_initializer=unit()), 4), (L.GRUCell(60, kernel_initializer=unit()), 3))
    for cell, gates in cells:
        cell.build((None, 250))
        noise = np.random.default_rng(0).standard_normal((2000, 250)).astype("float32")
        gate = np.split(noise @ keras.ops.convert_to_numpy(cell.kernel), gates, axis=1)
        # With 250 x 60 weights the standard error of the variance is 0.012.
        assert [np.mean(np.square(g)) for g in gate] == pytest.approx([1] * gates, abs=0.06)
        # Backward, from a gate to the inputs, with fan_out.
        cell = type(cell)(60, kernel_initializer=unit(mode="fan_out"))
        cell.build((None, 250))
        for kernel in np.split(keras.ops.convert_to_numpy(cell.kernel), gates, axis=1):
            back = noise[:, :60] @ kernel.T
            assert np.mean(np.square(back)) == pytest.approx(1, abs=0.06)


def test_looked_up_vectors_have_variance_one():
    layer = L.Embedding(500, 60, embeddings_initializer=unit())
    out = keras.ops.convert_to_numpy(layer(np.arange(500)[None]))
    assert np.mean(np.square(out)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", LAYERS)
def test_white_noise_keeps_its_variance_forward(kind):
    make, shape, trim = LAYERS[kind]
    ratios = []
    for draw in range(6):
        noise = np.random.default_rng(draw).standard_normal((64, *shape)).astype("float32")
        out = keras.ops.convert_to_numpy(make()(noise))
        if trim:
            out = out[(slice(None), *(slice(trim, -trim) for _ in shape[:-1]))]
        ratios.append(np.mean(np.square(out, dtype="float64")))
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) <= max(5 * error, 0.03), ratios


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses TensorFlow's gradient tape")
@pytest.mark.parametrize(
    "kind",
    [
        "dense",
        "conv2d",
        "conv2d_strided",
        "grouped",
        "depthwise2d",
        "depthwise2d_strided",
        "transposed2d_strided",
        "einsum",
        "einsum_joined",
    ],
)
def test_white_noise_keeps_its_variance_backward(kind):
    import tensorflow as tf

    make, shape, _ = LAYERS[kind]
    ratios = []
    for draw in range(6):
        rng = np.random.default_rng(draw)
        layer = make()
        for name in ("kernel_initializer", "depthwise_initializer"):
            if hasattr(layer, name):
                setattr(layer, name, unit(mode="fan_out"))
        # Larger inputs than in the forward test, so that little of the gradient leaves at the border.
        size = tuple(4 * s if len(shape) > 2 and i < len(shape) - 1 else s for i, s in enumerate(shape))
        x = tf.constant(rng.standard_normal((2, *size)), "float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x)
            loss = tf.reduce_sum(out * rng.standard_normal(out.shape).astype("float32"))
        gradient = tape.gradient(loss, x).numpy()
        if len(shape) > 2 and kind not in ("einsum", "einsum_joined"):
            gradient = gradient[(slice(None), *(slice(4, -4) for _ in shape[:-1]))]
        ratios.append(np.mean(np.square(gradient, dtype="float64")))
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) <= max(5 * error, 0.03), ratios


def test_a_bare_shape_is_read_as_in_keras():
    assert from_shape(()) == Fans(1, 1)
    assert from_shape((7,)) == Fans(7, 7)
    assert from_shape((7, 300)) == Fans(7, 300)
    assert from_shape((3, 5, 4, 64)) == Fans(60, 960)


@pytest.mark.parametrize(
    ("equation", "inputs", "outputs"),
    [
        ("ab,bc->ac", (0,), (1,)),
        ("abc,cde->abde", (0,), (1, 2)),
        ("abcd,cde->abe", (0, 1), (2,)),
        ("...x,xy->...y", (0,), (1,)),
        ("abc, bcd -> abd", (1,), (2,)),
    ],
)
def test_einsum_axes(equation, inputs, outputs):
    assert einsum_axes(equation) == (inputs, outputs)


def test_a_look_up_adds_nothing_up():
    assert Geometry("lookup").fans((1000, 32)) == Fans(1, 1)
    # A tied table projects features to logits. Backward it counts as a look-up too.
    assert Geometry("tied_lookup").fans((1000, 32)) == Fans(32, 32)


def test_the_depthwise_half_of_a_separable_convolution_strides():
    layer = L.SeparableConv2D(8, 3, strides=2)
    scale = keras_initx.LecunAuto().bound_to(layer, "depthwise_kernel").scale((3, 3, 64, 4))
    assert scale.fans == Fans(9, 9 * 4 / 4)
    scale = keras_initx.LecunAuto().bound_to(layer, "pointwise_kernel").scale((1, 1, 256, 8))
    assert scale.fans == Fans(256, 8)


def test_fused_gates_are_separate_kernels():
    assert Geometry("fused_gates", gates=4).fans((10, 400)) == Fans(10, 100)
    assert Geometry("fused_gates", gates=3).fans((10, 300)) == Fans(10, 100)


def test_modes():
    fans = Fans(10, 30)
    assert [fans.by_mode(m) for m in ("fan_in", "fan_out", "fan_avg")] == [10, 30, 20]
