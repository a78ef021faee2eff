"""Models of a fixed batch size are measured on more samples if these do not depend on each other."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize


def sequence_model(batch):
    """Return a model with one output unit, which keeps its states between batches."""
    return keras.Sequential(
        [
            keras.Input((10, 3), batch_size=batch),
            layers.LSTM(8, stateful=batch is not None),
            layers.Dense(8, activation="relu"),
            layers.Dense(1),
        ]
    )


def normalized_model(batch):
    """Return a model whose batch normalization has nothing but zeros to compute from one sample."""
    return keras.Sequential(
        [keras.Input((12,), batch_size=batch), layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)]
    )


@pytest.mark.parametrize("build", [sequence_model, normalized_model])
def test_a_batch_of_one_is_measured_on_more_samples(build):
    model, any_size = build(1), build(None)
    assert not initialize(model, seed=0).notes
    any_size.set_weights(model.get_weights())
    noise = np.random.default_rng(1).standard_normal((2000, *model.inputs[0].shape[1:])).astype("float32")
    outputs = ops.convert_to_numpy(any_size(noise, training=build is normalized_model))
    # 256 samples know the root mean square of one unit to 4 %, and of its squares' tails to less.
    assert np.sqrt(np.mean(outputs**2)) == pytest.approx(1, abs=0.2)


def test_a_batch_of_one_reads_as_much_data_as_any_other():
    data = np.random.default_rng(1).standard_normal((80, 10, 3)).astype("float32")
    model, any_size = sequence_model(1), sequence_model(None)
    initialize(model, data=data, seed=0)
    any_size.set_weights(model.get_weights())
    outputs = ops.convert_to_numpy(any_size(data[:64]))
    assert np.sqrt(np.mean(outputs**2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: ops.reshape(x, (1, 12)),
        lambda x: x - 0.5 * ops.mean(x, axis=0, keepdims=True),
        lambda x: ops.matmul(ops.matmul(x, ops.transpose(x)), x),
    ],
    ids=["own shape", "mean over samples", "products of samples"],
)
@pytest.mark.parametrize("with_data", [False, True])
def test_samples_that_depend_on_each_other_stay_in_their_batch(mix, with_data):
    x = keras.Input((12,), batch_size=1)
    model = keras.Model(x, layers.Dense(1)(mix(x)))
    data = np.random.default_rng(1).standard_normal((80, 12)).astype("float32") if with_data else None
    plan = initialize(model, data=data, seed=0)
    # One number has a standard error of 1 / sqrt(2).
    assert plan.rows[0].error == pytest.approx(0.71, abs=0.01)
    assert "standard error 71 %" in plan.notes[0]
    if with_data:
        assert abs(float(ops.convert_to_numpy(model(data[:1]))[0, 0])) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: ops.softmax(x, axis=0),
        lambda x: x / ops.sqrt(ops.sum(ops.square(x), axis=0, keepdims=True)),
        lambda x: ops.cumsum(x, axis=0),
        lambda x: ops.flip(ops.cumsum(ops.flip(x, axis=0), axis=0), axis=0),
    ],
    ids=["softmax", "normalize", "sum so far", "sum from here"],
)
def test_samples_that_depend_on_each_other_in_the_same_shape_stay_in_their_batch(mix):
    x = keras.Input((12,), batch_size=4)
    model = keras.Model(x, layers.Dense(300)(mix(x)))
    initialize(model, seed=0)
    batches = np.random.default_rng(1).standard_normal((40, 4, 12)).astype("float32")
    outputs = [ops.convert_to_numpy(model(batch)) for batch in batches]
    # One batch is measured on noise, so its inputs differ by chance from these.
    assert 0.4 < np.sqrt(np.mean(np.square(outputs))) < 2.5
