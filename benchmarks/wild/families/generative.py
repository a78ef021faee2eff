"""Generative models of images: DCGAN, VAE, VQ-VAE, pix2pix, and a diffusion U-Net."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from wild.data import shapes, some_digits
from wild.registry import wild


def _to_itself(size: int = 32):
    def batch(rng):
        x, _ = some_digits(rng, size)
        return x, x

    return batch


def energy_distance(a, b):
    """Return the energy distance between two batches: 0 for equal distributions."""

    def mean_distance(p, q):
        squares = ops.sum(ops.square(p[:, None] - q[None]), axis=-1)
        return ops.mean(ops.sqrt(squares + 1e-12))

    a, b = (ops.reshape(t, (ops.shape(t)[0], -1)) for t in (a, b))
    return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


class TwoOptimizers(keras.Model):
    """Generator and discriminator with an optimizer each."""

    def __init__(self, generator, discriminator):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def compile(self, g_optimizer, d_optimizer):
        super().compile(optimizer=g_optimizer)
        self.d_optimizer = d_optimizer
        g_optimizer.build(self.generator.trainable_variables)
        d_optimizer.build(self.discriminator.trainable_variables)


class Adversaries(TwoOptimizers):
    """Generator and discriminator, trained in turns; the measure is the energy distance to the real batch."""

    def __init__(self, generator, discriminator, latent):
        super().__init__(generator, discriminator)
        self.latent = latent
        self.cross_entropy = keras.losses.BinaryCrossentropy()
        self.distance = keras.metrics.Mean("distance")
        self.random = keras.random.SeedGenerator(1)

    def train_step(self, data):
        real = data[0]
        size = ops.shape(real)[0]
        fake = self.generator(keras.random.normal((size, self.latent), seed=self.random))
        labels = ops.concatenate([ops.ones((size, 1)), ops.zeros((size, 1))])
        labels += 0.05 * keras.random.uniform(ops.shape(labels), seed=self.random)
        with tf.GradientTape() as tape:
            guess = self.discriminator(ops.concatenate([fake, real]), training=True)
            d_loss = self.cross_entropy(labels, guess)
        variables = self.discriminator.trainable_variables
        self.d_optimizer.apply(tape.gradient(d_loss, variables), variables)
        noise = keras.random.normal((size, self.latent), seed=self.random)
        with tf.GradientTape() as tape:
            fake = self.generator(noise, training=True)
            g_loss = self.cross_entropy(ops.zeros((size, 1)), self.discriminator(fake))
        variables = self.generator.trainable_variables
        self.optimizer.apply(tape.gradient(g_loss, variables), variables)
        self.distance.update_state(energy_distance(fake, real))
        return {"distance": self.distance.result()}


def _adversaries(model, x, y):
    noise = np.random.default_rng(0).normal(size=(64, model.latent)).astype("float32")
    return [(model.generator, noise, None), (model.discriminator, x, None)]


@wild(
    "DCGAN", "keras.io/examples/generative/dcgan_overriding_train_step", _to_itself(),
    measure="distance", parts=_adversaries,
)  # fmt: skip
def dcgan():
    """Build the tutorial's networks for 8 x 8 images."""
    discriminator = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    generator = keras.Sequential(
        [
            keras.Input((32,)),
            layers.Dense(2 * 2 * 64),
            layers.Reshape((2, 2, 64)),
            layers.Conv2DTranspose(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(1, 5, padding="same", activation="sigmoid"),
        ]
    )
    model = Adversaries(generator, discriminator, 32)
    model.compile(keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4))
    return model


class Sampling(layers.Layer):
    """Draw z from a Gaussian, and add its divergence from the standard one to the loss."""

    def __init__(self):
        super().__init__()
        self.random = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        self.add_loss(ops.mean(ops.sum(divergence, axis=1)))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.random)


def _pixel_sum(x, guess):
    return ops.mean(ops.sum(keras.losses.binary_crossentropy(x, guess), axis=(1, 2)))


