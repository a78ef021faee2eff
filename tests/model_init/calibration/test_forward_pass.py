"""Check that one forward pass scales each weight where it is used, layer by layer."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, OrthogonalAuto, initialize
from keras_initx._graph.inputs.noise import noise
from keras_initx._graph.trace import trace
from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.methods.choice import ChainRule
from tests.support import zoo
from tests.support.arrays import array, rms
from tests.support.recorder import pre_activations
from tests.support.scaling import BATCH, scale, task_of

pytestmark = pytest.mark.check

LAYERS = {
    "dense": ((16,), lambda: layers.Dense(40, activation="relu")),
    "einsum": ((5, 12), lambda: layers.EinsumDense("abc,cde->abde", output_shape=(None, 3, 8))),
    "conv1d": ((20, 6), lambda: layers.Conv1D(12, 3, activation="tanh")),
    "conv2d_same_strided": ((9, 9, 6), lambda: layers.Conv2D(12, 3, strides=2, padding="same")),
    "conv2d_grouped": ((9, 9, 6), lambda: layers.Conv2D(12, 3, groups=3)),
    "conv3d": ((4, 4, 4, 3), lambda: layers.Conv3D(6, 2)),
    "depthwise": ((9, 9, 16), lambda: layers.DepthwiseConv2D(3)),
    "transposed": ((6, 6, 8), lambda: layers.Conv2DTranspose(6, 3, strides=2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_output_of_one_layer_is_one(name):
    shape, make = LAYERS[name]
    x = keras.Input(shape)
    layer = make()
    model = keras.Model(x, layer(x))
    scale(model)
    activation, layer.activation = layer.activation, None
    other = noise(trace(model, batch=BATCH), BATCH, seed=2)
    assert rms(array(layer(other))) == pytest.approx(1, abs=0.03)
    layer.activation = activation


def test_later_layers_see_the_scaled_outputs():
    model = keras.Sequential([keras.Input((30,)), *[layers.Dense(64, activation="gelu") for _ in range(12)]])
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * 7.0)
    scale(model)
    found = pre_activations(model, noise(trace(model, batch=BATCH), BATCH, seed=2))
    assert np.allclose(list(found.values()), 1, atol=0.08)


def test_both_kernels_of_a_separable_convolution():
    x = keras.Input((9, 9, 8))
    layer = layers.SeparableConv2D(24, 3)
    model = keras.Model(x, layer(x))
    layer.depthwise_kernel.assign(layer.depthwise_kernel * 9)
    scale(model, 64)
    inputs = array(noise(trace(model, batch=64), 64, seed=2))
    kernel = array(layer.depthwise_kernel)[..., 0]
    middle = sum(inputs[:, i : i + 7, j : j + 7] * kernel[i, j] for i in range(3) for j in range(3))
    assert rms(middle) == pytest.approx(1, abs=0.05)
    assert rms(middle @ array(layer.pointwise_kernel)[0, 0]) == pytest.approx(1, abs=0.05)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_gates(layer, x):
    """Return the pre-activations of each gate at the last step, by the equations of the LSTM."""
    cell, units = layer.cell, layer.units
    h = c = np.zeros((len(x), units))
    for t in range(x.shape[1]):
        z = x[:, t] @ array(cell.kernel) + h @ array(cell.recurrent_kernel) + array(cell.bias)
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return [i, f - 1, g, o]


def test_an_lstm_gate_by_gate():
    x = keras.Input((12, 10))
    layer = layers.LSTM(32, recurrent_initializer="orthogonal_auto")
    model = keras.Model(x, layer(x))
    kernel = array(layer.cell.kernel)
    kernel[:, :32] *= 5
    layer.cell.kernel.assign(kernel)
    tasks, graph = scale(model)
    other = array(noise(graph, BATCH, seed=2))
    for gate in lstm_gates(layer, other):
        assert rms(gate) == pytest.approx(1, abs=0.08)
    # The layer's unit forget bias stays.
    assert np.all(array(layer.cell.bias)[32:64] == 1)
    assert {task.measured_at for task in tasks.values() if task.target is not None} == {"gates of the cell"}


@pytest.mark.parametrize("cls", [layers.SimpleRNN, layers.GRU])
def test_other_recurrent_layers(cls):
    x = keras.Input((12, 10))
    layer = cls(32, recurrent_initializer=OrthogonalAuto(gain=1.0))
    model = keras.Model(x, layer(x))
    scale(model)
    other = array(noise(trace(model, batch=BATCH), BATCH, seed=2))
    first = other[:, 0] @ array(layer.cell.kernel)
    units = 32
    for gate in range(first.shape[1] // units):
        size = rms(first[:, gate * units : (gate + 1) * units])
        # The state adds the rest.
        assert 0.5 <= size <= 1.02


def test_a_convolutional_lstm():
    x = keras.Input((5, 8, 3))
    layer = layers.ConvLSTM1D(6, 3, padding="same")
    tasks, _ = scale(keras.Model(x, layer(x)), 64)
    assert "gates of the cell" in {task.measured_at for task in tasks.values()}
    assert np.all(np.isfinite(array(layer.cell.kernel)))


def test_lookups():
    ids = keras.Input((7,), dtype="int32")
    table = layers.Embedding(50, 16)
    scale(keras.Model(ids, table(ids)))
    assert rms(array(table.embeddings)) == pytest.approx(1, abs=0.03)


def test_kernels_of_a_users_layer():
    model = zoo.subclassed()
    tasks, graph = scale(model)
    x = array(noise(graph, BATCH, seed=2))
    h = np.maximum(x @ array(model.stem.kernel) + array(model.stem.bias), 0)
    assert rms(h @ array(model.experts.router)) == pytest.approx(1, abs=0.06)
    mixed = np.einsum("bi,eiu->beu", h, array(model.experts.w))
    assert rms(mixed) == pytest.approx(1, abs=0.06)
    assert {"operation", "pre-activation"} == {task.measured_at for task in tasks.values()}


def test_time_distributed_layers_see_all_times():
    x = keras.Input((5, 12))
    inner = layers.Dense(20, activation="relu")
    model = keras.Model(x, layers.LSTM(3)(layers.TimeDistributed(inner)(x)))
    data = np.random.default_rng(0).normal(size=(64, 5, 12)).astype("float32")
    data[:, 0] /= 10
    plan = initialize(model, data=data, seed=0)
    assert rms(data @ array(inner.kernel)) == pytest.approx(1, abs=1e-3)
    assert plan.rows[0].activation == "relu"


def test_time_distributed_models_with_pictures():
    x = keras.Input((4, 8, 8, 3))
    inner = keras.Sequential([layers.Conv2D(6, 3, activation="relu"), layers.GlobalAveragePooling2D()])
    model = keras.Model(x, layers.LSTM(3)(layers.TimeDistributed(inner)(x)))
    data = np.random.default_rng(0).normal(size=(32, 4, 8, 8, 3)).astype("float32")
    initialize(model, data=data, seed=0)
    kernel = array(inner.layers[0].kernel).astype("float32")
    assert rms(array(ops.conv(data.reshape(-1, 8, 8, 3), kernel))) == pytest.approx(1, abs=1e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs functions of TensorFlow")
def test_an_activation_before_an_opaque_kernel_is_not_its_own():
    import tensorflow as tf

    class Before(layers.Layer):
        def __init__(self):
            super().__init__()
            self.activation = keras.activations.relu

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 7), name="kernel")

        def call(self, x):
            return tf.matmul(self.activation(x), self.kernel)

    model = keras.Sequential([keras.Input((500,)), Before(), layers.Dense(2)])
    data = np.random.default_rng(0).normal(size=(64, 500)).astype("float32")
    initialize(model, data=10 * data, seed=0)
    assert rms(10 * np.maximum(data, 0) @ array(model.layers[0].kernel)) == pytest.approx(1, abs=0.02)
    # A kernel that is only measured stays as it was.
    before = array(model.layers[0].kernel)
    scale(model, scales=False)
    np.testing.assert_array_equal(array(model.layers[0].kernel), before)


def test_shift_and_offset_by_hand():
    x = keras.Input((16,))
    layer = layers.Dense(64)
    model = keras.Model(x, layer(x))
    graph = trace(model, batch=BATCH)
    inputs = noise(graph, BATCH, seed=1)
    start = array(layer.kernel)
    task = task_of(layer.kernel, layer.bias, before=ChainRule(shift=0.3), after=ChainRule(0.25, offset=2.0))
    ScalingPass(graph, [task]).run(inputs)
    lifted = (array(inputs) + 0.3) @ start
    factor = 0.5 / rms(lifted)
    np.testing.assert_allclose(array(layer.kernel), factor * start, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(array(layer.bias), factor * 0.3 * start.sum(axis=0) + 2.0, rtol=1e-4)


def test_without_a_bias_the_mean_direction_shifts():
    x = keras.Input((400,))
    layer = layers.Dense(300, use_bias=False)
    model = keras.Model(x, layer(ops.relu(x)))
    graph = trace(model, batch=BATCH)
    inputs = noise(graph, BATCH, seed=1)
    start = array(layer.kernel)
    ScalingPass(graph, [task_of(layer.kernel, before=ChainRule(shift=0.5))]).run(inputs)
    relu = np.maximum(array(inputs), 0)
    lifted = (relu + 0.5) @ start
    result = relu @ array(layer.kernel)
    assert np.corrcoef(result.ravel(), lifted.ravel())[0, 1] > 0.97
    assert rms(result) == pytest.approx(1, abs=0.01)


def test_a_table_comes_to_the_scale_of_its_signal():
    model = zoo.vit(blocks=1)
    initialize(model, seed=0)
    patches = model.get_layer("patches")
    x = noise(trace(model, batch=64), 64, seed=3)
    signal = rms(array(patches.projection(x)))
    assert rms(array(patches.positions)) == pytest.approx(signal, rel=0.1)
    assert rms(array(patches.token)) == pytest.approx(signal, rel=0.1)


def test_noise_that_a_layer_cannot_take_is_one_sentence():
    class Picky(layers.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor) and float(ops.min(x)) < 0:
                raise ValueError("negative numbers")
            return x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    class Closed(Picky):
        def call(self, x):
            if isinstance(x, keras.KerasTensor):
                raise TypeError("no symbolic form")
            return super().call(x)

    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(Closed(name="picky")(x)))
    with pytest.raises(
        InitxError,
        match=r"^picky: noise cannot replace `data` here \(ValueError: negative .*\. Pass data=: one",
    ):
        initialize(model)
