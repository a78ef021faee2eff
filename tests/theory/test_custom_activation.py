"""Check custom activations: evaluated on arrays, outside any trace, in their own precision."""

import dataclasses
import math
import random

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from keras_initx import InitxError, activation_moments, gain
from keras_initx._theory.activation import read_activation
from tests.support.oracles import density

pytestmark = pytest.mark.check

L = keras.layers


@pytest.mark.parametrize("mode", ["forward", "backward"])
def test_a_custom_function(mode):
    def mine(x):
        return keras.ops.where(x > 0.5, 2 * x - 1, 0.1 * keras.ops.sin(x))

    def squared(z):
        if mode == "forward":
            return (2 * z - 1) ** 2 if z > 0.5 else (0.1 * math.sin(z)) ** 2
        return 4.0 if z > 0.5 else (0.1 * math.cos(z)) ** 2

    value = integrate.quad(lambda z: squared(z) * density(z), -12, 12, points=[0.5], limit=200)[0]
    assert gain(mine, mode=mode) == pytest.approx(1 / value, rel=1e-4)


def test_a_function_that_changes_is_evaluated_again():
    class Scaled:
        factor = 1.0

        def __call__(self, x):
            return self.factor * keras.ops.relu(x)

    scaled = Scaled()
    assert gain(scaled) == pytest.approx(2, rel=1e-5)
    scaled.factor = 2.0
    assert gain(scaled) == pytest.approx(0.5, rel=1e-5)


def test_functions_that_differ_only_far_from_zero_are_separate():
    def capped(x):
        return keras.ops.clip(x, 0, 20)

    def free(x):
        return keras.ops.relu(x)

    assert activation_moments(capped, mean=30.0).mean == pytest.approx(20, rel=1e-5)
    assert activation_moments(free, mean=30.0).mean == pytest.approx(30, rel=1e-5)


def test_a_callable_that_cannot_be_hashed():
    @dataclasses.dataclass
    class Slope:
        a: float

        def __call__(self, x):
            return self.a * x

    assert gain(Slope(2.0)) == pytest.approx(0.25, rel=1e-5)


def test_a_layer_of_half_precision_is_read_in_full():
    @keras.saving.register_keras_serializable()
    class Swish(L.Layer):
        def call(self, x):
            return x * keras.ops.sigmoid(x)

    for policy in ("mixed_float16", "bfloat16"):
        assert gain(Swish(dtype=policy), mode="backward") == pytest.approx(gain("silu", "backward"), rel=1e-3)
        assert gain(Swish(dtype=policy)) == pytest.approx(gain("silu"), rel=1e-5)

    def half(x):
        return keras.ops.cast(keras.ops.relu(keras.ops.cast(x, "float16")), x.dtype)

    assert gain(half) == pytest.approx(2, rel=1e-2)
    with pytest.raises(InitxError, match="half precision, too coarse for its slope"):
        gain(half, mode="backward")


def test_a_subclass_with_its_own_call_is_a_custom_function():
    @keras.saving.register_keras_serializable()
    class Tenfold(L.LeakyReLU):
        def call(self, x):
            return 10 * super().call(x)

    assert gain(Tenfold(negative_slope=0.3)) == pytest.approx(2 / 1.09 / 100, rel=1e-5)


@pytest.mark.parametrize(
    "row_wise",
    [
        lambda x: keras.ops.sort(x, axis=-1),
        lambda x: keras.ops.cumsum(x, axis=-1),
        lambda x: keras.ops.cumsum(x, axis=0),
        lambda x: keras.ops.flip(x, axis=-1),
        lambda x: (x - keras.ops.mean(x, -1, keepdims=True)) / (1e-6 + keras.ops.std(x, -1, keepdims=True)),
        lambda x: x - keras.ops.max(x, axis=-1, keepdims=True),
    ],
    ids=["sort", "cumsum", "batch cumsum", "flip", "norm", "max"],
)
def test_functions_of_the_row_or_the_batch_are_refused(row_wise):
    with pytest.raises(InitxError, match="elementwise"):
        gain(row_wise)


def test_a_function_that_holds_a_tensor_of_single_precision():
    b = keras.ops.convert_to_tensor(np.float32(1.0))
    assert gain(lambda x: x * keras.ops.sigmoid(b * x)) == pytest.approx(gain("silu"), rel=1e-5)


def test_a_lambda_layer():
    assert gain(L.Lambda(lambda x, k: k * x, arguments={"k": 2.0})) == pytest.approx(0.25, rel=1e-5)


def test_steps_in_single_precision_have_no_slope():
    def steps(x):
        return keras.ops.round(keras.ops.clip(x, 0, 1) * 3) / 3

    with pytest.raises(InitxError, match="slope is not zero everywhere"):
        gain(steps, mode="backward")


def test_a_kink_between_two_lines_of_any_slope():
    # On JAX this computes in single precision, and straight lines show no rounding error.
    def bent(x):
        return keras.ops.where(x > 0.7174, -1.38 * x - 0.3636, -0.25 * x - 1.1743)

    slopes = 1.38**2 * stats.norm.sf(0.7174) + 0.25**2 * stats.norm.cdf(0.7174)
    assert gain(bent, mode="backward") == pytest.approx(1 / slopes, rel=1e-3)


def test_a_lambda_is_integrated():
    written = read_activation(lambda x: keras.ops.tanh(x))
    assert written.moments().second_moment == pytest.approx(
        read_activation("tanh").moments().second_moment, rel=1e-6
    )


def test_a_custom_layer_is_read_without_building_it():
    @keras.saving.register_keras_serializable()
    class Swish(L.Layer):
        def build(self, input_shape):
            self.beta = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, x):
            return x * keras.ops.sigmoid(self.beta * x)

    layer = Swish()
    expected = read_activation("silu").moments().second_moment
    assert read_activation(layer).moments().second_moment == pytest.approx(expected, rel=1e-6)
    assert not layer.built


def test_a_function_need_not_be_of_keras():
    assert read_activation(lambda x: keras.ops.maximum(x, 0)).moments().second_moment == pytest.approx(
        0.5, rel=1e-5
    )


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch.compile cannot trace a Keras Input")
def test_reading_inside_a_trace_gives_the_same():
    seen = []

    class Probe(L.Layer):
        def call(self, x):
            seen.append(read_activation(lambda z: keras.ops.sin(z)).moments().second_moment)
            return x

    keras.Model(inputs := keras.Input((2,)), Probe()(inputs)).compile("sgd", "mse", jit_compile=True)
    model = keras.Sequential([Probe()])
    model.compile(loss="mse", jit_compile=True)
    model.predict(np.ones((2, 2)), verbose=0)
    # E[sin^2] = (1 - exp(-2)) / 2.
    assert len(seen) >= 2
    assert seen == pytest.approx([(1 - np.exp(-2)) / 2] * len(seen), rel=1e-6)


def test_reading_a_layer_leaves_the_random_state_alone():
    @keras.saving.register_keras_serializable()
    class Noisy(L.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(1,), initializer=keras.initializers.RandomNormal(1.0, 0.0))

        def call(self, x):
            return self.scale * x

    activation = Noisy()
    keras.utils.set_random_seed(1)
    expected = random.random()
    keras.utils.set_random_seed(1)
    read_activation(activation)
    assert random.random() == expected
