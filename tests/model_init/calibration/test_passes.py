"""Check the targets of `initialize` on new noise, and the precision of its measurements."""

import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx._graph.inputs.noise import noise
from keras_initx._graph.trace import trace
from keras_initx.model_init.calibration import passes
from tests.support import zoo
from tests.support.networks import plain
from tests.support.recorder import pre_activations


def relative(model, plan, batch, training):
    """Return the pre-activations on new noise, relative to the plan, by layer."""
    sizes = pre_activations(model, noise(trace(model), batch, seed=77), training)
    planned = {row.path.rpartition("/")[0]: row.rms_after for row in plan.rows}
    return np.array([size / planned[path] for path, size in sizes.items() if path in planned])


class TestTargets:
    @pytest.mark.parametrize("name", zoo.PLAIN)
    def test_models_in_plain_keras(self, name):
        model = zoo.PLAIN[name]()
        plan = initialize(model, seed=0)
        ratios = relative(model, plan, 256, training=name == "residual_cnn")
        # The recorder sees only the head of the tagger; test_recurrent.py checks its gates.
        assert len(ratios) >= (1 if name == "lstm_tagger" else 3)
        assert np.all((ratios > 0.5) & (ratios < 2))
        assert np.mean(np.abs(ratios - 1) < 0.1) >= 0.95

    @pytest.mark.slow
    @pytest.mark.parametrize("name", zoo.APPLICATIONS)
    def test_applications(self, name):
        model = getattr(keras.applications, name)(weights=None)
        plan = initialize(model, seed=0)
        # A small batch changes batch normalization itself, above all before squeeze-and-excite gates.
        batch = {"MobileNetV3Small": 64, "EfficientNetV2B0": 32}.get(name, 8)
        ratios = relative(model, plan, batch, training=True)
        assert len(ratios) > 30
        assert np.all((ratios > 0.5) & (ratios < 2))
        assert np.mean(np.abs(ratios - 1) < 0.1) >= 0.95


class TestPrecision:
    def test_mixed_precision(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = plain(12, "gelu")
            plan = initialize(model, seed=0)
        finally:
            keras.config.set_dtype_policy("float32")
        assert model.layers[0].kernel.dtype == "float32"
        sizes = pre_activations(model, noise(trace(model), 512, seed=3))
        assert np.allclose(list(sizes.values()), 1, atol=0.1)
        assert len(plan.rows) == 12

    def test_an_imprecise_measurement_is_repeated_on_more_noise(self):
        x = keras.Input((4,))
        h = layers.Dense(4)(x)
        model = keras.Model(x, layers.Dense(2)(h * h * h))
        plan = initialize(model, seed=0)
        other = relative(model, plan, 4096, False)
        assert np.all(np.abs(other - 1) < 0.25)
        assert plan.rows[-1].error < 0.1

    @pytest.mark.parametrize(
        ("errors", "note"),
        [
            ([0.01] * 100, ""),
            # One weight in 101 is no share, unless its own error is large.
            ([0.01] * 100 + [0.15], ""),
            ([0.01] * 100 + [0.3], "low precision: about 1 % of .* (worst: w100, standard error 30 %)"),
            ([0.05] * 100, "low precision: about 5 % of .* (worst: w0, standard error 5 %)"),
        ],
    )
    def test_an_imprecise_measurement_is_in_the_notes(self, errors, note):
        tasks = [SimpleNamespace(target=1.0, error=e, path=f"w{i}") for i, e in enumerate(errors)]
        assert re.fullmatch(re.escape(note).replace(r"\.\*", ".*"), passes._low_precision(tasks))


class Tied(layers.Layer):
    """Multiply by the transposed kernel of another layer, a constant to the trace."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.other.kernel))


def test_a_tied_weight_is_scaled_at_its_second_use_too():
    x = keras.Input((64,))
    first, last = layers.Dense(16), layers.Dense(8, name="last")
    model = keras.Model(x, last(Tied(first)(first(x))))
    data = 20 * np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    initialize(model, data=data, seed=1)
    assert pre_activations(model, data)["last"] == pytest.approx(1, rel=1e-3)


def test_a_fixed_batch():
    cell = layers.LSTM(3, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 6)), cell, layers.Dense(1)])
    states = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    assert "initialized 3 weights" in initialize(model, seed=0).summary()
    for variable, value in zip(model.non_trainable_variables, states, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_pixels():
    x = keras.Input((8, 8, 3), dtype="uint8")
    h = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))
    assert [row.rms_after for row in initialize(model, seed=0).rows] == [1.0, 1.0]
