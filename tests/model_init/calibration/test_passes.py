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


def sequence_model(batch):
    """Return a model with one output unit, which keeps its states between batches."""
    return keras.Sequential(
        [
            keras.Input((10, 3), batch_size=batch),
            layers.LSTM(8, stateful=batch is not None),
            layers.Dense(8, activation="relu"),
            layers.Dense(1),
        ]
    )


def normalized_model(batch):
    """Return a model whose batch normalization has nothing but zeros to compute from one sample."""
    return keras.Sequential(
        [keras.Input((12,), batch_size=batch), layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)]
    )


@pytest.mark.parametrize("build", [sequence_model, normalized_model])
def test_a_batch_of_one_is_measured_on_more_samples(build):
    model, any_size = build(1), build(None)
    assert not initialize(model, seed=0).notes
    any_size.set_weights(model.get_weights())
    noise = np.random.default_rng(1).standard_normal((2000, *model.inputs[0].shape[1:])).astype("float32")
    outputs = ops.convert_to_numpy(any_size(noise, training=build is normalized_model))
    # 256 samples know the root mean square of one unit to 4 %, and of its squares' tails to less.
    assert np.sqrt(np.mean(outputs**2)) == pytest.approx(1, abs=0.2)


def test_a_batch_of_one_reads_as_much_data_as_any_other():
    data = np.random.default_rng(1).standard_normal((80, 10, 3)).astype("float32")
    model, any_size = sequence_model(1), sequence_model(None)
    initialize(model, data=data, seed=0)
    any_size.set_weights(model.get_weights())
    outputs = ops.convert_to_numpy(any_size(data[:64]))
    assert np.sqrt(np.mean(outputs**2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: ops.reshape(x, (1, 12)),
        lambda x: x - 0.5 * ops.mean(x, axis=0, keepdims=True),
        lambda x: ops.matmul(ops.matmul(x, ops.transpose(x)), x),
    ],
    ids=["own shape", "mean over samples", "products of samples"],
)
@pytest.mark.parametrize("with_data", [False, True])
def test_samples_that_depend_on_each_other_stay_in_their_batch(mix, with_data):
    x = keras.Input((12,), batch_size=1)
    model = keras.Model(x, layers.Dense(1)(mix(x)))
    data = np.random.default_rng(1).standard_normal((80, 12)).astype("float32") if with_data else None
    plan = initialize(model, data=data, seed=0)
    # One number has a standard error of 1 / sqrt(2).
    assert plan.rows[0].error == pytest.approx(0.71, abs=0.01)
    assert "standard error 71 %" in plan.notes[0]
    if with_data:
        assert abs(float(ops.convert_to_numpy(model(data[:1]))[0, 0])) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: ops.softmax(x, axis=0),
        lambda x: x / ops.sqrt(ops.sum(ops.square(x), axis=0, keepdims=True)),
        lambda x: ops.cumsum(x, axis=0),
        lambda x: ops.flip(ops.cumsum(ops.flip(x, axis=0), axis=0), axis=0),
    ],
    ids=["softmax", "normalize", "sum so far", "sum from here"],
)
def test_samples_that_depend_on_each_other_in_the_same_shape_stay_in_their_batch(mix):
    x = keras.Input((12,), batch_size=4)
    model = keras.Model(x, layers.Dense(300)(mix(x)))
    initialize(model, seed=0)
    batches = np.random.default_rng(1).standard_normal((40, 4, 12)).astype("float32")
    outputs = [ops.convert_to_numpy(model(batch)) for batch in batches]
    # One batch is measured on noise, so its inputs differ by chance from these.
    assert 0.4 < np.sqrt(np.mean(np.square(outputs))) < 2.5


def test_pixels():
    x = keras.Input((8, 8, 3), dtype="uint8")
    h = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))
    assert [row.rms_after for row in initialize(model, seed=0).rows] == [1.0, 1.0]
