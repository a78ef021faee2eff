"""Results that are added up are found, and their sum has the variance of one of them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from tests.support.contexts import contexts_of

pytestmark = pytest.mark.check


def counts(model):
    return {name: context.addends for name, context in contexts_of(model).items()}


def dense(name, x, units=6):
    return layers.Dense(units, name=name)(x)


def test_results_of_one_sum_are_counted():
    x, z = keras.Input((8,)), keras.Input((5,))
    nested = dense("a", x) + layers.Dropout(0.1)(dense("b", z)) - dense("c", x)
    assert counts(keras.Model([x, z], ops.tanh(nested + 1.0))) == {"a": 3, "b": 3, "c": 3}
    assert counts(keras.Model([x, z], layers.Add()([dense("a", x), dense("b", z)]))) == {"a": 2, "b": 2}


def test_a_sum_with_anything_else_does_not_count():
    x, ids = keras.Input((8,)), keras.Input((), dtype="int32")
    table = layers.Embedding(9, 6)(ids)
    shared = dense("shared", x)
    sums = {
        "a stream": x + dense("a", x, 8),
        "a look-up": table + dense("a", x),
        "an activation": ops.relu(dense("a", x)) + dense("b", x),
        "another reader": ops.concatenate([shared, shared + dense("a", x)]),
        "a product": dense("a", x) * dense("b", x) + dense("c", x),
        "a state": layers.LSTM(6)(x[:, None]) + dense("a", x),
    }
    for what, total in sums.items():
        inputs = [x, ids] if what == "a look-up" else x
        assert set(counts(keras.Model(inputs, total)).values()) == {1}, what


def test_the_projection_and_the_end_of_a_branch_do_not_share():
    x = keras.Input((8,))
    branch = dense("end", ops.relu(dense("start", x)))
    assert set(counts(keras.Model(x, dense("projection", x) + branch)).values()) == {1}


def test_two_ends_of_one_branch_share_it():
    x = keras.Input((8,))
    h = ops.relu(dense("start", x))
    found = contexts_of(keras.Model(x, x + (dense("a", h, 8) + dense("b", h, 8))))
    assert {name: (c.addends, c.residual_number) for name, c in found.items()} == {
        "start": (1, 0),
        "a": (2, 1),
        "b": (2, 1),
    }


def test_summed_outputs_have_the_variance_of_one():
    # Six blocks that forecast together, as in N-BEATS: with variance 1 each, the sum would have 6.
    x = keras.Input((32,))
    forecasts = [dense(f"head{n}", layers.Dense(64, "relu")(x), 40) for n in range(6)]
    model = keras.Model(x, layers.Add()(forecasts))
    initialize(model, seed=0)
    noise = np.random.default_rng(1).normal(size=(512, 32)).astype("float32")
    # 40 outputs of one kernel each: a relative standard error of sqrt(2 / 40) at most.
    assert np.mean(ops.convert_to_numpy(model(noise)) ** 2) == pytest.approx(1, abs=3 * (2 / 40) ** 0.5)
