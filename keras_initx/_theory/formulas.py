"""Float64 formulas of every activation in keras.activations, with their parameters and kinks.

Keras's own functions pass their constants through float32, which would cost nine digits.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return special.expit(x)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _relu(
    x: np.ndarray, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> np.ndarray:
    top = np.inf if max_value is None else max_value
    return np.where(x < threshold, negative_slope * (x - threshold), np.minimum(x, top))


def _elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _gelu(x: np.ndarray, approximate: bool = False) -> np.ndarray:
    if approximate:
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * special.ndtr(x)


def _sparse_plus(x: np.ndarray) -> np.ndarray:
    return np.where(x <= -1, 0, np.where(x < 1, np.square(x + 1) / 4, x))


def _shrink(x: np.ndarray, cut: float, shift: float) -> np.ndarray:
    return np.where(np.abs(x) > cut, x - np.sign(x) * shift, 0)


# Every elementwise activation of keras.activations by name: the formula, with Keras's parameters and
# defaults, and a function that returns the kinks for the same parameters.
FORMULAS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., tuple[float, ...]]]] = {
    "linear": (lambda x: x, lambda: ()),
    "relu": (
        _relu,
        lambda negative_slope=0.0, max_value=None, threshold=0.0: (
            threshold,
            *(() if max_value is None else (max_value,)),
        ),
    ),
    "leaky_relu": (lambda x, negative_slope=0.2: _relu(x, negative_slope), lambda negative_slope=0.2: (0,)),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda: (0, 6)),
    "elu": (_elu, lambda alpha=1.0: (0,)),
    "celu": (_celu, lambda alpha=1.0: (0,)),
    "selu": (lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA), lambda: (0,)),
    "gelu": (_gelu, lambda approximate=False: ()),
    "silu": (lambda x: x * _sigmoid(x), lambda: ()),
    "mish": (lambda x: x * np.tanh(_softplus(x)), lambda: ()),
    "softplus": (_softplus, lambda: ()),
    "squareplus": (lambda x, b=4: (x + np.sqrt(np.square(x) + b)) / 2, lambda b=4: ()),
    "sparse_plus": (_sparse_plus, lambda: (-1, 1)),
    "tanh": (np.tanh, lambda: ()),
    "tanh_shrink": (lambda x: x - np.tanh(x), lambda: ()),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda: (-1, 1)),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda: (0,)),
    "sigmoid": (_sigmoid, lambda: ()),
    "hard_sigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda: (-3, 3)),
    "sparse_sigmoid": (lambda x: np.clip((x + 1) / 2, 0, 1), lambda: (-1, 1)),
    "log_sigmoid": (lambda x: -_softplus(-x), lambda: ()),
    "hard_silu": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), lambda: (-3, 3)),
    "soft_shrink": (
        lambda x, threshold=0.5: _shrink(x, threshold, threshold),
        lambda threshold=0.5: (-threshold, threshold),
    ),
    "hard_shrink": (
        lambda x, threshold=0.5: _shrink(x, threshold, 0),
        lambda threshold=0.5: (-threshold, threshold),
    ),
    "threshold": (
        lambda x, threshold, default_value: np.where(x > threshold, x, np.full_like(x, default_value)),
        lambda threshold, default_value: (threshold,),
    ),
    "exponential": (np.exp, lambda: ()),
    # Only the gate: glu multiplies one half of the axis by the sigmoid of the other half.
    "glu": (_sigmoid, lambda: ()),
}
