"""Check what `initialize` chooses for recurrent cells by the bounds of their activations."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx.model_init.cells import has_unbounded_state


@pytest.mark.parametrize(
    ("activation", "unbounded"),
    [
        ("relu", True),
        ("linear", True),
        ("softplus", True),
        ("leaky_relu", True),
        (lambda z: z * ops.sigmoid(z), True),
        ("tanh", False),
        ("relu6", False),
        (lambda z: ops.sin(z), False),
    ],
)
def test_bounds_of_activations(activation, unbounded):
    cell = layers.LSTMCell(3, activation=activation)
    cell.build((None, 2))
    assert has_unbounded_state(cell) == unbounded


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM"])
def test_unbounded_states_and_the_outputs_that_read_them_start_small(kind):
    layer = getattr(layers, kind)(40, activation="relu", return_sequences=True)
    model = keras.Sequential([keras.Input((30, 16)), layer, layers.Dropout(0.1), layers.Dense(20)])
    plan = initialize(model, seed=0)
    x = np.random.default_rng(1).standard_normal((64, 30, 16)).astype("float32")
    states = np.asarray(keras.Sequential([layer]).predict_on_batch(x))
    kernel, recurrent = (ops.convert_to_numpy(v) for v in layer.cell.weights[:2])
    z = x[:, -1] @ kernel + states[:, -2] @ recurrent
    for gate in np.split(z, z.shape[1] // 40, axis=1):
        # The ReLU's state keeps a mean of its own in each unit, so 40 units decide: 1 / sqrt(2 * 40).
        assert np.sqrt(np.mean(gate**2)) == pytest.approx(0.3, rel=0.25)
    assert plan.rows[-1].rms_after == pytest.approx(0.3)
    assert "unbounded state" in plan.rows[-1].reason


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_plan_shows_the_activation_of_the_cell(kind, activation):
    layer = getattr(layers, kind)(8, activation=activation)
    model = keras.Sequential([keras.Input((5, 3)), layer, layers.Dense(2)])
    kernel, recurrent, out = initialize(model, seed=0).rows
    assert (kernel.activation, recurrent.activation, out.activation) == (activation, activation, "linear")
    # The reasons of one cell agree.
    assert (
        ("nothing bounds" in kernel.reason)
        is ("nothing bounds" in recurrent.reason)
        is (activation == "relu")
    )


def test_an_output_passes_as_much_gradient_to_an_unbounded_cell_as_in_keras_own_start():
    ratios = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [keras.Input((20, 2)), layers.SimpleRNN(60, activation="relu"), layers.Dense(1)]
        )
        own = np.std(ops.convert_to_numpy(model.layers[-1].kernel))
        initialize(model, seed=seed)
        ratios.append(np.std(ops.convert_to_numpy(model.layers[-1].kernel)) / own)
    # A third of Keras's own kernel left some starts of the adding problem at the best constant.
    assert 0.5 < np.exp(np.mean(np.log(ratios))) < 2


@pytest.mark.parametrize("between", ["normalization", "dense"])
def test_outputs_that_do_not_read_the_state_itself_keep_their_size(between):
    middle = layers.LayerNormalization() if between == "normalization" else layers.Dense(8, activation="relu")
    model = keras.Sequential(
        [keras.Input((10, 4)), layers.LSTM(8, activation="relu"), middle, layers.Dense(2)]
    )
    assert initialize(model, seed=0).rows[-1].rms_after == pytest.approx(1)


def test_bounded_cells_keep_their_size():
    model = keras.Sequential([keras.Input((10, 4)), layers.LSTM(8), layers.Dense(2)])
    assert [row.target for row in initialize(model, seed=0).rows] == [1, None, 1]
