"""Building a probe restores the counters of Keras, and refuses what cannot be measured."""

import keras
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx.diagnostics import diagnose
from tests.support.networks import data, dense


def test_a_model_whose_layers_are_not_built():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.built = True
    with pytest.raises(
        InitxError,
        match=r"^`model` .* has no weights, or its layers are not built. Call it once on a batch",
    ):
        diagnose(model, data(16, 8))


def test_a_model_that_returns_classes():
    inputs = keras.Input((8,))
    logits = layers.Dense(5)(inputs)
    with pytest.raises(
        InitxError, match=r"^`model` must return floats, .*outputs of type int.*before its argmax"
    ):
        diagnose(keras.Model(inputs, ops.argmax(logits, axis=-1)))
    assert diagnose(keras.Model(inputs, [logits, ops.argmax(logits, axis=-1)])).healthy


def test_names_of_later_layers():
    keras.utils.clear_session()
    model = dense()
    diagnose(model, data(16, 8))
    assert layers.Dense(1).name == f"dense_{len(model.layers)}"