@wild("VAE", "Kingma & Welling 2014; keras.io/examples/generative/vae", _to_itself())
def vae():
    """Build the tutorial's convolutional encoder and decoder."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(inputs)
    x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    z = Sampling()([layers.Dense(2, name="z_mean")(x), layers.Dense(2, name="z_log_var")(x)])
    x = layers.Reshape((2, 2, 64))(layers.Dense(2 * 2 * 64, activation="relu")(z))
    x = layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(x)
    model = keras.Model(inputs, layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x))
    model.compile(keras.optimizers.Adam(1e-3), _pixel_sum, jit_compile=False)
    return model


class Quantizer(layers.Layer):
    """Replace each vector by the nearest of a table, and let the gradient pass straight through."""

    def __init__(self, count, width, beta=0.25):
        super().__init__()
        self.count, self.width, self.beta = count, width, beta

    def build(self, shape):
        self.table = self.add_weight(
            shape=(self.width, self.count), initializer=keras.initializers.RandomUniform(), name="table"
        )

    def call(self, x):
        flat = ops.reshape(x, (-1, self.width))
        distances = (
            ops.sum(flat**2, axis=1, keepdims=True)
            + ops.sum(self.table**2, axis=0)
            - 2 * ops.matmul(flat, self.table)
        )
        chosen = ops.one_hot(ops.argmin(distances, axis=1), self.count)
        found = ops.reshape(ops.matmul(chosen, ops.transpose(self.table)), ops.shape(x))
        commitment = ops.mean((ops.stop_gradient(found) - x) ** 2)
        self.add_loss(self.beta * commitment + ops.mean((found - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(found - x)


@wild(
    "VQ-VAE",
    "van den Oord 2017; keras.io/examples/generative/vq_vae",
    _to_itself(),
    remark="Keras's start has latents of 0.05 and codes of 0.03, close together, `initialize` has latents of "
    "0.4, far from every code; with latents and codes a tenth as large it ends at 0.53",
)
def vq_vae():
    """Build the tutorial's encoder, quantizer and decoder; the error is divided by the data's variance."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(inputs)
    x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = Quantizer(64, 16)(layers.Conv2D(16, 1, padding="same")(x))
    x = layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(x)
    model = keras.Model(inputs, layers.Conv2DTranspose(1, 3, padding="same")(x))
    model.compile(
        keras.optimizers.Adam(1e-3), lambda x, guess: ops.mean((x - guess) ** 2) / 0.14, jit_compile=False
    )
    return model


class Pix2Pix(TwoOptimizers):
    """Generator with an L1 loss and an adversary that sees the source image, too."""

    def __init__(self, generator, discriminator):
        super().__init__(generator, discriminator)
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self.l1 = keras.metrics.Mean("l1")

    def train_step(self, data):
        source, real = data[:2]
        with tf.GradientTape(persistent=True) as tape:
            fake = self.generator(source, training=True)
            on_real = self.discriminator([source, real], training=True)
            on_fake = self.discriminator([source, fake], training=True)
            l1 = ops.mean(ops.abs(real - fake))
            g_loss = self.cross_entropy(ops.ones_like(on_fake), on_fake) + 100 * l1
            d_loss = self.cross_entropy(ops.ones_like(on_real), on_real)
            d_loss += self.cross_entropy(ops.zeros_like(on_fake), on_fake)
        pairs = ((self.optimizer, g_loss, self.generator), (self.d_optimizer, d_loss, self.discriminator))
        for optimizer, loss, network in pairs:
            variables = network.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        self.l1.update_state(l1)
        return {"l1": self.l1.result()}


def _coloured(rng):
    images, masks, _ = shapes(rng, 16, 16)
    return keras.utils.to_categorical(masks, 3).astype("float32"), 2 * images - 1


@wild(
    "pix2pix", "Isola 2017; tensorflow.org/tutorials/generative/pix2pix", _coloured, measure="l1",
    parts=lambda model, x, y: [(model.generator, x, None), (model.discriminator, [x, y], None)],
)  # fmt: skip
def pix2pix():
    """Build a U-Net generator and a patch discriminator, all kernels from N(0, 0.02^2)."""

    def options():
        return {
            "padding": "same", "use_bias": False,
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02),
        }  # fmt: skip

    inputs = x = keras.Input((16, 16, 3))
    skips = []
    for depth, width in enumerate((16, 32, 64, 64)):
        x = layers.Conv2D(width, 4, strides=2, **options())(x)
        x = layers.LeakyReLU()(layers.BatchNormalization()(x) if depth else x)
        skips.append(x)
    for depth, width in enumerate((64, 32, 16)):
        x = layers.BatchNormalization()(layers.Conv2DTranspose(width, 4, strides=2, **options())(x))
        x = layers.ReLU()(layers.Dropout(0.5)(x) if depth == 0 else x)
        x = layers.Concatenate()([x, skips[2 - depth]])
    end = options() | {"use_bias": True}
    generator = keras.Model(inputs, layers.Conv2DTranspose(3, 4, strides=2, activation="tanh", **end)(x))
    source, target = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    x = layers.Concatenate()([source, target])
    x = layers.LeakyReLU()(layers.Conv2D(16, 4, strides=2, **options())(x))
    x = layers.LeakyReLU()(layers.BatchNormalization()(layers.Conv2D(32, 4, strides=2, **options())(x)))
    x = layers.LeakyReLU()(layers.BatchNormalization()(layers.Conv2D(64, 4, **options())(x)))
    discriminator = keras.Model([source, target], layers.Conv2D(1, 4, **end)(x))
    model = Pix2Pix(generator, discriminator)
    model.compile(keras.optimizers.Adam(2e-4, beta_1=0.5), keras.optimizers.Adam(2e-4, beta_1=0.5))
    return model
