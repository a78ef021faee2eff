"""Check that layers with orthogonal kernels keep the norm, for every kind of weight."""

import keras
import numpy as np
import pytest

from keras_initx import OrthogonalAuto

pytestmark = pytest.mark.check

L = keras.layers
UNIT = {"gain": 1.0, "seed": 3}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def norms(x, axes):
    return np.sqrt(np.sum(np.square(numpy(x)), axis=axes))


# (layer, input shape): layers that keep the norm of every sample.
KEEPERS = {
    "dense, square": (lambda i: L.Dense(40, kernel_initializer=i), (40,)),
    "dense, wide": (lambda i: L.Dense(700, kernel_initializer=i), (12,)),
    "conv1d": (lambda i: L.Conv1D(24, 5, padding="same", kernel_initializer=i), (10, 8)),
    "conv2d": (lambda i: L.Conv2D(40, 3, padding="same", kernel_initializer=i), (7, 6, 12)),
    "conv2d, even window": (lambda i: L.Conv2D(40, 4, padding="same", kernel_initializer=i), (7, 6, 12)),
    "conv3d": (lambda i: L.Conv3D(9, (1, 3, 5), padding="same", kernel_initializer=i), (4, 5, 6, 8)),
    "dilated": (lambda i: L.Conv2D(30, 3, padding="same", dilation_rate=2, kernel_initializer=i), (8, 8, 12)),
    "grouped": (lambda i: L.Conv2D(48, 3, padding="same", groups=4, kernel_initializer=i), (7, 6, 24)),
    "depthwise": (
        lambda i: L.DepthwiseConv2D(3, padding="same", depth_multiplier=4, depthwise_initializer=i),
        (7, 6, 10),
    ),
    "depthwise1d": (lambda i: L.DepthwiseConv1D(5, padding="same", depthwise_initializer=i), (9, 10)),
    "transposed": (lambda i: L.Conv2DTranspose(20, 3, padding="same", kernel_initializer=i), (6, 7, 12)),
    "einsum": (lambda i: L.EinsumDense("abc,cde->abde", (None, 6, 10), kernel_initializer=i), (5, 24)),
    "einsum, heads joined": (
        lambda i: L.EinsumDense("abcd,cde->abe", (None, 96), kernel_initializer=i),
        (5, 4, 8),
    ),
    "einsum, one for each head": (
        lambda i: L.EinsumDense("abc,bcd->abd", (6, 30), kernel_initializer=i),
        (6, 20),
    ),
    "einsum, output first": (lambda i: L.EinsumDense("ab,cb->ac", 30, kernel_initializer=i), (20,)),
    "separable": (
        lambda i: L.SeparableConv2D(64, 3, padding="same", depthwise_initializer=i, pointwise_initializer=i),
        (6, 7, 12),
    ),
}


@pytest.mark.parametrize("kind", KEEPERS)
def test_the_norm_of_every_sample_is_kept(kind):
    make, shape = KEEPERS[kind]
    x = noise(4, *shape)
    y = make(OrthogonalAuto(**UNIT))(x)
    expected = norms(x.reshape(4, -1), 1)
    np.testing.assert_allclose(norms(keras.ops.reshape(y, (4, -1)), 1), expected, rtol=1e-5)
    # The same by string, whose gain for a linear layer is 1.
    y = make("orthogonal_auto")(x)
    np.testing.assert_allclose(norms(keras.ops.reshape(y, (4, -1)), 1), expected, rtol=1e-5)


def test_a_narrowing_layer_has_orthonormal_columns():
    kernel = numpy(OrthogonalAuto(**UNIT)((700, 12)))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(12), atol=1e-5)


def test_the_gain_is_that_of_the_activation():
    layer = L.Dense(64, activation="tanh", kernel_initializer="orthogonal_auto")
    x = noise(5, 64)
    layer.build(x.shape)
    ratio = norms(x @ numpy(layer.kernel), 1) / norms(x, 1)
    np.testing.assert_allclose(ratio, np.sqrt(2.53617543), rtol=1e-5)


@pytest.mark.parametrize(("cell", "gates"), [(L.LSTMCell, 4), (L.GRUCell, 3)], ids=["lstm", "gru"])
def test_every_gate_of_a_recurrent_cell_is_orthogonal(cell, gates):
    layer = cell(20, kernel_initializer=OrthogonalAuto(seed=1), recurrent_initializer=OrthogonalAuto(seed=1))
    layer.build((None, 50))
    kernels = {"kernel": numpy(layer.kernel), "recurrent": numpy(layer.recurrent_kernel)}
    assert kernels["kernel"].shape == (50, gates * 20)
    for kernel in kernels.values():
        blocks = np.split(kernel, gates, axis=1)
        for block in blocks:
            np.testing.assert_allclose(block.T @ block, np.eye(20), atol=1e-5)
        # Gates are independent: neither equal nor equal up to signs.
        assert np.max(np.abs(blocks[0].T @ blocks[1] - np.eye(20))) > 0.1
    # An orthogonal recurrence keeps the state for any number of steps.
    gate = np.split(kernels["recurrent"], gates, axis=1)[1]
    state = np.linalg.matrix_power(gate, 100) @ np.ones(20)
    assert np.linalg.norm(state) == pytest.approx(np.sqrt(20), rel=1e-3)


