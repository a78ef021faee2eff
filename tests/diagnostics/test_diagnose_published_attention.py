"""Small BERT, Whisper and SegFormer as published: no false alarm, before and after `initialize`.

References: Devlin et al. 2019 (arXiv 1810.04805); Radford et al. 2022 (arXiv 2212.04356); Xie et al. 2021
(arXiv 2105.15203).
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = [pytest.mark.one_backend]
WIDTH = 32


def small():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def classes(model):
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model


def positions(length):
    return layers.Embedding(length, WIDTH, embeddings_initializer=small())(ops.arange(length)[None])


def bert():
    """An encoder whose branches are normalized after the sum, read at the first token."""
    ids = keras.Input((12,), dtype="int32")
    h = layers.Embedding(30, WIDTH, embeddings_initializer=small())(ids) + positions(12)
    h = layers.LayerNormalization(epsilon=1e-12)(h)
    for _ in range(2):
        attended = layers.MultiHeadAttention(2, WIDTH // 2, kernel_initializer=small())(h, h)
        h = layers.LayerNormalization(epsilon=1e-12)(h + attended)
        inner = layers.Dense(4 * WIDTH, "gelu", kernel_initializer=small())(h)
        h = layers.LayerNormalization(epsilon=1e-12)(
            h + layers.Dense(WIDTH, kernel_initializer=small())(inner)
        )
    pooled = layers.Dense(WIDTH, "tanh", kernel_initializer=small())(h[:, 0])
    x = np.random.default_rng(0).integers(0, 30, (16, 12)).astype("int32")
    return classes(keras.Model(ids, layers.Dense(2, kernel_initializer=small())(pooled))), x, x[:, 3] % 2


def whisper():
    """An encoder of sounds with sinusoidal positions, and a decoder of text with learned ones."""
    sound, text = keras.Input((32, 8)), keras.Input((10,), dtype="int32")
    angles = np.arange(16)[:, None] * np.exp(-np.log(1e4) * np.arange(WIDTH // 2) / (WIDTH // 2 - 1))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")[None]
    h = layers.Conv1D(WIDTH, 3, padding="same", activation="gelu")(sound)
    h = layers.Conv1D(WIDTH, 3, strides=2, padding="same", activation="gelu")(h) + waves

    def feed_forward(h):
        return h + layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, "gelu")(layers.LayerNormalization()(h)))

    normed = layers.LayerNormalization()(h)
    encoded = layers.LayerNormalization()(
        feed_forward(h + layers.MultiHeadAttention(2, WIDTH // 2)(normed, normed))
    )
    h = layers.Embedding(30, WIDTH, embeddings_initializer=small())(text) + positions(10)
    normed = layers.LayerNormalization()(h)
    h = h + layers.MultiHeadAttention(2, WIDTH // 2)(normed, normed, use_causal_mask=True)
    h = feed_forward(h + layers.MultiHeadAttention(2, WIDTH // 2)(layers.LayerNormalization()(h), encoded))
    model = keras.Model([sound, text], layers.Dense(30, use_bias=False)(layers.LayerNormalization()(h)))
    ids = np.random.default_rng(0).integers(0, 30, (16, 10)).astype("int32")
    return classes(model), [data(16, 32, 8), ids], np.roll(ids, -1, axis=1)


def segformer():
    """Overlapping patches, attention to fewer positions, convolutions in the branches, and an MLP decoder."""

    def convolution(filters, size, stride):
        draw = keras.initializers.VarianceScaling(2, "fan_out", "untruncated_normal")
        return layers.Conv2D(filters, size, strides=stride, padding="same", kernel_initializer=draw)

    inputs = h = keras.Input((32, 32, 3))
    features = []
    for width, patch, stride, heads, ratio in ((8, 7, 4, 1, 2), (16, 3, 2, 2, 1)):
        h = convolution(width, patch, stride)(h)
        side = h.shape[1]
        h = layers.LayerNormalization()(layers.Reshape((side * side, width))(h))
        query = key = layers.LayerNormalization()(h)
        if ratio > 1:
            key = convolution(width, ratio, ratio)(layers.Reshape((side, side, width))(query))
            key = layers.LayerNormalization()(layers.Reshape((-1, width))(key))
        h = h + layers.MultiHeadAttention(heads, width // heads, kernel_initializer=small())(query, key)
        inner = layers.Dense(4 * width, kernel_initializer=small())(layers.LayerNormalization()(h))
        draw = keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5)
        inner = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=draw)(
            layers.Reshape((side, side, 4 * width))(inner)
        )
        inner = layers.Activation("gelu")(layers.Reshape((side * side, 4 * width))(inner))
        h = h + layers.Dense(width, kernel_initializer=small())(inner)
        h = layers.Reshape((side, side, width))(layers.LayerNormalization()(h))
        features.append(layers.Resizing(8, 8)(layers.Dense(16)(h)))
    h = layers.ReLU()(layers.BatchNormalization()(convolution(16, 1, 1)(layers.Concatenate()(features))))
    outputs = layers.Conv2D(3, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))(h)
    x = data(8, 32, 32, 3)
    return classes(keras.Model(inputs, outputs)), x, (x.mean(axis=-1)[:, ::4, ::4] > 0).astype("int32")


@pytest.mark.parametrize("build", [bert, whisper, segformer])
def test_a_published_start_and_an_initialized_one_raise_no_alarm(build):
    keras.utils.set_random_seed(0)
    model, x, _ = build()
    for _ in range(2):
        report = diagnose(model, x)
        assert report.healthy, report.summary()
        # At this width the queries of BERT and SegFormer attend alike, but the stream keeps tokens apart.
        assert not report.findings, report.summary()
        assert all(head.is_bypassed == (head.spread < 1e-4) for head in report.heads)
        initialize(model, seed=0)


def test_queries_that_attend_alike_without_a_residual_connection():
    inputs = keras.Input((12, WIDTH))
    tiny = keras.initializers.RandomNormal(stddev=0.01)
    h = layers.MultiHeadAttention(2, 4, kernel_initializer=tiny)(inputs, inputs)
    for around, found in ((h, True), (inputs + h, False)):
        report = diagnose(keras.Model(inputs, layers.Dense(2)(around)), data(8, 12, WIDTH))
        assert all(head.spread < 1e-4 for head in report.heads)
        assert any("queries differ" in f.text for f in report.findings) is found


@pytest.mark.slow
@pytest.mark.parametrize("build", [bert, whisper, segformer])
def test_they_train(build):
    keras.utils.set_random_seed(0)
    model, x, y = build()
    losses = [float(model.train_on_batch(x, y)) for _ in range(100)]
    assert losses[-1] < 0.8 * losses[0]
