"""Check which numbers count as the multiplier of a step, and which look-ups are added to it."""

import keras
import pytest
from keras import layers, ops

from keras_initx._graph import trace
from keras_initx.model_init.multipliers import added_lookups, constant_multiplier


class Scale(layers.Layer):
    """Multiply by a learned number."""

    def build(self, shape):
        self.alpha = self.add_weight(shape=(), initializer="ones", name="alpha")

    def call(self, x):
        return x * self.alpha


CASES = {
    "none": (lambda h: layers.Dense(2)(h), 1),
    "product": (lambda h: h * 3.0, 3),
    "from the left": (lambda h: 3.0 * h, 3),
    "constant tensor": (lambda h: h * ops.sqrt(ops.convert_to_tensor(16.0)), 4),
    "quotient": (lambda h: h / 4.0, 0.25),
    "its reciprocal": (lambda h: 4.0 / (h + 1.0), 1),
    "twice": (lambda h: layers.Dropout(0.1)(h * 3.0) * 2.0, 6),
    "rescaling": (lambda h: layers.Rescaling(5.0)(h), 5),
    "rescaling with an offset": (lambda h: layers.Rescaling(5.0, 1.0)(h), 1),
    "a learned number": (lambda h: Scale()(h), 1),
    "read elsewhere too": (lambda h: [h * 3.0, ops.relu(h)], 1),
    "after an activation": (lambda h: ops.relu(h) * 3.0, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_multiplier(name):
    after, expected = CASES[name]
    x = keras.Input((4,))
    graph = trace(keras.Model(x, after(layers.Dense(4, name="first")(x))))
    first = next(step for step in graph.steps if step.path == "first")
    assert constant_multiplier(graph, first) == pytest.approx(expected)


def test_the_lookups_that_are_added():
    ids, kinds = keras.Input((4,), dtype="int32"), keras.Input((4,), dtype="int32")
    table = layers.Embedding(9, 3, name="table")
    h = table(ids) * 2.0 + layers.Embedding(4, 3, name="positions")(ids)
    h = h + layers.Embedding(2, 3, name="kinds")(kinds)
    h = layers.LayerNormalization()(h) + layers.Embedding(2, 3, name="later")(kinds)
    graph = trace(keras.Model([ids, kinds], h))
    first = next(step for step in graph.steps if step.path == "table")
    assert {step.path for step in added_lookups(graph, first)} == {"positions", "kinds"}
