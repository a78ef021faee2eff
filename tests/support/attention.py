"""Attentions that tests write by hand, in the ways that people write them."""

import keras
import numpy as np
from keras import layers, ops


class Attention(layers.Layer):
    """One attention whose scores `compare(query, key)` computes; it keeps its last scores in `scores`."""

    def __init__(self, compare, width=32, **kwargs):
        super().__init__(**kwargs)
        self.compare, self.scores = compare, None
        self.parts = [layers.Dense(width, name=name) for name in ("q", "k", "v", "o")]
        self.learned = self.add_weight(name="learned", shape=(), initializer=keras.initializers.Constant(3.0))

    def build(self, shape):
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        query, key, value, output = self.parts
        self.scores = self.compare(self, query(x), key(x))
        return output(ops.matmul(ops.softmax(self.scores), value(x)))


def model_of(compare, blocks=2, width=32, length=8):
    """Return a pre-norm stack of attentions."""
    x = y = keras.Input((length, width))
    for number in range(blocks):
        attention = Attention(compare, width, name=f"attention{number}")
        y = y + attention(layers.LayerNormalization()(y))
    return keras.Model(x, layers.Dense(3, name="head")(y))


def matmul(layer, query, key):
    return ops.matmul(query, ops.transpose(key, (0, 2, 1)))


def einsum(layer, query, key):
    return ops.einsum("btd,bsd->bts", query, key)


def key_first(layer, query, key):
    """Keys first, as in Keras's MultiHeadAttention."""
    return ops.einsum("bsd,btd->bts", key, query)


def transposed(layer, query, key):
    """Scores that are transposed before the softmax."""
    return ops.swapaxes(ops.matmul(key, ops.transpose(query, (0, 2, 1))), 1, 2)


def in_a_head(layer, query, key):
    """One head on an axis of its own, keys first, and a reshape before the softmax."""
    query, key = ops.expand_dims(query, 2), ops.expand_dims(key, 2)
    scores = ops.transpose(ops.einsum("bkhd,bqhd->bhkq", key, query), (0, 1, 3, 2))
    return ops.reshape(scores, (-1, query.shape[1], key.shape[1]))


def learned(layer, query, key):
    return matmul(layer, query, key) * layer.learned


def position_bias(layer, query, key):
    """A bias that depends on the input by its shape only, as when T5 hands it from layer to layer."""
    positions = ops.cumsum(ops.ones_like(query[:1, :, :1]), axis=1)
    return matmul(layer, query, key) + (positions - ops.transpose(positions, (0, 2, 1))) / 80


def two_products(layer, query, key):
    """Scores of content and of neighbouring content, as in XLNet."""
    return matmul(layer, query, key) + matmul(layer, query + 1.0, ops.roll(key, 1, axis=1))


def divided(layer, query, key):
    return matmul(layer, query, key) / query.shape[-1] ** 0.5


def normalized(layer, query, key):
    return 10 * matmul(layer, ops.normalize(query), ops.normalize(key))


UNSCALED = [matmul, einsum, key_first, transposed, in_a_head, learned, position_bias]


def score_stds(model):
    """Return the standard deviation of the scores of each attention in a stack, on fresh noise."""
    noise = np.random.default_rng(1).standard_normal((32, *model.input_shape[1:]))
    model(noise)
    attentions = [layer for layer in model.layers if isinstance(layer, Attention)]
    return [float(np.std(ops.convert_to_numpy(attention.scores))) for attention in attentions]
