"""Check that states of recurrent layers stay steady over their real length, by running them on new inputs."""

import time

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx.model_init.calibration.steady import LIMIT

UNITS, FEATURES = 12, 5
# The root mean square of 8 samples of 12 units is known to about 1 / sqrt(2 * 96), and the first one too.
LARGEST = LIMIT * 1.25


def softly(z):
    """An unbounded activation of a user."""
    return z + ops.sin(z)


class OwnCell(layers.Layer):
    """A linear cell whose weights have names of their own."""

    def __init__(self, units=UNITS):
        super().__init__()
        self.state_size = units

    def build(self, shape):
        self.inward = self.add_weight(shape=(shape[-1], self.state_size), name="inward")
        self.again = self.add_weight(shape=(self.state_size, self.state_size), name="again")

    def call(self, x, states):
        h = ops.matmul(x, self.inward) + ops.matmul(states[0], self.again)
        return h, [h]


def growth(layer, times, first=0):
    """Return the largest state relative to an early one, on inputs that `initialize` has not seen."""
    x = np.random.default_rng(3).standard_normal((8, times, FEATURES)).astype("float32")
    model = keras.Sequential([keras.layers.RNN(layer.cell, return_sequences=True)])
    states = np.asarray(model.predict_on_batch(x), dtype="float64")
    sizes = np.sqrt(np.mean(np.square(states), axis=(0, 2)))
    return np.max(sizes[first:] / sizes[first])


CELLS = {
    "lstm relu": lambda: layers.LSTM(UNITS, activation="relu"),
    "lstm linear": lambda: layers.LSTM(UNITS, activation="linear"),
    "lstm own": lambda: layers.LSTM(UNITS, activation=softly),
    "gru relu": lambda: layers.GRU(UNITS, activation="relu"),
    "gru before": lambda: layers.GRU(UNITS, activation="relu", reset_after=False),
    "simple linear": lambda: layers.SimpleRNN(UNITS, activation="linear"),
    "simple relu": lambda: layers.SimpleRNN(UNITS, activation="relu"),
    "own cell": lambda: layers.RNN(OwnCell()),
}


@pytest.mark.parametrize("times", [100, 1000])
@pytest.mark.parametrize("kind", CELLS)
def test_the_state_is_steady_over_the_real_length(kind, times):
    layer = CELLS[kind]()
    model = keras.Sequential([keras.Input((times, FEATURES)), layer, layers.Dense(1)])
    plan = initialize(model, seed=0)
    assert growth(layer, times) < LARGEST
    # Every weight of these cells may change, so there is nothing that the plan could not promise.
    assert not plan.notes


@pytest.mark.parametrize("size", [1.0, 5.0])
def test_a_stack_of_relu_lstms_holds_larger_inputs_than_it_has_seen(size):
    rows = [layers.LSTM(24, activation="relu", return_sequences=True) for _ in range(2)]
    model = keras.Sequential([keras.Input((100, FEATURES)), *rows, layers.Dense(1)])
    plan = initialize(model, seed=0)
    x = size * np.random.default_rng(3).standard_normal((16, 100, FEATURES)).astype("float32")
    values = x
    for layer in rows:
        values = np.asarray(keras.Sequential([layer]).predict_on_batch(values))
        assert np.all(np.isfinite(values))
        sizes = np.sqrt(np.mean(np.square(values), axis=(0, 2)))
        assert np.max(sizes[5:] / sizes[4]) < LARGEST
    assert not plan.notes


def test_a_bidirectional_layer_holds_both_states():
    both = layers.Bidirectional(layers.LSTM(UNITS, activation="relu"))
    model = keras.Sequential([keras.Input((100, FEATURES)), both, layers.Dense(1)])
    initialize(model, seed=0)
    assert growth(both.forward_layer, 100) < LARGEST
    assert growth(both.backward_layer, 100) < LARGEST


def test_a_stack_of_cells():
    cells = [layers.LSTMCell(UNITS, activation="relu"), layers.SimpleRNNCell(UNITS, activation="linear")]
    stack = layers.RNN(cells)
    initialize(keras.Sequential([keras.Input((200, FEATURES)), stack, layers.Dense(1)]), seed=0)
    # The second cell reads the states of the first one, which need some steps to settle.
    assert growth(stack, 200, first=4) < LARGEST


@pytest.mark.parametrize("kind", ["stateful", "unknown"])
def test_a_state_without_a_known_end_holds_for_a_thousand_steps(kind):
    layer = layers.SimpleRNN(UNITS, activation="linear", stateful=kind == "stateful")
    shape = (8, 10, FEATURES) if kind == "stateful" else (None, None, FEATURES)
    initialize(keras.Sequential([keras.Input(batch_shape=shape), layer, layers.Dense(1)]), seed=0)
    assert growth(layer, 1000) < LARGEST


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_kernels_of_bounded_cells_stay_orthogonal(kind):
    layer = getattr(layers, kind)(UNITS)
    plan = initialize(keras.Sequential([keras.Input((100, FEATURES)), layer, layers.Dense(1)]), seed=0)
    for gate in np.split(
        ops.convert_to_numpy(layer.cell.recurrent_kernel), plan.rows[1].shape[-1] // UNITS, 1
    ):
        assert gate.T @ gate == pytest.approx(np.eye(UNITS), abs=1e-5)
    assert not plan.notes


def test_the_plan_says_by_how_much_a_recurrent_kernel_was_lowered():
    layer = layers.SimpleRNN(UNITS, activation="linear")
    plan = initialize(keras.Sequential([keras.Input((1000, FEATURES)), layer, layers.Dense(1)]), seed=0)
    kernel = ops.convert_to_numpy(layer.cell.recurrent_kernel)
    factor = float(np.sqrt(np.mean(np.linalg.svd(kernel)[1] ** 2)))
    assert 0.9 < factor < 1
    assert plan.rows[1].reason.startswith(f"orthogonal, times {factor:.3g}: the state would otherwise grow 3")


def test_a_weight_that_may_not_change_is_named():
    layer = layers.SimpleRNN(UNITS, activation="linear")
    model = keras.Sequential([keras.Input((50, FEATURES)), layer, layers.Dense(1)])
    layer.cell.recurrent_kernel.assign(1.3 * np.eye(UNITS))
    plan = initialize(model, skip="*recurrent_kernel", seed=0)
    (note,) = plan.notes
    assert note.startswith(f"{layer.cell.recurrent_kernel.path}: cannot promise")
    assert ops.convert_to_numpy(layer.cell.recurrent_kernel)[0, 0] == pytest.approx(1.3)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere, XLA compiles for longer than this"
)
def test_a_convolutional_lstm_takes_little_work():
    films = [layers.ConvLSTM2D(16, 3, padding="same", return_sequences=True) for _ in range(3)]
    model = keras.Sequential([keras.Input((10, 40, 40, 1)), *films, layers.Conv3D(1, 3, padding="same")])
    start = time.process_time()
    initialize(model, seed=0)
    # Time of all cores together, so that other processes do not count. It was 16 s, and is 2 s.
    assert time.process_time() - start < 6
