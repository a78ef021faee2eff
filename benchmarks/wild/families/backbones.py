"""Classifiers of images: SE-ResNet, MobileNetV3, ConvNeXt, MLP-Mixer, gMLP, capsules, highway network."""

import keras
from keras import layers, ops

from wild.data import digit_batch
from wild.registry import wild

_CROSS_ENTROPY = "sparse_categorical_crossentropy"


def _compiled(inputs, x, optimizer, pool=layers.GlobalAveragePooling2D, **options):
    x = pool()(x) if pool else x
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", **options)(x))
    model.compile(optimizer, _CROSS_ENTROPY, jit_compile=False)
    return model


@wild("SE-ResNet", "He 2016, Hu 2018", digit_batch(16))
def se_resnet():
    """Build four bottleneck blocks with squeeze-and-excitation, by He, for SGD with momentum."""

    def conv(x, width, size, strides=1):
        options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
        return layers.BatchNormalization()(layers.Conv2D(width, size, strides=strides, **options)(x))

    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(conv(inputs, 32, 3))
    for width, strides in ((32, 1), (32, 1), (64, 2), (64, 1)):
        skip = x if strides == 1 else conv(x, width, 1, strides)
        h = layers.ReLU()(conv(x, width // 4, 1))
        h = layers.ReLU()(conv(h, width // 4, 3, strides))
        h = conv(h, width, 1)
        s = layers.GlobalAveragePooling2D(keepdims=True)(h)
        s = layers.Dense(width // 16, activation="relu", kernel_initializer="he_normal")(s)
        h = h * layers.Dense(width, activation="sigmoid")(s)
        x = layers.ReLU()(h + skip)
    return _compiled(inputs, x, keras.optimizers.SGD(0.1, momentum=0.9))


def _hard_swish(x):
    return x * layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)


@wild("MobileNetV3", "Howard 2019; keras.applications", digit_batch(16))
def mobilenet_v3():
    """Build inverted residual blocks as keras.applications does, for 8 x 8 images.

    The paper's rate of 0.1 is for batches of 4,096; it is divided by 128.
    """

    def norm(x):
        return layers.BatchNormalization(epsilon=1e-3, momentum=0.999)(x)

    inputs = keras.Input((8, 8, 1))
    x = _hard_swish(norm(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    for expansion, width, strides in ((2, 16, 1), (4, 24, 2), (3, 24, 1), (4, 24, 1)):
        h = norm(layers.Conv2D(expansion * x.shape[-1], 1, padding="same", use_bias=False)(x))
        h = _hard_swish(h)
        h = norm(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(h))
        h = _hard_swish(h)
        s = layers.GlobalAveragePooling2D(keepdims=True)(h)
        s = layers.ReLU()(layers.Conv2D(max(h.shape[-1] // 4, 8), 1)(s))
        s = layers.Conv2D(h.shape[-1], 1)(s)
        h = layers.Multiply()([h, layers.ReLU(6.0)(s + 3.0) * (1.0 / 6.0)])
        h = norm(layers.Conv2D(width, 1, padding="same", use_bias=False)(h))
        x = layers.Add()([x, h]) if strides == 1 and x.shape[-1] == width else h
    x = _hard_swish(norm(layers.Conv2D(96, 1, use_bias=False)(x)))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Dropout(0.2)(_hard_swish(layers.Conv2D(128, 1)(x)))
    x = layers.Flatten()(layers.Conv2D(10, 1)(x))
    model = keras.Model(inputs, layers.Activation("softmax")(x))
    optimizer = keras.optimizers.RMSprop(0.1 / 128, momentum=0.9)
    model.compile(optimizer, _CROSS_ENTROPY, jit_compile=False)
    return model


class LayerScale(layers.Layer):
    """Multiply each channel by a weight that starts at 1e-6."""

    def build(self, shape):
        self.gamma = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(1e-6), name="gamma"
        )

    def call(self, x):
        return x * self.gamma


@wild("ConvNeXt", "Liu 2022; keras.applications", digit_batch(16))
def convnext():
    """Build four blocks with layer scale, all kernels from a truncated normal of 0.02, for AdamW."""

    def small():
        return {"kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.02)}

    inputs = keras.Input((8, 8, 1))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(32, 2, strides=2, **small())(inputs))
    for _ in range(4):
        h = layers.Conv2D(32, 7, padding="same", groups=32, **small())(x)
        h = layers.Dense(128, activation="gelu", **small())(layers.LayerNormalization(epsilon=1e-6)(h))
        x = x + LayerScale()(layers.Dense(32, **small())(h))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return _compiled(inputs, x, keras.optimizers.AdamW(1e-3, weight_decay=0.05), None, **small())


def _patches(inputs, width):
    # In -1..1, as these networks are fed: a blank patch of zeros would have no direction to normalize.
    x = layers.Reshape((4, 2, 4, 2))(layers.Rescaling(2.0, -1.0)(inputs))
    x = layers.Permute((1, 3, 2, 4))(x)
    return layers.Dense(width)(layers.Reshape((16, 4))(x))


@wild("MLP-Mixer", "Tolstikhin 2021; keras.io mlp_image_classification", digit_batch(16))
def mixer():
    """Build the tutorial's four blocks; they add the mixed tokens to the input, then mix the channels."""
    inputs = keras.Input((8, 8, 1))
    x = _patches(inputs, 48)
    for _ in range(4):
        h = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(x))
        h = layers.Dropout(0.2)(layers.Dense(16)(layers.Dense(16, activation="gelu")(h)))
        x = layers.Permute((2, 1))(h) + x
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.Dropout(0.2)(layers.Dense(48)(layers.Dense(48, activation="gelu")(h)))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(x))
    return _compiled(inputs, x, keras.optimizers.AdamW(5e-3, weight_decay=1e-4), None)


@wild("gMLP", "Liu 2021", digit_batch(16))
def gmlp():
    """Build four blocks whose spatial kernels start near 0 and their biases at 1, as in the paper."""
    inputs = keras.Input((8, 8, 1))
    x = _patches(inputs, 32)
    for _ in range(4):
        h = layers.Dense(64, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        u, v = ops.split(h, 2, axis=-1)
        v = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(v))
        near_zero = keras.initializers.RandomNormal(stddev=1e-6)
        v = layers.Dense(16, kernel_initializer=near_zero, bias_initializer="ones")(v)
        x = x + layers.Dense(32)(u * layers.Permute((2, 1))(v))
    x = layers.GlobalAveragePooling1D()(x)
    return _compiled(inputs, x, keras.optimizers.AdamW(3e-3, weight_decay=1e-4), None)


def _squash(x):
    square = ops.sum(x**2, axis=-1, keepdims=True)
    return x * square / (1 + square) / ops.sqrt(square + 1e-7)


class Capsules(layers.Layer):
    """Capsules of the next layer, by three rounds of routing by agreement."""

    def __init__(self, count, width):
        super().__init__()
        self.count, self.width = count, width

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(shape[1], self.count, shape[2], self.width),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
            name="kernel",
        )

    def call(self, x):
        votes = ops.einsum("bid,ijde->bije", x, self.kernel)
        logits = ops.zeros_like(votes[..., 0])
        for turn in range(3):
            shares = ops.softmax(logits, axis=2)
            v = _squash(ops.einsum("bij,bije->bje", shares, votes))
            if turn < 2:
                logits = logits + ops.einsum("bije,bje->bij", ops.stop_gradient(votes), v)
        return v


def _margin_loss(y, lengths):
    wanted = ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), 10)
    present = wanted * ops.relu(0.9 - lengths) ** 2
    return ops.mean(ops.sum(present + 0.5 * (1 - wanted) * ops.relu(lengths - 0.1) ** 2, axis=1))


@wild("capsule network", "Sabour 2017", digit_batch(16))
def capsules():
    """Build convolutions, primary capsules of width 8 and ten capsules of width 16 with a margin loss."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, activation="relu")(inputs)
    x = layers.Lambda(_squash)(layers.Reshape((-1, 8))(layers.Conv2D(32, 3, strides=2)(x)))
    v = Capsules(10, 16)(x)
    model = keras.Model(inputs, ops.sqrt(ops.sum(v**2, axis=-1) + 1e-7))
    model.compile(keras.optimizers.Adam(1e-3), _margin_loss, jit_compile=False)
    return model


@wild("highway network", "Srivastava 2015", digit_batch(64))
def highway():
    """Build 20 highway layers whose gates start with a bias of -2, for SGD with momentum."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Dense(50, activation="relu", kernel_initializer="he_normal")(layers.Flatten()(inputs))
    closed = keras.initializers.Constant(-2.0)
    for _ in range(20):
        h = layers.Dense(50, activation="relu", kernel_initializer="he_normal")(x)
        gate = layers.Dense(50, activation="sigmoid", bias_initializer=closed)(x)
        x = gate * h + (1 - gate) * x
    return _compiled(inputs, x, keras.optimizers.SGD(0.05, momentum=0.9), None)
