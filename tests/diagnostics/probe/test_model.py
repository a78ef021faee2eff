"""The pass computes the same in half precision, and changes nothing."""

import random

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph import Batch
from keras_initx.diagnostics import diagnose
from keras_initx.diagnostics.probe import build_probe
from tests.support.networks import data, dense, reset_generators


@pytest.fixture(scope="module")
def single_precision():
    """Return a model in single precision, its data and their report."""
    keras.utils.set_random_seed(20261124)
    model, x, y = dense(depth=4), data(32, 8), data(32, 5, seed=1)
    return model, x, y, diagnose(model, x, y, "mse")


class TestHalfPrecision:
    @pytest.mark.parametrize("compiled", [True, False])
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_figures_agree_with_single_precision(self, single_precision, policy, compiled):
        full, x, y, expected = single_precision
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            # The policy still holds while the model is diagnosed, as in a user's program.
            half = dense(depth=4)
            half.set_weights(full.get_weights())
            if compiled:
                half.compile("sgd", "mse")
            report = diagnose(half, x, y, None if compiled else "mse")
        finally:
            keras.config.set_dtype_policy(before)
        for a, b in zip(report.rows, expected.rows, strict=True):
            assert a.std == pytest.approx(b.std, rel=0.02)
            assert a.gradient_rms == pytest.approx(b.gradient_rms, rel=0.03)
            assert a.kernel_gradient == pytest.approx(b.kernel_gradient, rel=0.03)

    def test_gradients_that_half_precision_would_round_to_zero(self):
        x, y = data(64, 8), data(64, 5, seed=1)

        def small(y, outputs):
            return 1e-5 * ops.mean(ops.square(ops.cast(outputs, "float32") - y))

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            half = dense(depth=2)
        finally:
            keras.config.set_dtype_policy(before)
        full = dense(depth=2)
        full.set_weights(half.get_weights())
        report, expected = diagnose(half, x, y, small), diagnose(full, x, y, small)
        assert expected.rows[0].gradient_rms < 1e-7
        for a, b in zip(report.rows, expected.rows, strict=True):
            assert a.gradient_rms == pytest.approx(b.gradient_rms, rel=0.1)


class Drawing(layers.Layer):
    """A layer that draws in inference too, from Keras's generators and from Python's, as some layers do."""

    def call(self, x):
        random.random()
        return x + 1e-3 * keras.random.normal(ops.shape(x), seed=keras.random.SeedGenerator(3))


def test_generators_that_a_layer_draws_from():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), Drawing(), layers.Dense(2)])
    reset_generators(5)
    expected = random.random(), float(keras.random.normal(()))
    reset_generators(5)
    diagnose(model, data(16, 8))
    assert (random.random(), float(keras.random.normal(()))) == expected


def test_losses_that_layers_added():
    model = dense(depth=1, activity_regularizer=keras.regularizers.L2(0.1))
    model(data(16, 8))
    before = [float(loss) for loss in model.losses]
    diagnose(model, data(16, 8, seed=1))
    assert [float(loss) for loss in model.losses] == before


def test_a_pass_that_does_not_measure_has_the_loss_and_the_gradients():
    model, batch = dense(depth=2), Batch(data(16, 8), data(16, 5, seed=1))

    def fresh():
        return build_probe(model, batch.x, "mse", keep_gradients=True)

    probe = fresh()
    probe.run(batch, jit_compile=False)
    figures = [ops.convert_to_numpy(v) for v in probe.pre_activations]
    model.set_weights([1.5 * w for w in model.get_weights()])
    reference = fresh()
    loss, reduced = reference.run(batch, jit_compile=False)
    # The later ones are traced.
    for _ in range(6):
        assert probe.run(batch, jit_compile=False, measures=False) == (pytest.approx(loss, rel=1e-5), {})
        for one, other in zip(probe.kept_gradients, reference.kept_gradients, strict=True):
            np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-4)
    if keras.backend.backend() == "tensorflow":
        np.testing.assert_array_equal([ops.convert_to_numpy(v) for v in probe.pre_activations], figures)
    # A pass that measures may follow, and is compiled again.
    again = probe.run(batch, jit_compile=False)[1]
    for variable in model.trainable_variables:
        assert again[id(variable)] == pytest.approx(reduced[id(variable)], rel=1e-4)
    for one, other in zip(probe.pre_activations, reference.pre_activations, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX traces every pass, PyTorch none")
@pytest.mark.parametrize(("layer", "traced"), [("dense", [4, 5]), ("loop", [0, 1, 2, 3, 4, 5])])
def test_a_pass_is_traced_once_that_pays(layer, traced):
    x = keras.Input((6, 4))
    h = layers.LSTM(8)(x) if layer == "loop" else layers.Dense(8)(layers.Flatten()(x))
    batch = Batch(data(16, 6, 4), data(16, 3, seed=1))
    probe = build_probe(keras.Model(x, layers.Dense(3)(h)), batch.x, "mse")
    losses, found = [], []
    for number in range(6):
        losses.append(probe.run(batch, jit_compile=False)[0])
        found += [] if probe.run_eagerly else [number]
    assert found == traced
    assert losses == pytest.approx([losses[0]] * 6, rel=1e-5)
