"""Activations and their moments without any code of ours: by SciPy's quadrature."""

import itertools
import math

import keras
import numpy as np
from scipy import integrate, special, stats

from keras_initx._theory.activation import read_activation
from keras_initx._theory.formulas import FORMULAS

NAMED = ["relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"]
NAMED += ["tanh", "softsign", "sigmoid", "hard_sigmoid", "exponential"]
# A user's function computes in float32 on JAX.
USERS = {
    "sin": (keras.ops.sin, np.sin),
    "steep": (lambda x: x * keras.ops.sigmoid(1.5 * x), lambda z: z * special.expit(1.5 * z)),
}
NAMES = [*NAMED, *USERS]
ODD = ("tanh", "softsign", "sin")


def activation_of(name):
    return read_activation(USERS[name][0] if name in USERS else name)


def oracle(name):
    """phi and phi' of one number, and the kinks."""
    formula, kinks = (USERS[name][1], ()) if name in USERS else (FORMULAS[name][0], FORMULAS[name][1]())

    def slope(z):
        step = 1e-3 * min(1.0, *(abs(z - kink) / 2.1 for kink in (*kinks, 1e9)))
        around = formula(z + step * np.array([-2.0, -1.0, 1.0, 2.0]))
        return float(around @ np.array([1.0, -8.0, 8.0, -1.0])) / (12 * step) if step > 0 else 0.0

    return (lambda z: float(formula(np.array([z]))[0])), slope, kinks


def expect(function, var, kinks):
    sd = math.sqrt(var)
    edges = sorted({sd * k for k in (-13, -6, -2, 0, 2, 6, 13)} | {k for k in kinks if abs(k) < 13 * sd})
    return math.fsum(
        integrate.quad(lambda z: function(z) * stats.norm.pdf(z / sd) / sd, a, b, epsabs=1e-14, epsrel=1e-8)[
            0
        ]
        for a, b in itertools.pairwise(edges)
    )


def orthogonal(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]
