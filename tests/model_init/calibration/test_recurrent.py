"""Check the gates of recurrent cells, recomputed from the kernels at the unmasked time steps."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import Auto, InitxError, initialize
from keras_initx._graph.context import WeightContext
from keras_initx._graph.masks import carried_mask
from keras_initx._graph.trace import trace
from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.methods import Choice
from keras_initx.model_init.tasks import WeightTask
from tests.support.arrays import array, rms


def arriving(layer, x, mask):
    """Return the pre-activations (unmasked times, gates of SimpleRNN or LSTM) without bias, by hand."""
    kernel, recurrent = array(layer.cell.kernel), array(layer.cell.recurrent_kernel)
    twin = type(layer).from_config({**layer.get_config(), "return_sequences": True})
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    states = array(twin(x, mask=None if mask is None else ops.convert_to_tensor(mask)))
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    z = x @ kernel + before @ recurrent
    return z if mask is None else z[mask]


def lengths(samples, times, low, high, left=False):
    mask = np.arange(times)[None] < np.random.default_rng(1).integers(low, high + 1, samples)[:, None]
    return mask[:, ::-1].copy() if left else mask


MASKS = {
    "none": None,
    "short": lengths(128, 20, 3, 5),
    "mixed": lengths(128, 20, 2, 20),
    "left": lengths(128, 20, 5, 12, left=True),
    "holes": np.random.default_rng(2).random((128, 20)) < 0.4,
}


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
@pytest.mark.parametrize("padding", MASKS)
def test_gates_at_the_times_that_are_not_masked(kind, padding):
    mask = MASKS[padding]
    x = np.random.default_rng(0).normal(size=(128, 20, 24)).astype("float32")
    if mask is not None:
        # The padding may hold any values, large ones too.
        x[~mask] = 10.0
    given, layer = keras.Input((20, 24)), getattr(layers, kind)(32)
    inputs = [given] if mask is None else [given, keras.Input((20,), dtype="bool")]
    out = layer(given) if mask is None else layer(given, mask=inputs[1])
    model = keras.Model(inputs, layers.Dense(2)(out))
    initialize(model, data=x if mask is None else [x, mask], seed=0)
    gates = np.split(arriving(layer, x, mask), 1 if kind == "SimpleRNN" else 4, axis=-1)
    for gate in gates:
        assert rms(gate) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_an_embedding_that_masks(kind):
    ids = np.random.default_rng(0).integers(1, 50, size=(64, 60))
    mask = lengths(64, 60, 3, 8)
    ids[~mask] = 0
    x = keras.Input((60,), dtype="int32")
    table, layer = layers.Embedding(50, 16, mask_zero=True), getattr(layers, kind)(8)
    initialize(keras.Model(x, layers.Dense(2)(layer(table(x)))), data=ids, seed=0)
    rows = array(table.embeddings)[ids]
    if kind == "GRU":
        # Its third gate resets the state, so the input's part is at most the whole.
        assert 0.5 <= rms(rows[mask] @ array(layer.cell.kernel)) <= 1.02
    else:
        assert rms(arriving(layer, rows.astype("float32"), mask)) == pytest.approx(1, abs=0.08)


def test_times_of_zeros_without_a_mask_count():
    x = np.random.default_rng(0).normal(size=(64, 20, 16)).astype("float32")
    x[np.random.default_rng(1).random((64, 20)) < 0.9] = 0
    given, layer = keras.Input((20, 16)), layers.LSTM(16)
    initialize(keras.Model(given, layers.Dense(2)(layer(given))), data=x, seed=0)
    assert rms(arriving(layer, x, None)) == pytest.approx(1, abs=0.25)


def test_later_cells_of_a_masked_stack():
    mask = lengths(128, 40, 2, 8)
    x = np.random.default_rng(0).normal(size=(128, 40, 12)).astype("float32")
    x[~mask] = 0
    given = keras.Input((40, 12))
    cells = [layers.SimpleRNNCell(24), layers.SimpleRNNCell(20)]
    model = keras.Model(given, layers.Dense(2)(layers.RNN(cells)(layers.Masking()(given))))
    initialize(model, data=x, seed=0)
    first = layers.RNN(cells[0], return_sequences=True)(x, mask=ops.convert_to_tensor(mask))
    second = layers.RNN(cells[1], return_sequences=True)
    states = array(second(first, mask=ops.convert_to_tensor(mask)))
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    z = array(first) @ array(cells[1].kernel) + before @ array(cells[1].recurrent_kernel)
    assert rms(z[mask]) == pytest.approx(1, abs=0.1)


def test_zeros_in_a_convolutional_lstm_are_named():
    given = keras.Input((4, 6, 6, 2))
    h = layers.ConvLSTM2D(3, 3, name="film")(given)
    model = keras.Model(given, layers.Dense(2)(layers.GlobalAveragePooling2D()(h)))
    with pytest.raises(InitxError, match=r"^film/.*kernel: its output is all zeros on this data"):
        initialize(model, data=np.zeros((8, 4, 6, 6, 2), "float32"), seed=0)


class Shifted(layers.Layer):
    """Add a table to the input, and pass the mask on, as Keras does for such layers."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer="zeros", trainable=False)

    def call(self, x):
        return x + self.table


