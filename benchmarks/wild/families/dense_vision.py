"""Models of places in an image: U-Net, DeepLabV3+, RetinaNet; and FiLM, which answers questions."""

import math

import keras
import numpy as np
from keras import layers, ops

from wild.data import shape_masks, shapes, some_digits
from wild.registry import wild


@wild("U-Net", "Ronneberger 2015; keras.io oxford_pets_image_segmentation", shape_masks(16, 16))
def unet():
    """Build the tutorial's network of separable convolutions with residual connections."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same")(inputs)
    x = previous = layers.Activation("relu")(layers.BatchNormalization()(x))
    for width in (24, 32):
        for _ in range(2):
            x = layers.SeparableConv2D(width, 3, padding="same")(layers.Activation("relu")(x))
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = previous = layers.add([x, layers.Conv2D(width, 1, strides=2, padding="same")(previous)])
    for width in (32, 24, 16):
        for _ in range(2):
            x = layers.Conv2DTranspose(width, 3, padding="same")(layers.Activation("relu")(x))
            x = layers.BatchNormalization()(x)
        x = layers.UpSampling2D(2)(x)
        skip = layers.Conv2D(width, 1, padding="same")(layers.UpSampling2D(2)(previous))
        x = previous = layers.add([x, skip])
    outputs = layers.Conv2D(3, 3, activation="softmax", padding="same")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def _block(x, width, size=3, dilation=1, bias=False):
    options = {"padding": "same", "use_bias": bias, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(width, size, dilation_rate=dilation, **options)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


@wild("DeepLabV3+", "Chen 2018; keras.io/examples/vision/deeplabv3_plus", shape_masks(8))
def deeplab():
    """Build the tutorial's pyramid of dilated convolutions and its decoder on a small residual network."""
    inputs = keras.Input((32, 32, 3))
    x = low = layers.MaxPooling2D(2)(_block(inputs, 16))
    for _ in range(2):
        width = 32
        h = _block(_block(x, 16, 1), 16)
        h = layers.BatchNormalization()(layers.Conv2D(width, 1)(h))
        skip = x if x.shape[-1] == width else layers.BatchNormalization()(layers.Conv2D(width, 1)(x))
        x = layers.ReLU()(layers.Add()([skip, h]))
    x = layers.MaxPooling2D(2)(x)
    pooled = _block(layers.AveragePooling2D(8)(x), 32, 1, bias=True)
    pooled = layers.UpSampling2D(8, interpolation="bilinear")(pooled)
    branches = [pooled, _block(x, 32, 1), *(_block(x, 32, 3, dilation) for dilation in (2, 3, 4))]
    x = layers.UpSampling2D(2, interpolation="bilinear")(_block(layers.Concatenate()(branches), 32, 1))
    x = layers.Concatenate()([x, _block(low, 12, 1)])
    x = layers.UpSampling2D(2, interpolation="bilinear")(_block(_block(x, 32), 32))
    model = keras.Model(inputs, layers.Conv2D(3, 1, padding="same")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    return model


# Anchors of one size for each cell of an 8 x 8 and a 4 x 4 map.
_STRIDES = (4, 8)


def _boxes(rng):
    """Draw images, and for each anchor the class (-1 background, -2 ignored) and the shape's offsets."""
    images, _, boxes = shapes(rng, 8, 32, 2)
    targets = []
    for stride in _STRIDES:
        centres = (np.arange(32 // stride) + 0.5) * stride
        down, right = np.meshgrid(centres, centres, indexing="ij")
        level = np.zeros((8, *down.shape, 4), "float32")
        level[..., 0] = -1
        for kind, top, left, radius in boxes.transpose(1, 2, 0)[..., None, None]:
            distance = np.maximum(abs(down - top), abs(right - left))
            near = distance <= stride * 0.75
            level[..., 0] = np.where(near, kind, level[..., 0])
            level[..., 1] = np.where(near, (top - down) / stride, level[..., 1])
            level[..., 2] = np.where(near, (left - right) / stride, level[..., 2])
            level[..., 3] = np.where(near, np.log(radius / stride), level[..., 3])
        targets.append(level.reshape(8, -1, 4))
    return images, np.concatenate(targets, axis=1)


def _detection_loss(y, out):
    kinds = ops.cast(y[..., 0], "int32")
    positive = ops.cast(kinds >= 0, "float32")
    wanted = ops.one_hot(kinds, 2)
    logits = out[..., :2]
    p = ops.sigmoid(logits)
    cross_entropy = ops.relu(logits) - logits * wanted + ops.softplus(-ops.abs(logits))
    alpha = 0.25 * wanted + 0.75 * (1 - wanted)
    away = wanted * (1 - p) + (1 - wanted) * p
    focal = ops.sum(alpha * away**2 * cross_entropy)
    error = ops.abs(y[..., 1:] - out[..., 2:])
    smooth = ops.sum(ops.where(error > 1, error - 0.5, 0.5 * error**2), axis=-1)
    return (focal + ops.sum(positive * smooth)) / ops.maximum(ops.sum(positive), 1.0)


@wild("RetinaNet", "Lin 2017; keras.io/examples/vision/retinanet", _boxes)
def retinanet():
    """Build a feature pyramid with shared heads, N(0, 0.01^2) and a prior of 0.01, for SGD with momentum."""

    def conv(width, **options):
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Conv2D(width, 3, padding="same", kernel_initializer=normal, **options)

    def head(width, bias):
        parts = [conv(32), layers.ReLU(), conv(32), layers.ReLU(), conv(width, bias_initializer=bias)]
        return keras.Sequential([keras.Input((None, None, 32)), *parts])

    inputs = keras.Input((32, 32, 3))
    c3 = layers.MaxPooling2D(2)(_block(layers.MaxPooling2D(2)(_block(inputs, 16)), 32))
    c4 = layers.MaxPooling2D(2)(_block(c3, 48))
    p4 = layers.Conv2D(32, 1)(c4)
    p3 = layers.Conv2D(32, 1)(c3) + layers.UpSampling2D(2)(p4)
    levels = [layers.Conv2D(32, 3, padding="same")(p) for p in (p3, p4)]
    classes = head(2, keras.initializers.Constant(-math.log(0.99 / 0.01)))
    boxes = head(3, "zeros")
    outputs = [
        layers.Concatenate()([layers.Reshape((-1, 2))(classes(p)), layers.Reshape((-1, 3))(boxes(p))])
        for p in levels
    ]
    model = keras.Model(inputs, layers.Concatenate(axis=1)(outputs))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), _detection_loss, jit_compile=False)
    return model


def _questions(rng):
    """Draw two digits side by side and a question of three words: which digit, and its class or parity."""
    (left, a), (right, b) = some_digits(rng, 32), some_digits(rng, 32)
    side, parity = rng.integers(0, 2, 32), rng.integers(0, 2, 32)
    words = np.stack([np.zeros(32), 1 + parity, 3 + side], axis=1).astype("int32")
    number = np.where(side, b, a)
    return [np.concatenate([left, right], axis=2), words], np.where(parity, 10 + number % 2, number)


@wild("FiLM", "Perez 2018", _questions)
def film():
    """Build three residual blocks that a recurrent reader of the question modulates; kernels by He."""
    image, question = keras.Input((8, 16, 1)), keras.Input((3,), dtype="int32")
    q = layers.GRU(64)(layers.Embedding(5, 32)(question))
    x = _block(_block(image, 32, bias=True), 32, bias=True)
    row, column = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 16), indexing="ij")
    places = np.stack([row, column], axis=-1)[None].astype("float32")

    def placed(x):
        return ops.concatenate(
            [x, ops.tile(ops.convert_to_tensor(places), (ops.shape(x)[0], 1, 1, 1))], axis=-1
        )

    for _ in range(3):
        gamma, beta = ops.split(layers.Dense(2 * 32)(q)[:, None, None], 2, axis=-1)
        first = layers.Conv2D(32, 1, activation="relu", kernel_initializer="he_uniform")(
            layers.Lambda(placed)(x)
        )
        h = layers.Conv2D(32, 3, padding="same", kernel_initializer="he_uniform")(first)
        h = layers.BatchNormalization(center=False, scale=False)(h)
        x = first + layers.ReLU()((1 + gamma) * h + beta)
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(64, 1, activation="relu")(layers.Lambda(placed)(x)))
    x = layers.Dense(12)(layers.Dense(64, activation="relu", kernel_initializer="he_uniform")(x))
    model = keras.Model([image, question], x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-4), loss, jit_compile=False)
    return model
