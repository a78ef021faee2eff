"""Transformers: BERT with a tied head, GPT with rotary embedding, T5, Perceiver, and a mixture of experts."""

import math

import keras
import numpy as np
from keras import layers, ops

from wild.data import ALPHABET, digit_batch, some_text
from wild.registry import wild

_LENGTH, _WIDTH, _HEADS = 32, 48, 4


def _normal(std, seed=None):
    return keras.initializers.RandomNormal(stddev=std, seed=seed)


def _truncated():
    return keras.initializers.TruncatedNormal(stddev=0.02)


class Table(layers.Layer):
    """Add a table of positions."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=_truncated(), name="table")

    def call(self, x):
        return x + self.table


class TiedHead(layers.Layer):
    """Multiply with the transposed table of an embedding, and add a bias."""

    def __init__(self, embedding, factor=1.0):
        super().__init__()
        self.embedding, self.factor = embedding, factor

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, x):
        return self.factor * ops.matmul(x, ops.transpose(self.embedding.embeddings)) + self.bias


def _masked_text(rng):
    text = some_text(rng, 16, _LENGTH)
    hidden = rng.uniform(size=text.shape) < 0.15
    hidden[:, 0] = True
    return np.where(hidden, ALPHABET, text), np.where(hidden, text, -1)


@wild("BERT with tied head", "Devlin 2019", _masked_text)
def bert():
    """Build four post-norm blocks, kernels from a truncated normal of 0.02, for masked characters."""

    def small():
        return {"kernel_initializer": _truncated()}

    tokens = keras.Input((_LENGTH,), dtype="int32")
    embedding = layers.Embedding(ALPHABET + 1, _WIDTH, embeddings_initializer=_truncated())
    x = layers.LayerNormalization(epsilon=1e-12)(Table()(embedding(tokens)))
    for _ in range(4):
        h = layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, **small())(x, x)
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(h))
        h = layers.Dense(_WIDTH, **small())(layers.Dense(4 * _WIDTH, activation="gelu", **small())(x))
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(h))
    x = layers.LayerNormalization(epsilon=1e-12)(layers.Dense(_WIDTH, activation="gelu", **small())(x))
    model = keras.Model(tokens, TiedHead(embedding)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.01), loss, jit_compile=False)
    return model


def _next_characters(rng):
    text = some_text(rng, 16, _LENGTH + 1)
    return text[:, :-1], text[:, 1:]


class RotaryAttention(layers.Layer):
    """Causal attention whose queries and keys are rotated by their position."""

    def __init__(self, end_std):
        super().__init__()
        self.qkv = layers.Dense(3 * _WIDTH, use_bias=False, kernel_initializer=_normal(0.02))
        self.out = layers.Dense(_WIDTH, use_bias=False, kernel_initializer=_normal(end_std))
        half = _WIDTH // _HEADS // 2
        angle = np.arange(_LENGTH)[:, None] / 10000 ** (np.arange(half) / half)
        self.cos, self.sin = (f(angle)[:, None].astype("float32") for f in (np.cos, np.sin))

    def build(self, shape):
        self.qkv.build(shape)
        self.out.build(shape)

    def rotated(self, x):
        a, b = ops.split(x, 2, axis=-1)
        return ops.concatenate([a * self.cos - b * self.sin, b * self.cos + a * self.sin], axis=-1)

    def call(self, x):
        q, k, v = (
            ops.reshape(t, (-1, _LENGTH, _HEADS, _WIDTH // _HEADS))
            for t in ops.split(self.qkv(x), 3, axis=-1)
        )
        scores = ops.einsum("bqhd,bkhd->bhqk", self.rotated(q), self.rotated(k))
        scores = scores / math.sqrt(_WIDTH // _HEADS)
        scores = ops.where(ops.tril(ops.ones((_LENGTH, _LENGTH))) > 0, scores, -1e9)
        mixed = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
        return self.out(ops.reshape(mixed, (-1, _LENGTH, _WIDTH)))


@wild("GPT, rotary", "Radford 2019 (nanoGPT), Su 2021", _next_characters)
def gpt():
    """Build four pre-norm blocks, N(0, 0.02^2) with smaller ends of branches, and a tied head."""
    end = 0.02 / math.sqrt(8)
    tokens = keras.Input((_LENGTH,), dtype="int32")
    embedding = layers.Embedding(ALPHABET, _WIDTH, embeddings_initializer=_normal(0.02))
    x = embedding(tokens)
    for _ in range(4):
        x = x + RotaryAttention(end)(layers.LayerNormalization()(x))
        h = layers.Dense(4 * _WIDTH, activation="gelu", kernel_initializer=_normal(0.02))(
            layers.LayerNormalization()(x)
        )
        x = x + layers.Dense(_WIDTH, kernel_initializer=_normal(end))(h)
    model = keras.Model(tokens, TiedHead(embedding)(layers.LayerNormalization()(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1, beta_2=0.99, clipnorm=1.0)
    model.compile(optimizer, loss, jit_compile=False)
    return model


class T5Attention(layers.Layer):
    """Attention without a scale or biases, and with a learned bias for each distance."""

    def __init__(self, causal=False, relative=True):
        super().__init__()
        self.causal, self.relative = causal, relative
        d = _WIDTH // _HEADS
        stds = {"q": (_WIDTH * d) ** -0.5, "k": _WIDTH**-0.5, "v": _WIDTH**-0.5, "o": _WIDTH**-0.5}
        for name, std in stds.items():
            dense = layers.Dense(_WIDTH, use_bias=False, kernel_initializer=_normal(std), name=name)
            setattr(self, name, dense)

    def build(self, x_shape, memory_shape=None):
        for name in "qkvo":
            getattr(self, name).build(x_shape)
        if self.relative:
            self.bias = self.add_weight(
                shape=(2 * x_shape[1] - 1, _HEADS), initializer=_normal(_WIDTH**-0.5), name="bias"
            )

    def call(self, x, memory=None):
        memory = x if memory is None else memory
        heads = [ops.reshape(f(t), (-1, t.shape[1], _HEADS, _WIDTH // _HEADS)) for f, t in
                 ((self.q, x), (self.k, memory), (self.v, memory))]  # fmt: skip
        scores = ops.einsum("bqhd,bkhd->bhqk", heads[0], heads[1])
        n, m = x.shape[1], memory.shape[1]
        if self.relative:
            distance = np.arange(m)[None] - np.arange(n)[:, None] + n - 1
            scores = scores + ops.transpose(ops.take(self.bias, distance, axis=0), (2, 0, 1))
        if self.causal:
            scores = ops.where(ops.tril(ops.ones((n, m))) > 0, scores, -1e9)
        mixed = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), heads[2])
        return self.o(ops.reshape(mixed, (-1, n, _WIDTH)))


def _span(rng):
    """Draw 16 characters with four of them hidden; the decoder writes the whole text."""
    text = some_text(rng, 16, 16)
    source = text.copy()
    source[:, 6:10] = ALPHABET
    shifted = np.concatenate([np.full((16, 1), ALPHABET), text[:, :-1]], axis=1).astype("int32")
    return [source, shifted], text


@wild("T5", "Raffel 2020", _span)
def t5():
    """Build two blocks of encoder and decoder with the paper's own variances, for Adafactor."""
    source, shifted = (keras.Input((16,), dtype="int32") for _ in range(2))
    embedding = layers.Embedding(ALPHABET + 1, _WIDTH, embeddings_initializer=_normal(1.0))

    def norm(x):
        return layers.RMSNormalization(epsilon=1e-6)(x)

    def feed_forward(x):
        h = layers.Dense(128, activation="relu", use_bias=False, kernel_initializer=_normal(_WIDTH**-0.5))(
            norm(x)
        )
        return x + layers.Dense(_WIDTH, use_bias=False, kernel_initializer=_normal(128**-0.5))(h)

    x = embedding(source)
    for _ in range(2):
        x = feed_forward(x + T5Attention()(norm(x)))
    memory = norm(x)
    x = embedding(shifted)
    for _ in range(2):
        x = x + T5Attention(causal=True)(norm(x))
        x = feed_forward(x + T5Attention(relative=False)(norm(x), memory))
    logits = TiedHead(embedding, _WIDTH**-0.5)(norm(x))
    model = keras.Model([source, shifted], logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adafactor(1e-2), loss, jit_compile=False)
    return model


