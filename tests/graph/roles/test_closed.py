"""Check which zeros stop the signal, against the gradients of the first training step."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph import steps_behind_zeros, stopping_steps, trace

pytestmark = pytest.mark.check

COMBINATIONS = {
    "sum": (lambda h, closed: h + closed, True),
    "factor of one": (lambda h, closed: h * (1 + closed), True),
    "factor of exp": (lambda h, closed: h * ops.exp(2 * closed), True),
    "concatenation": (lambda h, closed: ops.concatenate([h, closed], axis=-1), True),
    "cosine": (lambda h, closed: h * ops.cos(closed), True),
    "factor of zero": (lambda h, closed: h * closed, False),
    "factor of tanh": (lambda h, closed: h * ops.tanh(closed), False),
    "one minus one": (lambda h, closed: h * (ops.exp(closed) - 1), False),
    "alone": (lambda h, closed: ops.sigmoid(closed), False),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_signal_goes_around(name):
    combine, goes_around = COMBINATIONS[name]
    x = keras.Input((6,))
    h = layers.Dense(4)(x)
    closed = layers.Dense(4, kernel_initializer="zeros", name="closed")(h)
    model = keras.Model(x, layers.Dense(3)(layers.Dense(5)(combine(h, closed))))
    graph = trace(model)
    numbers = [step.number for step in graph.steps if step.path.endswith("closed")]
    assert stopping_steps(graph, numbers) == (set() if goes_around else set(numbers))
    # The oracle: the outputs of two samples differ if the signal arrives.
    outputs = ops.convert_to_numpy(model(np.random.default_rng(0).normal(size=(2, 6)).astype("float32")))
    assert np.allclose(outputs[0], outputs[1]) != goes_around


@pytest.mark.parametrize("has_stem", [True, False])
def test_steps_behind_a_gain_of_zero(has_stem):
    x = h = keras.Input((6,))
    if has_stem:
        h = layers.Dense(6, name="stem")(h)
    branch = layers.Dense(6, name="second")(layers.Dense(8, name="first")(h))
    h = h + layers.LayerNormalization(gamma_initializer="zeros")(branch)
    graph = trace(keras.Model(x, layers.Dense(2, name="head")(h)))
    behind = {
        graph.steps[number].path.rpartition("/")[2]
        for number in steps_behind_zeros(graph, lambda weight: True)
    }
    assert behind == {"first", "second"}


@pytest.mark.parametrize("kernel", ["zeros", "glorot_uniform"])
def test_steps_behind_a_kernel_of_zeros(kernel):
    points = keras.Input((16, 3))
    pooled = layers.GlobalMaxPooling1D()(layers.Dense(8, name="first")(points))
    identity = keras.initializers.Constant(np.eye(3).ravel())
    transform = layers.Dense(9, kernel_initializer=kernel, bias_initializer=identity, name="transform")
    turned = layers.Dot(axes=(2, 1))([points, layers.Reshape((3, 3))(transform(pooled))])
    graph = trace(keras.Model(points, layers.Dense(4, name="second")(turned)))
    behind = {
        graph.steps[number].path.rpartition("/")[2]
        for number in steps_behind_zeros(graph, lambda weight: True)
    }
    assert behind == ({"first"} if kernel == "zeros" else set())


def test_zeros_without_a_gradient_stay_closed():
    x = keras.Input((6,))
    closed = layers.Dense(4, kernel_initializer="zeros", name="closed")
    graph = trace(keras.Model(x, layers.Dense(2)(closed(layers.Dense(8)(x)))))
    assert steps_behind_zeros(graph, lambda weight: weight is closed.kernel)
    assert not steps_behind_zeros(graph, lambda weight: False)