class Projected(layers.Layer):
    """A layer around another layer."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True
        self.inner = layers.Dense(10)

    def call(self, x):
        return ops.relu(self.inner(x))


MIDDLES = {
    "dropout": lambda: layers.Dropout(0.5),
    "bidirectional": lambda: layers.Bidirectional(layers.LSTM(10, return_sequences=True)),
    "time distributed": lambda: layers.TimeDistributed(layers.Dense(10)),
    "table": Shifted,
    "composite": Projected,
}


class Chain(keras.Model):
    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("middle", MIDDLES)
def test_masks_reach_recurrent_layers_through_what_the_trace_opens(middle):
    mask = lengths(64, 40, 2, 9)
    x = np.random.default_rng(0).normal(size=(64, 40, 12)).astype("float32")
    x[~mask] = 0
    between, layer = MIDDLES[middle](), layers.SimpleRNN(16)
    model = Chain(layers.Masking(), between, layer, layers.Dense(2))
    model(x[:2])
    initialize(model, data=x, seed=0)
    arrives = array(between(layers.Masking()(x))).astype("float32")
    assert rms(arriving(layer, arrives, mask)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("how", ["position", "last axis"])
def test_masks_in_other_forms(how):
    mask = lengths(64, 40, 2, 9)
    x = np.random.default_rng(0).normal(size=(64, 40, 12)).astype("float32")
    x[~mask] = 10
    layer = layers.SimpleRNN(16)

    class Masked(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer, self.last = layer, layers.Dense(2)

        def call(self, inputs):
            x, mask = inputs
            if how == "position":
                return self.last(self.layer(x, None, mask))
            return self.last(self.layer(x, mask=mask[..., None]))

    model = Masked()
    model([x[:2], mask[:2]])
    initialize(model, data=[x, mask], seed=0)
    assert rms(arriving(layer, x, mask)) == pytest.approx(1, abs=0.1)


def test_a_kernel_with_a_gate_without_a_signal_stays():
    given = keras.Input((6, 5))
    layer = layers.LSTM(4, kernel_initializer=lambda shape, dtype: ops.zeros(shape, dtype))
    layers_of = keras.Model(given, layers.Dense(2)(layer(given)))
    graph = trace(layers_of, batch=16)
    kernel = array(layer.cell.kernel)
    kernel[:, 4:] = 1
    layer.cell.kernel.assign(kernel)
    kernel = layer.cell.kernel
    task = WeightTask(kernel, WeightContext(0, kernel.path, "LSTM"), Choice("test", Auto()))
    before = array(kernel)
    ScalingPass(graph, [task]).run(np.ones((16, 6, 5), "float32"))
    assert np.array_equal(array(kernel), before)
    assert "reads zeros" in task.left


@pytest.mark.parametrize("samples", [64, 16, 9])
def test_data_for_a_fixed_batch(samples):
    model = keras.Sequential(
        [keras.Input(batch_shape=(16, 6, 5)), layers.LSTM(4, stateful=True), layers.Dense(2)]
    )
    data = np.random.default_rng(0).normal(size=(samples, 6, 5)).astype("float32")
    if samples < 16:
        with pytest.raises(
            InitxError,
            match=r"^`data` has 9 samples, but the model takes batches of exactly 16. Pass at least 16",
        ):
            initialize(model, data=data, seed=0)
    else:
        initialize(model, data=data, seed=0)
        assert rms(data[:16] @ array(model.layers[0].cell.kernel)) == pytest.approx(1, abs=0.2)


def test_masking_layers_still_leave_their_mask_on_the_tensor():
    x = np.array([[[1.0], [0.0]]], "float32")
    assert array(carried_mask(layers.Masking()(x))).tolist() == [[True, False]]
    ids = np.array([[1, 0]])
    assert array(carried_mask(layers.Embedding(3, 2, mask_zero=True)(ids))).tolist() == [[True, False]]


def test_cells_of_a_stack_one_after_another():
    cells = [layers.LSTMCell(40), layers.SimpleRNNCell(30)]
    model = keras.Sequential([keras.Input((12, 5)), layers.RNN(cells), layers.Dense(2)])
    data = np.random.default_rng(0).normal(size=(64, 12, 5)).astype("float32")
    initialize(model, data=data, seed=0)
    # By hand: the second cell receives the sequence of the first cell's states.
    first = layers.RNN(cells[0], return_sequences=True)(data)
    states = ops.convert_to_numpy(layers.RNN(cells[1], return_sequences=True)(first))
    kernel, recurrent = (ops.convert_to_numpy(v) for v in (cells[1].kernel, cells[1].recurrent_kernel))
    arriving = ops.convert_to_numpy(first)[:, 1:] @ kernel + states[:, :-1] @ recurrent
    assert np.sqrt(np.mean(arriving**2)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
def test_gates_of_a_settled_state_have_the_target(kind):
    """Check by hand, from the kernels after many steps, that the state's part of the gates counts."""
    layer = getattr(layers, kind)(40, return_sequences=True)
    model = keras.Sequential([keras.Input((12, 16)), layer])
    initialize(model, seed=0)
    x = np.random.default_rng(1).standard_normal((256, 12, 16)).astype("float32")
    states = ops.convert_to_numpy(model(x))
    kernel, recurrent, bias = (ops.convert_to_numpy(v) for v in layer.cell.weights)
    z = x[:, -1] @ kernel + states[:, -2] @ recurrent + bias
    for gate in np.split(z - bias, z.shape[1] // 40, axis=1):
        assert np.sqrt(np.mean(gate**2)) == pytest.approx(1, rel=0.08)


def test_padding_does_not_count_in_recurrent_layers():
    x = keras.Input((20, 30))
    layer = layers.LSTM(8)
    model = keras.Model(x, layers.Dense(2)(layer(layers.Masking()(x))))
    generator = np.random.default_rng(0)
    data = generator.normal(size=(64, 20, 30)).astype("float32")
    for sample in data:
        sample[generator.integers(2, 13) :] = 0
    initialize(model, data=data, seed=0)
    rows = data[np.any(data != 0, axis=2)]
    assert rms(rows @ array(layer.cell.kernel)) == pytest.approx(1, abs=0.1)


def test_a_recurrent_layer_called_by_keyword():
    x = keras.Input((6, 30))
    plan = initialize(keras.Model(x, layers.Dense(2)(layers.LSTM(4)(sequences=x))), seed=0)
    assert plan.rows[0].rms_after == 1
