"""Models of sequences: TCN, WaveNet, CRNN with CTC, seq2seq with attention, N-BEATS, image captioning."""

import keras
import numpy as np
from keras import layers, ops

from wild.data import NAMES, some_digits
from wild.registry import wild


def _adding(rng):
    """Draw 60 numbers in 0..1 with two of them marked, and the sum of those two."""
    values, marks = rng.uniform(0, 1, (32, 60)), np.zeros((32, 60))
    first, second = rng.integers(0, 30, 32), rng.integers(30, 60, 32)
    marks[np.arange(32), first] = marks[np.arange(32), second] = 1
    x = np.stack([values, marks], axis=2).astype("float32")
    return x, (values * marks).sum(axis=1, keepdims=True).astype("float32")


@wild("TCN", "Bai 2018, adding problem", _adding)
def tcn():
    """Build five blocks of dilated causal convolutions, kernels from N(0, 0.01^2) as in the authors' code."""

    def conv(width, size, dilation):
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Conv1D(width, size, padding="causal", dilation_rate=dilation, kernel_initializer=normal)

    inputs = x = keras.Input((60, 2))
    for level in range(5):
        h = x
        for _ in range(2):
            h = layers.ReLU()(conv(24, 5, 2**level)(h))
        skip = x if x.shape[-1] == 24 else conv(24, 1, 1)(x)
        x = layers.ReLU()(h + skip)
    normal = keras.initializers.RandomNormal(stddev=0.01)
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer=normal)(x[:, -1]))
    model.compile(keras.optimizers.Adam(4e-3), "mse", jit_compile=False)
    return model


def _waves(rng):
    """Draw sums of two sines with noise, by mu-law in 64 levels, and the next level at each time."""
    t = np.arange(65)
    speed, phase = rng.uniform(0.05, 0.6, (8, 2, 1)), rng.uniform(0, 2 * np.pi, (8, 2, 1))
    wave = np.clip(0.45 * np.sin(speed * t + phase).sum(axis=1) + rng.normal(0, 0.02, (8, 65)), -1, 1)
    law = np.sign(wave) * np.log1p(63 * abs(wave)) / np.log(64)
    levels = ((law + 1) / 2 * 63).round().astype("int32")
    return levels[:, :-1], levels[:, 1:]


@wild("WaveNet", "van den Oord 2016", _waves)
def wavenet():
    """Build ten gated blocks of dilated causal convolutions with skip connections."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Conv1D(24, 2, padding="causal")(layers.Lambda(lambda n: ops.one_hot(n, 64))(inputs))
    skips = []
    for block in range(10):
        options = {"padding": "causal", "dilation_rate": 2 ** (block % 5)}
        h = layers.Conv1D(24, 2, activation="tanh", **options)(x)
        h = h * layers.Conv1D(24, 2, activation="sigmoid", **options)(x)
        skips.append(layers.Conv1D(32, 1)(h))
        x = x + layers.Conv1D(24, 1)(h)
    h = layers.Conv1D(64, 1, activation="relu")(layers.ReLU()(layers.Add()(skips)))
    model = keras.Model(inputs, layers.Conv1D(64, 1)(h))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    return model


def _captcha(rng):
    """Draw four digits in a row of 8 x 40 pixels, with random gaps, and their labels 1..10."""
    x, y = some_digits(rng, 64)
    images = np.zeros((16, 8, 40, 1), "float32")
    for n in range(16):
        starts = np.arange(4) * 8 + np.sort(rng.integers(0, 9, 4))
        for k, start in enumerate(starts):
            images[n, :, start : start + 8] = x[4 * n + k]
    return images, y.reshape(16, 4) + 1


@wild("CRNN with CTC", "Shi 2015; keras.io/examples/vision/captcha_ocr", _captcha)
def crnn():
    """Build the tutorial's two convolutions and two bidirectional LSTMs."""
    inputs = keras.Input((8, 40, 1))
    x = layers.Conv2D(16, 3, activation="relu", kernel_initializer="he_normal", padding="same")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(32, 3, activation="relu", kernel_initializer="he_normal", padding="same")(x)
    x = layers.Reshape((20, 4 * 32))(layers.Permute((2, 1, 3))(x))
    x = layers.Dropout(0.2)(layers.Dense(32, activation="relu")(x))
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    model = keras.Model(inputs, layers.Dense(11)(x))
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.CTC(), jit_compile=False)
    return model


