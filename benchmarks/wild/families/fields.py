"""Networks that represent functions: SIREN, NeRF, PINN, a neural ODE, and a hypernetwork."""

import math
from functools import cache

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from wild.data import digit_batch, digits
from wild.registry import wild


@cache
def _picture() -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates in -1..1 and values in -1..1 of 16 digits, tiled to 32 x 32 pixels."""
    tiles = digits()[0][:16].reshape(4, 4, 8, 8).transpose(0, 2, 1, 3).reshape(32, 32)
    line = np.linspace(-1, 1, 32)
    places = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return places.astype("float32"), (2 * tiles.reshape(-1, 1) - 1).astype("float32")


def _uniform(bound):
    return keras.initializers.RandomUniform(-bound, bound)


@wild("SIREN", "Sitzmann 2020", lambda rng: _picture())
def siren():
    """Build a network of sin(30 z) with the paper's own initializers; every step sees the whole picture."""

    def sine(z):
        return ops.sin(30.0 * z)

    model = keras.Sequential([keras.Input((2,)), layers.Dense(64, sine, kernel_initializer=_uniform(0.5))])
    for _ in range(3):
        model.add(layers.Dense(64, sine, kernel_initializer=_uniform(math.sqrt(6 / 64) / 30)))
    model.add(layers.Dense(1, kernel_initializer=_uniform(math.sqrt(6 / 64) / 30)))
    model.compile(keras.optimizers.Adam(1e-4), "mse", jit_compile=False)
    return model


_SAMPLES = 16


def _rays(rng):
    """Draw points on 48 rays through two coloured balls, and the colours that volume rendering gives."""
    angle = rng.uniform(0, 2 * np.pi, 48)
    eye = np.stack([3 * np.cos(angle), 3 * np.sin(angle), rng.uniform(-1, 1, 48)], axis=1)
    goal = rng.uniform(-0.8, 0.8, (48, 3))
    direction = (goal - eye) / np.linalg.norm(goal - eye, axis=1, keepdims=True)
    depth = np.linspace(2.0, 4.2, _SAMPLES)
    points = eye[:, None] + depth[:, None] * direction[:, None]
    colour, density = np.zeros((48, _SAMPLES, 3)), np.zeros((48, _SAMPLES))
    for centre, radius, shade in (((0.4, 0, 0), 0.5, (1, 0.2, 0.1)), ((-0.5, 0.2, 0.1), 0.4, (0.1, 0.3, 1))):
        inside = np.linalg.norm(points - np.array(centre), axis=2) < radius
        colour[inside], density[inside] = shade, 12.0
    alpha = 1 - np.exp(-density * 2.2 / _SAMPLES)
    seen = np.cumprod(np.concatenate([np.ones((48, 1)), 1 - alpha[:, :-1]], axis=1), axis=1)
    pixels = ((alpha * seen)[..., None] * colour).sum(axis=1)
    return points.astype("float32"), pixels.astype("float32")


def _positions(x):
    parts = [x]
    for k in range(6):
        parts += [ops.sin(2.0**k * x), ops.cos(2.0**k * x)]
    return ops.concatenate(parts, axis=-1)


def _rendered(out):
    colour, density = ops.sigmoid(out[..., :3]), ops.relu(out[..., 3])
    alpha = 1 - ops.exp(-density * 2.2 / _SAMPLES)
    seen = ops.cumprod(1 - alpha + 1e-10, axis=1) / (1 - alpha + 1e-10)
    return ops.sum((alpha * seen)[..., None] * colour, axis=1)


@wild("NeRF", "Mildenhall 2020; keras.io/examples/vision/nerf", _rays)
def nerf():
    """Build the tutorial's network of eight layers with one skip connection, and render its rays."""
    inputs = keras.Input((_SAMPLES, 3))
    encoded = x = layers.Lambda(_positions)(inputs)
    for number in range(8):
        x = layers.Dense(64, activation="relu")(x)
        if number % 4 == 0 and number > 0:
            x = layers.Concatenate()([x, encoded])
    model = keras.Model(inputs, layers.Lambda(_rendered)(layers.Dense(4)(x)))
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    return model


