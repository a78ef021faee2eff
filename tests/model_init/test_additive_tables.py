"""Check tables that are added to the signal."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from tests.support.recorder import pre_activations

pytestmark = pytest.mark.check


class Reshaped(layers.Layer):
    """Add a table that the trace sees as a constant, computed from the values of the table at that time."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer=keras.initializers.RandomNormal(0.02))

    def call(self, x):
        return x + ops.reshape(ops.convert_to_tensor(self.table) * 1.0, (1, *x.shape[1:]))


def test_constants_are_computed_from_drawn_values():
    x = inputs = keras.Input((4, 8))
    table = Reshaped()
    x = layers.Dense(3)(layers.Flatten()(table(layers.Dense(8, activation="relu")(x))))
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).standard_normal((64, 4, 8)).astype("float32")
    plan = initialize(model, data=data, seed=0)
    assert any("additive_table" in row.roles for row in plan.rows)
    hidden = ops.convert_to_numpy(model.layers[1](data))
    size = np.sqrt(np.mean(ops.convert_to_numpy(table.table) ** 2))
    assert size == pytest.approx(np.sqrt(np.mean(hidden**2)), rel=0.05)
    sizes = pre_activations(model, data)
    assert sizes[model.layers[-1].path] == pytest.approx(1, rel=1e-3)


class ClassToken(layers.Layer):
    """Put a learned token in front of the sequence."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


class LogitScale(layers.Layer):
    """Multiply by exp(t), with a trainable number t, as CLIP does."""

    def build(self, shape):
        self.log_scale = self.add_weight(shape=(), initializer="zeros", name="log_scale")

    def call(self, x):
        return x * ops.exp(self.log_scale)


def test_a_trainable_number_elsewhere_does_not_hide_a_token():
    ids = keras.Input((8,), dtype="int32")
    token = ClassToken()
    x = layers.Dense(4)(token(layers.Embedding(50, 16)(ids)))
    plan = initialize(keras.Model(ids, LogitScale()(x)), seed=0)
    (row,) = [row for row in plan.rows if row.path == token.token.path]
    assert row.roles == ("additive_table",)
    assert np.sqrt(np.mean(np.square(ops.convert_to_numpy(token.token)))) == pytest.approx(1, rel=0.5)
