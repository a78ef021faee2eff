"""Every function of a weight of one number that reaches the scores of an attention."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx as ki
from keras_initx._graph import trace
from tests.support import attention
from tests.support.contexts import contexts_by_name, contexts_of

pytestmark = pytest.mark.check

WIDTH = 16
# The weight is 3.
FUNCTIONS = {
    "itself": (lambda w: w, 3.0),
    "cast": (lambda w: ops.cast(w, "float32"), 3.0),
    "exp": (ops.exp, math.e**3),
    "clipped exp": (lambda w: ops.minimum(ops.exp(w), 10.0), 10.0),
    "root": (ops.sqrt, 3**0.5),
    "square": (lambda w: w**2, 9.0),
    "softplus": (ops.softplus, math.log1p(math.e**3)),
    "reciprocal": (lambda w: 1 / ops.softplus(w), 1 / math.log1p(math.e**3)),
    "sigmoid": (lambda w: 4 * ops.sigmoid(w), 4 / (1 + math.e**-3)),
    "with axes": (lambda w: ops.reshape(ops.exp(w), (1, 1, 1)), math.e**3),
}
PLACES = {
    "scores": (lambda q, k, s: (q @ k) * s, 1),
    "left": (lambda q, k, s: ops.multiply(s, q @ k), 1),
    "queries": (lambda q, k, s: (q * s) @ k, 1),
    "keys": (lambda q, k, s: q @ (k * s), 1),
    "division": (lambda q, k, s: (q @ k) / s, -1),
}


def scaled(function, place):
    def compare(layer, query, key):
        return place(query, ops.transpose(key, (0, 2, 1)), function(layer.learned))

    return compare


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_a_weight_counts_with_its_value(function, place):
    """A score of width d has variance d f^4 s^2, for a factor f on each side and a scale s."""
    (compute, value), (put, sign) = FUNCTIONS[function], PLACES[place]
    contexts = contexts_of(attention.model_of(scaled(compute, put), blocks=1, width=WIDTH))
    for side in "qk":
        assert contexts[side].score_factor ** 4 * WIDTH * value ** (2 * sign) == pytest.approx(1)


@pytest.mark.parametrize("function", ["exp", "reciprocal"])
def test_the_softmax_reads_scores_of_variance_1(function):
    model = attention.model_of(scaled(FUNCTIONS[function][0], PLACES["scores"][0]))
    ki.initialize(model, seed=0)
    assert attention.score_stds(model) == pytest.approx([1, 1], rel=0.25)


def test_the_argument_of_the_fused_attention():
    class Fused(layers.Layer):
        def build(self, shape):
            self.log_scale = self.add_weight(shape=(), initializer="ones")

        def call(self, query, key, value):
            return ops.dot_product_attention(query, key, value, scale=ops.exp(self.log_scale))

    x = keras.Input((6, 2, WIDTH))
    parts = [layers.EinsumDense("bthd,dc->bthc", (None, 2, WIDTH), name=name)(x) for name in "qkv"]
    contexts = contexts_by_name(trace(keras.Model(x, layers.Dense(2)(Fused()(*parts)))))
    assert contexts["q"].score_factor ** 4 * WIDTH * math.e**2 == pytest.approx(1)


def test_a_scale_for_every_head():
    """Heads of different scales share their kernels, so the root mean square of the scales counts."""

    class Heads(layers.Layer):
        def build(self, shape):
            self.log_scale = self.add_weight(shape=(2,), initializer="zeros")
            self.log_scale.assign([0.0, 1.0])

        def call(self, query, key):
            scores = ops.einsum("bqhd,bkhd->bhqk", query, key)
            return ops.softmax(scores * ops.exp(self.log_scale)[:, None, None])

    x = keras.Input((6, 8))
    query, key, value = (layers.EinsumDense("btd,dhc->bthc", (6, 2, WIDTH), name=n)(x) for n in "qkv")
    y = ops.einsum("bhqk,bkhd->bqhd", Heads()(query, key), value)
    contexts = contexts_by_name(trace(keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))))
    assert contexts["q"].score_factor ** 4 * WIDTH * (1 + math.e**2) / 2 == pytest.approx(1)


@pytest.mark.parametrize(
    "number",
    [
        lambda z: z * 0.1,
        lambda z: z / np.float32(WIDTH),
        lambda z: layers.Rescaling(0.1)(z),
        lambda z: z / ops.sqrt(ops.cast(WIDTH, "float32")),
    ],
)
def test_a_number_is_the_choice_of_the_author(number):
    x = keras.Input((6, 8))
    query, key, value = (layers.Dense(WIDTH, name=name)(x) for name in "qkv")
    scores = number(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
    y = layers.Dense(1)(ops.matmul(ops.softmax(scores), value))
    contexts = contexts_by_name(trace(keras.Model(x, y)))
    assert contexts["q"].score_factor == contexts["k"].score_factor == 1
