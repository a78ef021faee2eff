"""Check the scaling of users' recurrent cells by what they compute, whatever they name their weights."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, initialize
from tests.support.arrays import array, rms


def lengths(samples, times, low, high, left=False):
    mask = np.arange(times)[None] < np.random.default_rng(1).integers(low, high + 1, samples)[:, None]
    return mask[:, ::-1].copy() if left else mask


class Cell(layers.Layer):
    """A user's cell with Keras's attribute names."""

    def __init__(self, units, gates=1):
        super().__init__()
        self.units = self.state_size = units
        self.gates = gates
        self.activation = keras.activations.tanh

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.gates * self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.gates * self.units), name="recurrent")


class OnTheState(Cell):
    def call(self, x, states):
        h = ops.matmul(x, self.kernel) + ops.matmul(self.activation(states[0]), self.recurrent_kernel)
        return h, [h]


class OtherOrder(Cell):
    def call(self, x, states):
        a, b = ops.split(
            ops.matmul(x, self.kernel) + ops.matmul(states[0], self.recurrent_kernel), 2, axis=-1
        )
        h = self.activation(b) * self.activation(a)
        return h, [h]


@pytest.mark.parametrize("make", [lambda: OnTheState(8), lambda: OtherOrder(8, 2)])
def test_users_cells_with_keras_names(make):
    mask = lengths(64, 40, 4, 6)
    data = 50 * np.random.default_rng(0).normal(size=(64, 40, 12)).astype("float32")
    data[~mask] = 0
    given, cell = keras.Input((40, 12)), make()
    model = keras.Model(given, layers.Dense(2)(layers.RNN(cell)(layers.Masking()(given))))
    initialize(model, data=data, seed=0)
    parts = np.split(data[mask] @ array(cell.kernel), cell.gates, axis=-1)
    for part in parts:
        assert rms(part) == pytest.approx(1, abs=0.25)
    assert rms(parts) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("cell", [lambda: OnTheState(8), lambda: layers.SimpleRNNCell(8)])
def test_where_all_is_masked_the_kernel_is_named(cell):
    given = keras.Input((6, 5))
    model = keras.Model(given, layers.Dense(2)(layers.RNN(cell(), name="rnn")(layers.Masking()(given))))
    with pytest.raises(InitxError, match=r"^rnn/.*kernel: its output is all zeros on this data"):
        initialize(model, data=np.zeros((8, 6, 5), "float32"), seed=0)


def test_a_users_cell_on_integers():
    given, cell = keras.Input((6, 5), dtype="int32"), OnTheState(8)
    ids = np.random.default_rng(0).integers(0, 9, size=(64, 6, 5))
    initialize(keras.Model(given, layers.Dense(2)(layers.RNN(cell)(given))), data=ids, seed=0)
    assert rms(ids @ array(cell.kernel)) == pytest.approx(1, abs=1e-3)


class OwnCell(layers.Layer):
    """The minimal cell of Keras's guide: its own names, and no activation attribute."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="uniform", name="kernel")
        self.inner = self.add_weight(shape=(self.units, self.units), initializer="uniform", name="inner")

    def call(self, x, states):
        h = ops.matmul(x, self.kernel) + ops.matmul(states[0], self.inner)
        return h, [h]


class ShapedCell(OwnCell):
    """A cell that does not multiply its input by its kernel directly."""

    def build(self, shape):
        super().build(shape)
        self.kernel = self.add_weight(shape=(self.units, shape[-1]), initializer="uniform", name="kernel")

    def call(self, x, states):
        h = ops.matmul(x, ops.transpose(self.kernel)) + ops.matmul(states[0], self.inner)
        return h, [h]


def test_a_users_cell_is_scaled_by_its_input_part():
    model = keras.Sequential([keras.Input((6, 500)), layers.RNN(OwnCell(4)), layers.Dense(2)])
    data = np.random.default_rng(0).normal(3, 1, size=(32, 6, 500)).astype("float32")
    plan = initialize(model, data=data, seed=0)
    products = data @ ops.convert_to_numpy(model.layers[0].cell.kernel)
    assert np.sqrt(np.mean(products**2)) == pytest.approx(1, abs=1e-3)
    (inner,) = (row for row in plan.rows if row.path.endswith("inner"))
    # The mean of 3 adds up over time, so the state would grow.
    assert inner.reason.startswith("drawn, times 0.")
    cell, state, sizes = model.layers[0].cell, np.zeros((32, 4)), []
    for step in range(6):
        state = data[:, step] @ array(cell.kernel) + state @ array(cell.inner)
        sizes.append(rms(state))
    assert max(sizes) <= 10 * sizes[0]


def test_the_plan_notes_a_cell_that_cannot_be_measured():
    model = keras.Sequential([keras.Input((6, 5)), layers.RNN(ShapedCell(4)), layers.Dense(2)])
    rows = [row for row in initialize(model, seed=0).rows if row.path.endswith("/kernel")]
    assert any(row.reason.startswith("not measured") and row.target is None for row in rows[:-1])
    assert rows[-1].rms_after == 1


class Independent(layers.Layer):
    """A cell with Keras's names and other shapes (IndRNN)."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units
        self.activation = keras.activations.relu

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units,), name="recurrent_kernel")

    def call(self, x, states):
        h = self.activation(ops.matmul(x, self.kernel) + states[0] * self.recurrent_kernel)
        return h, [h]


class Unasked(Independent):
    """A cell with an activation that it does not call."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")

    def call(self, x, states):
        h = ops.tanh(ops.matmul(x, self.kernel) + ops.matmul(states[0], self.recurrent_kernel))
        return h, [h]


@pytest.mark.parametrize("cell", [Independent, Unasked])
def test_cells_with_keras_names_and_another_computation(cell):
    x = keras.Input((6, 30))
    layer = layers.RNN(cell(7))
    model = keras.Model(x, layers.Dense(2)(layer(x)))
    data = 50 * np.random.default_rng(0).normal(size=(64, 6, 30)).astype("float32")
    initialize(model, data=data, seed=0)
    assert rms(data @ array(layer.cell.kernel)) == pytest.approx(1, abs=1e-3)
