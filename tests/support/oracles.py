"""Reference values for activations and Gaussian expectations, by SciPy's quadrature."""

import itertools
import math

import keras
import numpy as np
from scipy import integrate, special

from keras_initx._theory.activation import read_activation
from keras_initx._theory.formulas import FORMULAS

NAMED = ["relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"]
NAMED += ["tanh", "softsign", "sigmoid", "hard_sigmoid", "exponential"]
# Custom functions, which compute in float32 on JAX.
USERS = {
    "sin": (keras.ops.sin, np.sin),
    "steep": (lambda x: x * keras.ops.sigmoid(1.5 * x), lambda z: z * special.expit(1.5 * z)),
}
NAMES = [*NAMED, *USERS]
ODD = ("tanh", "softsign", "sin")


def activation_of(name):
    return read_activation(USERS[name][0] if name in USERS else name)


def oracle(name):
    """Return phi and phi' as functions of one number, and the kinks."""
    formula, kinks = (USERS[name][1], ()) if name in USERS else (FORMULAS[name][0], FORMULAS[name][1]())

    def slope(z):
        step = 1e-3 * min(1.0, *(abs(z - kink) / 2.1 for kink in (*kinks, 1e9)))
        around = formula(z + step * np.array([-2.0, -1.0, 1.0, 2.0]))
        return float(around @ np.array([1.0, -8.0, 8.0, -1.0])) / (12 * step) if step > 0 else 0.0

    return (lambda z: float(formula(np.array([z]))[0])), slope, kinks


def density(z, mean=0.0, var=1.0):
    """Return the density of N(mean, var) at one number, a hundred times as fast as `scipy.stats.norm.pdf`."""
    return math.exp(-((z - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)


def expect(function, var, kinks):
    """Return E[function(z)] for z ~ N(0, var), split at the kinks."""
    sd = math.sqrt(var)
    edges = sorted({sd * k for k in (-13, -6, -2, 0, 2, 6, 13)} | {k for k in kinks if abs(k) < 13 * sd})
    return math.fsum(
        integrate.quad(lambda z: function(z) * density(z, var=var), a, b, epsabs=1e-14, epsrel=1e-8)[0]
        for a, b in itertools.pairwise(edges)
    )


def orthogonal(rng, size):
    """Return a random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((size, size)))[0]
