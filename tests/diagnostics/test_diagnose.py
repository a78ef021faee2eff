"""`diagnose` against networks computed in NumPy, forward and backward."""

import random

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import integrate, stats

from keras_initx import InitxError, initialize
from keras_initx.diagnostics import diagnose
from tests.support import recorder, zoo
from tests.support.networks import by_hand, data, dense, reset_generators


@pytest.fixture(scope="module")
def measured():
    """Return a model, its data, their report, and the pre-activations and gradients computed in NumPy."""
    keras.utils.set_random_seed(20261124)
    model, x, y = dense(), data(32, 8), data(32, 5, seed=1)
    return model, x, y, diagnose(model, x, y, "mse"), *by_hand(model, x, y)


class TestByHand:
    def test_the_signal(self, measured):
        _, _, _, report, zs, _ = measured
        for row, z in zip(report.rows, zs, strict=True):
            assert row.mean == pytest.approx(z.mean(), rel=1e-4, abs=1e-5)
            assert row.std == pytest.approx(z.std(), rel=1e-4)
            assert row.second_moment == pytest.approx(np.mean(z**2), rel=1e-4)

    def test_what_the_activation_returns(self, measured):
        _, _, _, report, zs, _ = measured
        for row, z in zip(report.rows[:-1], zs, strict=False):
            assert row.output_second_moment == pytest.approx(np.mean(np.tanh(z) ** 2), rel=1e-4)
            assert row.saturated == pytest.approx(np.mean(np.abs(np.tanh(z)) >= 0.98), abs=1e-6)
        assert np.isnan(report.rows[-1].output_second_moment)

    def test_the_gradients(self, measured):
        _, x, _, report, zs, gradients = measured
        for row, g in zip(report.rows, gradients, strict=True):
            assert row.gradient_rms == pytest.approx(np.sqrt(np.mean(g**2)), rel=1e-4)
            assert row.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-4)
            assert row.gradient_variance == pytest.approx(g.var(), rel=1e-3)
        arriving = [x, *(np.tanh(z) for z in zs[:-1])]
        for row, h, g in zip(report.rows, arriving, gradients, strict=True):
            assert row.kernel_gradient == pytest.approx(np.sqrt(np.mean((h.T @ g) ** 2)), rel=1e-4)

    def test_the_loss(self, measured):
        model, x, y, report, *_ = measured
        predicted = ops.convert_to_numpy(model(x))
        assert report.loss == pytest.approx(np.mean((predicted - y) ** 2), rel=1e-5)

    def test_chi_is_the_slope_of_the_map_of_small_differences(self, measured):
        model, _, _, report, _, _ = measured
        for row, layer in zip(report.rows[:-1], model.layers, strict=False):
            kernel = ops.convert_to_numpy(layer.kernel).astype("float64")

            def slope(z, row=row):
                return (1 - np.tanh(z) ** 2) ** 2 * stats.norm.pdf(z, row.mean, row.std)

            expected = kernel.shape[0] * np.mean(kernel**2) * integrate.quad(slope, -9, 9, limit=200)[0]
            assert row.chi == pytest.approx(expected, rel=1e-4)

    def test_masked_positions_do_not_count_in_the_loss(self):
        ids = np.random.default_rng(0).integers(1, 20, size=(16, 10))
        ids[:, 6:] = 0
        model = keras.Sequential(
            [
                keras.Input((10,)),
                layers.Embedding(20, 8, mask_zero=True),
                layers.LSTM(8, return_sequences=True),
            ]
        )
        model.add(layers.Dense(5, activation="softmax"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        y = np.random.default_rng(1).integers(0, 5, size=(16, 10))
        expected = model.evaluate(ids, y, batch_size=16, verbose=0)
        assert diagnose(model, ids, y).loss == pytest.approx(expected, rel=1e-5)

    def test_without_targets_the_gradient_of_a_random_projection(self, measured):
        model, x, *_ = measured
        report = diagnose(model, x)
        direction = ops.convert_to_numpy(keras.random.normal((32, 5), seed=20261127))
        assert report.rows[-1].gradient_rms == pytest.approx(
            np.sqrt(np.mean(direction**2)) / 32 / np.sqrt(5), rel=1e-4
        )
        assert "random projection" in report.summary()
        assert np.isnan(report.loss)


class TestModels:
    def test_several_inputs_and_outputs(self):
        a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
        joined = layers.concatenate([layers.Dense(8, "relu")(a), layers.Dense(8, "relu")(b)])
        outputs = {"one": layers.Dense(2, name="one")(joined), "two": layers.Dense(3, name="two")(joined)}
        model = keras.Model({"a": a, "b": b}, outputs)
        model.compile("sgd", {"one": "mse", "two": "mse"})
        x, y = {"a": data(16, 6), "b": data(16, 4)}, {"one": data(16, 2), "two": data(16, 3)}
        report = diagnose(model, x, y)
        expected = model.evaluate(x, y, verbose=0, return_dict=True, batch_size=16)["loss"]
        assert report.loss == pytest.approx(expected, rel=1e-5)
        assert len(report.rows) == 4

    def test_a_shared_layer_is_a_row_for_each_call(self):
        inputs, shared = keras.Input((6,)), layers.Dense(6, "tanh", name="shared")
        model = keras.Model(inputs, shared(shared(inputs)))
        assert [row.path for row in diagnose(model, data(8, 6)).rows] == ["shared", "shared (call 2)"]

    @pytest.mark.parametrize("build", [zoo.gpt, zoo.lstm_tagger])
    def test_models_of_ids(self, build):
        report = diagnose(
            build(), np.random.default_rng(0).integers(1, 50, size=(8, 24 if build is zoo.gpt else 20))
        )
        assert all(np.isfinite(row.std) for row in report.rows)
        assert all(row.gradient_rms > 0 for row in report.rows)

    def test_units_of_channels_first(self):
        if keras.backend.backend() == "tensorflow":
            pytest.skip("TensorFlow has no convolution of channels first on a CPU")
        model = keras.Sequential(
            [keras.Input((3, 8, 8)), layers.Conv2D(5, 3, activation="relu", data_format="channels_first")]
        )
        model.layers[0].bias.assign([-99, 0, 0, 0, 0])
        assert diagnose(model, data(8, 3, 8, 8)).rows[0].dead == pytest.approx(1 / 5)

    def test_dead_units_behind_a_batch_normalization(self):
        inputs = keras.Input((8,))
        h = layers.BatchNormalization()(layers.Dense(10)(inputs))
        model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(h)))
        model.layers[2].beta.assign([-99.0] * 4 + [0.0] * 6)
        row = diagnose(model, data(32, 8)).rows[0]
        assert row.activation == "relu"
        assert row.dead == pytest.approx(0.4)

    def test_a_frozen_layer_has_no_kernel_gradient(self):
        model = dense()
        model.layers[1].trainable = False
        report = diagnose(model, data(16, 8))
        assert np.isnan(report.rows[1].kernel_gradient)
        assert report.rows[1].gradient_rms > 0
        assert report.rows[0].kernel_gradient > 0

    def test_a_frozen_model_is_reported(self):
        model = dense()
        model.trainable = False
        report = diagnose(model, data(16, 8))
        assert "no weight is trainable" in report.summary()
        assert report.healthy
        assert "no weight is trainable" not in diagnose(dense(), data(16, 8)).summary()

    def test_a_constant_loss_is_reported(self):
        report = diagnose(dense(), data(16, 8), data(16, 5), lambda y, outputs: ops.mean(outputs * 0.0))
        assert [f.verdict for f in report.findings] == ["no gradient"]
        assert not report.healthy
        assert "a constant loss" in report.summary()

    def test_a_stopped_gradient_is_reported_at_its_layer(self):
        inputs = keras.Input((8,))
        h = layers.Dense(16, "tanh", name="first")(inputs)
        model = keras.Model(inputs, layers.Dense(5)(ops.stop_gradient(h)))
        (finding,) = [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "vanishing"]
        assert finding.path == "first"
        assert "No gradient arrives here at all: look for stop_gradient" in finding.text

    @pytest.mark.parametrize("x", [np.zeros((16, 8), "float32"), np.full((16, 8), 3, "float32")])
    def test_identical_samples_are_reported(self, x):
        report = diagnose(dense(), x)
        assert report.findings[0].verdict == "same inputs"
        assert "all samples in x are the same" in report.summary()

    def test_inputs_by_their_names_as_fit_takes_them(self):
        a, b = keras.Input((6,), name="zebra"), keras.Input((4,), name="ant")
        joined = layers.concatenate([layers.Dense(8, "relu")(a), layers.Dense(8, "relu")(b)])
        model = keras.Model([a, b], layers.Dense(2)(joined))
        x = {"zebra": data(16, 6), "ant": data(16, 4)}
        assert diagnose(model, x) == diagnose(model, [x["zebra"], x["ant"]])
        initialize(model, data=x, seed=0)
        with pytest.raises(InitxError, match=r"^`x` must have .*\['zebra', 'ant'\].*'ants'"):
            diagnose(model, {"zebra": x["zebra"], "ants": x["ant"]})