def _burgers(rng):
    """Draw (t, x), half inside and half at the start and the edges, with u and whether u is known."""
    inside = np.stack([rng.uniform(0, 1, 64), rng.uniform(-1, 1, 64)], axis=1)
    start = np.stack([np.zeros(32), rng.uniform(-1, 1, 32)], axis=1)
    edge = np.stack([rng.uniform(0, 1, 32), rng.choice([-1.0, 1.0], 32)], axis=1)
    known = np.concatenate([-np.sin(np.pi * start[:, 1]), np.zeros(32)])
    y = np.stack([np.concatenate([np.zeros(64), known]), np.repeat([0.0, 1.0], 64)], axis=1)
    return np.concatenate([inside, start, edge]).astype("float32"), y.astype("float32")


class Physics(keras.Model):
    """Network whose loss is the residual of Burgers' equation and the error at the known points."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, x):
        return self.network(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                u = self.network(x)
            slope = inner.gradient(u, x)
            u_t, u_x = slope[:, 0], slope[:, 1]
        u_xx = outer.gradient(u_x, x)[:, 1]
        residual = u_t + u[:, 0] * u_x - 0.01 / math.pi * u_xx
        is_known = y[:, 1]
        known = ops.sum(is_known * (u[:, 0] - y[:, 0]) ** 2) / ops.sum(is_known)
        return known + ops.sum((1 - is_known) * residual**2) / ops.sum(1 - is_known)


@wild("PINN", "Raissi 2019", _burgers, parts=lambda model, x, y: [(model.network, x, None)])
def pinn():
    """Build nine layers of 20 tanh units for Burgers' equation, by Xavier."""
    network = keras.Sequential([keras.Input((2,))])
    for _ in range(8):
        network.add(layers.Dense(20, activation="tanh", kernel_initializer="glorot_normal"))
    network.add(layers.Dense(1, kernel_initializer="glorot_normal"))
    model = Physics(network)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    return model


def _spirals(rng):
    """Draw starts of the spiral y' = y^3 A, and their path over ten steps of 0.1."""
    matrix = np.array([[-0.1, 2.0], [-2.0, -0.1]])
    angle, radius = rng.uniform(0, 2 * np.pi, 32), rng.uniform(0.5, 2.0, 32)
    y = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    path = [y]
    for _ in range(100):
        path.append(path[-1] + 0.01 * path[-1] ** 3 @ matrix)
    return y.astype("float32"), np.stack(path[10::10], axis=1).astype("float32")


@wild("neural ODE", "Chen 2018; the spiral of torchdiffeq", _spirals)
def neural_ode():
    """Build ten steps of the midpoint method over one field of 50 tanh units, from N(0, 0.1^2)."""
    normal = keras.initializers.RandomNormal(stddev=0.1)
    hidden = layers.Dense(50, activation="tanh", kernel_initializer=normal)
    out = layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1))
    inputs = y = keras.Input((2,))
    path = []
    for _ in range(10):
        middle = y + 0.05 * out(hidden(y**3))
        y = y + 0.1 * out(hidden(middle**3))
        path.append(y)
    model = keras.Model(inputs, ops.stack(path, axis=1))
    model.compile(keras.optimizers.RMSprop(1e-3), "mae", jit_compile=False)
    return model


class HyperConv(layers.Layer):
    """Convolution whose kernel is computed from an embedding by two linear layers that all layers share."""

    def __init__(self, first, second, width):
        super().__init__()
        self.first, self.second, self.width = first, second, width

    def build(self, shape):
        self.embedding = self.add_weight(
            shape=(1, 16), initializer=keras.initializers.RandomNormal(), name="embedding"
        )

    def call(self, x):
        hidden = ops.reshape(self.first(self.embedding), (self.width, 16))
        kernel = ops.reshape(self.second(hidden), (self.width, 3, 3, self.width))
        return ops.conv(x, ops.transpose(kernel, (1, 2, 0, 3)), padding="same")


@wild("hypernetwork", "Ha 2017, static", digit_batch(16))
def hypernetwork():
    """Build a residual network of six convolutions whose kernels come from one hypernetwork."""
    width = 16
    small = keras.initializers.RandomNormal(stddev=0.01)
    first = layers.Dense(width * 16, kernel_initializer=small)
    second = layers.Dense(9 * width, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=1))
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(inputs)))
    for _ in range(3):
        h = layers.ReLU()(layers.BatchNormalization()(HyperConv(first, second, width)(x)))
        x = layers.ReLU()(x + layers.BatchNormalization()(HyperConv(first, second, width)(h)))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return model