def test_every_gate_of_a_convolutional_lstm_is_delta_orthogonal():
    layer = L.ConvLSTM2D(16, 3, kernel_initializer="orthogonal_auto", recurrent_initializer="orthogonal_auto")
    layer.build((None, 4, 9, 9, 8))
    for kernel, inputs in ((layer.cell.kernel, 8), (layer.cell.recurrent_kernel, 16)):
        kernel = numpy(kernel)
        for gate in np.split(kernel[1, 1], 4, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(inputs), atol=1e-5)
        kernel[1, 1] = 0
        assert not kernel.any()


def test_a_strided_transposed_convolution_fills_every_phase():
    layer = L.Conv2DTranspose(20, 4, strides=2, padding="same", kernel_initializer=OrthogonalAuto(**UNIT))
    x = noise(3, 6, 7, 12)
    y = numpy(layer(x))
    for i in (0, 1):
        for j in (0, 1):
            phase = y[:, i::2, j::2]
            # Positions at the border may lack a part of their input.
            inner = norms(phase[:, 1:-1, 1:-1], 3)
            assert np.all(inner > 0)
            assert np.mean(inner) == pytest.approx(np.mean(norms(x, 3)), rel=0.2)


def test_a_look_up_has_entries_of_variance_one(assert_std):
    layer = L.Embedding(500, 30, embeddings_initializer="orthogonal_auto")
    layer.build((None,))
    table = numpy(layer.embeddings)
    assert_std(table, 1.0)
    np.testing.assert_allclose(table.T @ table / 500, np.eye(30), atol=1e-5)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize(
    ("layer", "shape", "fans"),
    [
        (L.Dense(700), (12, 700), (12, 700)),
        (L.Conv2D(40, 3), (3, 3, 12, 40), (108, 360)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (3, 3, 12, 2), (9, 18)),
    ],
    ids=["dense", "conv2d", "depthwise"],
)
def test_with_a_mode_the_entries_have_that_mean_square(mode, layer, shape, fans):
    bound = OrthogonalAuto(mode=mode, gain=2.0, seed=1).bound_to(layer, "kernel")
    fan = {"fan_in": fans[0], "fan_out": fans[1], "fan_avg": sum(fans) / 2}[mode]
    values = numpy(bound(shape))
    assert np.mean(values**2) == pytest.approx(2 / fan, rel=1e-5)
    assert bound.scale(shape).std == pytest.approx(np.sqrt(2 / fan))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Dense(30), (12, 30)),
        (L.Conv1D(40, 5), (5, 12, 40)),
        (L.Conv2D(40, 3, groups=2), (3, 3, 12, 40)),
        (L.Conv2DTranspose(20, 4, strides=2), (4, 4, 20, 12)),
        (L.LSTMCell(9), (12, 36)),
        (L.Embedding(30, 12), (30, 12)),
        (L.EinsumDense("abc,bcd->abd", (6, 30)), (6, 20, 30)),
    ],
    ids=["dense", "conv1d", "grouped", "transposed", "lstm", "embedding", "einsum"],
)
def test_scale_returns_the_root_mean_square(layer, shape):
    weight = "embeddings" if isinstance(layer, L.Embedding) else "kernel"
    bound = OrthogonalAuto(gain=3.0, seed=1).bound_to(layer, weight)
    rms = np.sqrt(np.mean(np.square(numpy(bound(shape)))))
    assert bound.scale(shape).std == pytest.approx(rms, rel=1e-5)


def test_an_unknown_weight_is_read_as_in_keras():
    kernel = numpy(OrthogonalAuto(**UNIT)((3, 5, 4)))
    flat = kernel.reshape(15, 4)
    np.testing.assert_allclose(flat.T @ flat, np.eye(4), atol=1e-5)
    vector = numpy(OrthogonalAuto(**UNIT)((9,)))
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)


def test_a_deep_linear_network_keeps_every_singular_value():
    # Dynamical isometry (Saxe et al. 2014): all singular values of the product of 50 kernels are 1.
    product = np.eye(64)
    for layer in [L.Dense(64, kernel_initializer="orthogonal_auto") for _ in range(50)]:
        layer.build((None, 64))
        product = product @ numpy(layer.kernel)
    np.testing.assert_allclose(np.linalg.svd(product, compute_uv=False), 1, rtol=1e-4)


def test_the_seeds_of_the_blocks_differ_and_repeat():
    initializer = OrthogonalAuto(seed=1)
    assert len({initializer._seed_of(block) for block in range(50)}) == 50
    assert initializer._seed_of(7) == OrthogonalAuto(seed=1)._seed_of(7)