class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor


class TestScalars:
    def test_in_a_custom_layer(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(4), Scale(), layers.Dense(2)])
        assert diagnose(model, data(16, 8)).healthy

    def test_in_an_attention(self):
        inputs = keras.Input((6, 8))
        h = layers.Attention(use_scale=True, score_mode="concat")([layers.Dense(8)(inputs), inputs])
        assert len(diagnose(keras.Model(inputs, layers.Dense(2)(h)), data(16, 6, 8)).heads) == 1


class TestNothingChanges:
    def test_weights_optimizer_statistics_and_generators(self):
        inputs = keras.Input((8,))
        h = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(16, "relu")(inputs)))
        model = keras.Model(inputs, layers.Dense(3)(h))
        model.compile("adam", "mse", metrics=["mae"])
        x, y = data(32, 8), data(32, 3)
        model.fit(x, y, epochs=1, verbose=0)
        kept = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        before = [ops.convert_to_numpy(v).tobytes() for v in kept]
        reset_generators(4)
        expected = ops.convert_to_numpy(keras.random.normal((3,))), random.random()
        reset_generators(4)
        optimizer, function = model.optimizer, model.train_function
        diagnose(model, x, y)
        drawn = ops.convert_to_numpy(keras.random.normal((3,))), random.random()
        assert [ops.convert_to_numpy(v).tobytes() for v in kept] == before
        assert model.optimizer is optimizer
        assert model.train_function is function
        assert drawn[0] == pytest.approx(expected[0], abs=0)
        assert drawn[1:] == expected[1:]

    def test_a_failing_call_leaves_everything_unchanged(self):
        model = dense()
        before = recorder.values(model)
        with pytest.raises(InitxError):
            diagnose(model, data(16, 9))
        with pytest.raises(ZeroDivisionError):
            diagnose(model, data(16, 8), data(16, 5), lambda y, f: 1 // 0)
        assert recorder.same(before, model)

    @pytest.mark.parametrize("kind", ["width", "ids"])
    def test_values_that_a_layer_cannot_take(self, kind):
        if kind == "width":
            model, x = zoo.subclassed(), data(8, 16)
        elif keras.backend.backend() == "tensorflow":
            model = keras.Sequential([keras.Input((6,)), layers.Embedding(20, 8), layers.Dense(2)])
            x = np.full((8, 6), 999)
        else:
            pytest.skip("only TensorFlow checks ids")
        with pytest.raises(InitxError, match=r"^`x` has values that .* cannot take"):
            diagnose(model, x)