class Latents(layers.Layer):
    """Learned queries, repeated for each sample."""

    def build(self, shape):
        self.table = self.add_weight(shape=(8, _WIDTH), initializer="random_normal", name="latents")

    def call(self, x):
        return ops.tile(self.table[None], (ops.shape(x)[0], 1, 1))


@wild("Perceiver", "Jaegle 2021; keras.io perceiver_image_classification", digit_batch(16))
def perceiver():
    """Build latents that attend to pixels twice, with a transformer of two blocks that both rounds share."""
    inputs = keras.Input((8, 8, 1))
    pixels = Table()(layers.Dense(_WIDTH)(layers.Reshape((64, 1))(inputs)))
    latents = Latents()(pixels)
    x = latents

    def feed_forward():
        return keras.Sequential([layers.Dense(_WIDTH, activation="gelu"), layers.Dense(_WIDTH)])

    cross = [layers.LayerNormalization(epsilon=1e-6), layers.LayerNormalization(epsilon=1e-6),
             layers.Attention(use_scale=True), *(layers.Dense(_WIDTH) for _ in range(3)),
             layers.LayerNormalization(epsilon=1e-6), feed_forward()]  # fmt: skip
    blocks = [
        (layers.LayerNormalization(epsilon=1e-6), layers.MultiHeadAttention(_HEADS, _WIDTH),
         layers.LayerNormalization(epsilon=1e-6), feed_forward())
        for _ in range(2)
    ]  # fmt: skip
    for _ in range(2):
        norm_latents, norm_pixels, attention, query, key, value, norm, mlp = cross
        q, p = norm_latents(x), norm_pixels(pixels)
        h = attention([query(q), value(p), key(p)]) + q
        x = mlp(norm(h)) + h
        for first, attend, second, mlp in blocks:
            h = first(x)
            x = x + attend(h, h)
            x = x + mlp(second(x))
    x = layers.Dense(10)(layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(x)))
    model = keras.Model(inputs, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Lamb(1e-3, weight_decay=1e-4), loss, jit_compile=False)
    return model