def _reversed(rng):
    """Draw sequences of eight symbols; the decoder reads the reversed sequence, one symbol late."""
    source = rng.integers(2, 12, (32, 8)).astype("int32")
    target = source[:, ::-1]
    shifted = np.concatenate([np.ones((32, 1), "int32"), target[:, :-1]], axis=1)
    return [source, shifted], target


@wild("seq2seq with attention", "Luong 2015; keras.io/examples/nlp/lstm_seq2seq", _reversed)
def seq2seq():
    """Build an LSTM encoder and decoder with dot-product attention; the task is to reverse eight symbols."""
    source, shifted = keras.Input((8,), dtype="int32"), keras.Input((8,), dtype="int32")
    encoded, *state = layers.LSTM(48, return_sequences=True, return_state=True)(
        layers.Embedding(12, 24)(source)
    )
    decoded = layers.LSTM(48, return_sequences=True)(layers.Embedding(12, 24)(shifted), initial_state=state)
    context = layers.Attention()([decoded, encoded])
    h = layers.Dense(48, activation="tanh")(layers.Concatenate()([context, decoded]))
    model = keras.Model([source, shifted], layers.Dense(12, activation="softmax")(h))
    model.compile(keras.optimizers.RMSprop(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def _series(rng):
    """Draw 30 and 10 steps of a trend with a season and noise, on a level of about 10."""
    t = np.arange(40) / 10
    trend, height = rng.normal(0, 1, (64, 1)), rng.uniform(0.5, 2, (64, 1))
    phase = rng.uniform(0, 2 * np.pi, (64, 1))
    x = 10 + trend * t + height * np.sin(2 * np.pi * t + phase) + rng.normal(0, 0.1, (64, 40))
    return x[:, :30].astype("float32"), x[:, 30:].astype("float32")


@wild("N-BEATS", "Oreshkin 2020, generic", _series)
def n_beats():
    """Build six generic blocks: four ReLU layers, coefficients, and a backcast that is subtracted."""
    inputs = x = keras.Input((30,))
    forecasts = []
    for _ in range(6):
        h = x
        for _ in range(4):
            h = layers.Dense(64, activation="relu")(h)
        x = x - layers.Dense(30)(layers.Dense(16, use_bias=False)(h))
        forecasts.append(layers.Dense(10)(layers.Dense(16, use_bias=False)(h)))
    model = keras.Model(inputs, layers.Add()(forecasts))
    model.compile(keras.optimizers.Adam(1e-3), "mae", jit_compile=False)
    return model


def _captions(rng):
    """Draw digits with their English names, spelled: the letters so far, and the next letter (0 ends)."""
    x, y = some_digits(rng, 32)
    letters = np.zeros((32, 7), "int32")
    letters[:, 0] = 27
    for n, label in enumerate(y):
        letters[n, 1 : 1 + len(NAMES[label])] = [ord(c) - 96 for c in NAMES[label]]
    return [x, letters[:, :-1]], letters[:, 1:]


@wild("image captioning", "Vinyals 2015 (Show and Tell)", _captions)
def captioning():
    """Build a convolutional encoder whose features are the first word that an LSTM reads."""
    image, letters = keras.Input((8, 8, 1)), keras.Input((6,), dtype="int32")
    f = layers.Conv2D(16, 3, activation="relu")(image)
    f = layers.Flatten()(layers.Conv2D(32, 3, strides=2, activation="relu")(f))
    f = layers.Reshape((1, 32))(layers.Dense(32)(f))
    words = layers.Concatenate(axis=1)([f, layers.Embedding(28, 32)(letters)])
    x = layers.LSTM(64, return_sequences=True)(words)[:, 1:]
    model = keras.Model([image, letters], layers.Dense(28)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    return model
