import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx
from keras_initx._graph import gain_of, trace, weight_contexts

pytestmark = pytest.mark.check


class Formula(layers.Layer):
    """A layer with a gain that normalizes its input by a formula."""

    def __init__(self, formula, **kwargs):
        super().__init__(**kwargs)
        self.formula = formula

    def build(self, shape):
        self.gain = self.add_weight(name="gain", shape=shape[-1:], initializer="ones")

    def call(self, x):
        return self.formula(x) * self.gain


def rms(x):
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6)


def layer_norm(x):
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    return centred / ops.sqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + 1e-3)


def by_variance(x):
    return (x - ops.mean(x, axis=-1, keepdims=True)) / (ops.std(x, axis=-1, keepdims=True) + 1e-6)


def cast(x):
    return ops.cast(rms(ops.cast(x, "float32")), x.dtype)


def unit(x):
    return x / ops.sqrt(ops.sum(x**2, axis=-1, keepdims=True))


def unit_of_keras(x):
    return ops.normalize(x) * 4


def cast_unit(x):
    return ops.cast(ops.sqrt(ops.cast(16, x.dtype)) * ops.normalize(x, axis=-1, epsilon=1e-6), x.dtype)


def mean_gate(x):
    """Squeeze and excitation without a kernel: it grows with the square of its input."""
    return x * ops.mean(x, axis=-1, keepdims=True)


def damped(x):
    return x / (1000.0 + ops.mean(ops.abs(x), axis=-1, keepdims=True))


def sign(x):
    return x / ops.maximum(ops.abs(x), 1e-6)


def model_of(formula, blocks=2):
    x = y = keras.Input((4, 16))
    for number in range(blocks):
        branch = layers.Dense(16, name=f"end{number}")(layers.Dense(16, activation="relu")(y))
        y = y + Formula(formula, name=f"formula{number}")(branch)
    return keras.Model(x, y)


def end_of(model):
    contexts = weight_contexts(trace(model)).values()
    return next(context for context in contexts if context.path == "end0")


@pytest.mark.parametrize(
    "formula", [rms, layer_norm, by_variance, cast, unit, unit_of_keras, cast_unit], ids=lambda f: f.__name__
)
def test_a_normalization_that_is_written_as_operations(formula):
    model = model_of(formula)
    end = end_of(model)
    assert end.normalized
    assert (end.roles, end.residuals) == (("residual_end",), 2)
    graph = trace(model)
    final = next(step for step in graph.steps if step.is_normalization)
    assert gain_of(graph, final).path == "formula0/gain"


@pytest.mark.parametrize("formula", [mean_gate, damped, sign, ops.relu], ids=lambda f: f.__name__)
def test_other_formulas(formula):
    assert not end_of(model_of(formula)).normalized


@pytest.mark.parametrize(
    "normalization", [layers.RMSNormalization, lambda: Formula(rms), lambda: Formula(unit_of_keras)]
)
def test_the_gain_of_a_normalization_carries_the_residual_factor(normalization):
    x = y = keras.Input((4, 16))
    for _ in range(4):
        y = y + normalization()(layers.Dense(16)(layers.Dense(16, activation="relu")(y)))
    model = keras.Model(x, y)
    keras_initx.initialize(model, method="residual", seed=0)
    gains = [np.asarray(v) for layer in model.layers for v in layer.weights if len(v.shape) == 1]
    gains = [gain for gain in gains if np.any(gain)]
    assert np.shape(gains) == (4, 16)
    assert np.allclose(gains, 0.5)
    noise = np.random.default_rng(0).standard_normal((256, 4, 16))
    # Four branches of variance 1 / 4 that are independent of the stream.
    assert np.mean(np.square(model.predict(noise, verbose=0))) == pytest.approx(2, rel=0.3)


def test_norm_is_no_normalization():
    x = keras.Input((4, 16))
    model = keras.Model(x, ops.norm(layers.Dense(16, name="end0")(x), axis=-1))
    assert not end_of(model).normalized
