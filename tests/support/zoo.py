"""Models as users write them in plain Keras, which `initialize` has to understand."""

from collections.abc import Callable

import keras
from keras import layers, ops


class Patches(layers.Layer):
    """Patch embedding with a class token and a position table, as a user writes it."""

    def __init__(self, size: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.projection = layers.Conv2D(width, size, strides=size)

    def build(self, shape):
        self.projection.build(shape)
        rows = self.projection.compute_output_shape(shape)
        count = rows[1] * rows[2]
        self.token = self.add_weight(shape=(1, 1, self.width), initializer="zeros", name="token")
        self.positions = self.add_weight(
            shape=(1, count + 1, self.width), initializer="zeros", name="positions"
        )

    def call(self, images):
        x = self.projection(images)
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.width))
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, self.width))
        return ops.concatenate([ops.cast(token, x.dtype), x], axis=1) + self.positions


def vit(blocks: int = 4, width: int = 48, size: int = 32, patch: int = 8, heads: int = 4, classes: int = 10):
    """Return a pre-norm vision transformer."""
    inputs = keras.Input((size, size, 3))
    x = Patches(patch, width, name="patches")(inputs)
    for _ in range(blocks):
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(h, h)
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        h = layers.Dense(4 * width, activation="gelu")(h)
        x = x + layers.Dropout(0.1)(layers.Dense(width)(h))
    x = layers.LayerNormalization(epsilon=1e-6)(x)[:, 0]
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x), name="vit")


class Block(layers.Layer):
    """A decoder block with handwritten attention."""

    def __init__(self, width: int, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.size = heads, width // heads
        self.first, self.second = layers.LayerNormalization(), layers.LayerNormalization()
        self.qkv, self.out = layers.Dense(3 * width, name="qkv"), layers.Dense(width, name="out")
        self.up, self.down = layers.Dense(4 * width, name="up"), layers.Dense(width, name="down")

    def build(self, shape):
        width = shape[-1]
        for layer in (self.first, self.second, self.qkv, self.out, self.up):
            layer.build(shape)
        self.down.build((*shape[:-1], 4 * width))

    def call(self, x):
        length = x.shape[1]
        q, k, v = ops.split(self.qkv(self.first(x)), 3, axis=-1)

        def split(t):
            return ops.transpose(ops.reshape(t, (-1, length, self.heads, self.size)), (0, 2, 1, 3))

        scores = ops.matmul(split(q), ops.transpose(split(k), (0, 1, 3, 2))) / self.size**0.5
        mask = ops.tril(ops.ones((length, length)))
        weights = ops.softmax(ops.where(mask > 0, scores, -1e9))
        mixed = ops.transpose(ops.matmul(weights, split(v)), (0, 2, 1, 3))
        x = x + self.out(ops.reshape(mixed, (-1, length, self.heads * self.size)))
        return x + self.down(ops.gelu(self.up(self.second(x))))


class GPT(keras.Model):
    """A GPT-like decoder as a subclassed model."""

    def __init__(self, vocabulary: int = 97, length: int = 24, width: int = 48, blocks: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.tokens = layers.Embedding(vocabulary, width, name="tokens")
        self.positions = layers.Embedding(length, width, name="positions")
        self.blocks = [Block(width, 4, name=f"block_{n}") for n in range(blocks)]
        self.norm = layers.LayerNormalization()
        self.head = layers.Dense(vocabulary, use_bias=False, name="logits")

    def call(self, ids):
        x = self.tokens(ids) + self.positions(ops.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt():
    """Return the decoder, built on a batch of ids."""
    model = GPT(name="gpt")
    model(ops.zeros((2, 24), dtype="int32"))
    return model


def lstm_tagger():
    """Return a tagger: embedding, bidirectional LSTM, GRU and one label per word."""
    inputs = keras.Input((20,), dtype="int32")
    x = layers.Embedding(200, 32)(inputs)
    x = layers.Bidirectional(layers.LSTM(24, return_sequences=True))(x)
    x = layers.GRU(32, return_sequences=True)(x)
    return keras.Model(
        inputs, layers.TimeDistributed(layers.Dense(9, activation="softmax"))(x), name="tagger"
    )


def unet():
    """Return a U-Net: down and up again, with concatenated skip connections."""
    inputs = keras.Input((32, 32, 3))
    skips, x = [], inputs
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    for filters, skip in zip((32, 16), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = layers.Concatenate()([x, skip])
        x = layers.SeparableConv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x), name="unet")


def wavenet():
    """Return a WaveNet: gated, dilated, causal convolutions with residual and skip paths."""
    inputs = keras.Input((64, 1))
    x, skips = layers.Conv1D(24, 1)(inputs), []
    for dilation in (1, 2, 4, 8, 16):
        gate = layers.Conv1D(24, 2, dilation_rate=dilation, padding="causal", activation="sigmoid")(x)
        signal = layers.Conv1D(24, 2, dilation_rate=dilation, padding="causal", activation="tanh")(x)
        h = gate * signal
        skips.append(layers.Conv1D(24, 1)(h))
        x = x + layers.Conv1D(24, 1)(h)
    x = layers.Add()(skips)
    x = layers.Conv1D(24, 1, activation="relu")(ops.relu(x))
    return keras.Model(inputs, layers.Conv1D(8, 1, activation="softmax")(x), name="wavenet")


class Experts(layers.Layer):
    """A mixture of experts with one kernel per expert, used through operations."""

    def __init__(self, experts: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self.experts, self.units = experts, units

    def build(self, shape):
        self.router = self.add_weight(shape=(shape[-1], self.experts), name="router")
        self.w = self.add_weight(shape=(self.experts, shape[-1], self.units), name="experts")

    def call(self, x):
        gates = ops.softmax(ops.matmul(x, self.router))
        return ops.einsum("be,beu->bu", gates, ops.gelu(ops.einsum("bi,eiu->beu", x, self.w)))


class Subclassed(keras.Model):
    """A model whose `call` mixes operations and layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Dense(32)
        self.experts = Experts(3, 32)
        self.gate = layers.Dense(32)
        self.out = layers.Dense(5)

    def call(self, x):
        h = ops.relu(self.stem(x))
        h = h + self.experts(h)
        h = h * ops.sigmoid(self.gate(h))
        return self.out(ops.silu(h))


def subclassed():
    """Return the subclassed model, built on a batch."""
    model = Subclassed(name="subclassed")
    model(ops.zeros((2, 12)))
    return model


def residual_cnn(normalized: bool = True, blocks: int = 4):
    """Return a residual network with two convolutions per block, with or without batch normalization."""

    def norm(x):
        return layers.BatchNormalization()(x) if normalized else x

    inputs = keras.Input((16, 16, 3))
    x = layers.Activation("relu")(norm(layers.Conv2D(16, 3, padding="same")(inputs)))
    for _ in range(blocks):
        h = layers.Activation("relu")(norm(layers.Conv2D(16, 3, padding="same")(x)))
        h = norm(layers.Conv2D(16, 3, padding="same")(h))
        x = layers.Activation("relu")(layers.Add()([x, h]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="residual_cnn")


PLAIN: dict[str, Callable[[], keras.Model]] = {
    "vit": vit,
    "gpt": gpt,
    "lstm_tagger": lstm_tagger,
    "unet": unet,
    "wavenet": wavenet,
    "subclassed": subclassed,
    "residual_cnn": residual_cnn,
}
APPLICATIONS = (
    "ResNet50", "ResNet50V2", "DenseNet121", "MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny",
    "InceptionV3", "Xception", "NASNetMobile",
)  # fmt: skip
