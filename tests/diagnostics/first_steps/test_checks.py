"""Inputs, targets and first losses that are off scale, and those that are not."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import PriorBias, initialize
from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = pytest.mark.one_backend


def model_of(*hidden, units=1, rate=1e-3, loss="mse", bias="zeros"):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(units, bias_initializer=bias)])
    model.compile(keras.optimizers.SGD(rate), loss)
    return model


def texts(report, *verdicts):
    return [f.text for f in report.findings if f.verdict in verdicts]


def relu():
    return [layers.Dense(32, "relu") for _ in range(2)]


class TestTargets:
    @pytest.mark.usefixtures("compiled_pass")
    def test_targets_up_to_199(self):
        y = np.random.default_rng(0).integers(0, 200, size=(64, 1)).astype("float32")
        report = diagnose(model_of(*relu(), rate=1e-2), data(64, 8), y)
        assert not report.healthy
        (text,) = texts(report, "target scale")
        assert f"root mean square of {np.sqrt(np.mean(y**2)):.2g}" in text
        assert "Normalization" in text
        assert texts(report, "learning rate")
        scaled = (y - y.mean()) / y.std()
        assert not diagnose(model_of(*relu(), rate=1e-2), data(64, 8), scaled).findings

    def test_an_output_that_begins_at_the_mean_is_no_finding(self):
        y = 100 + data(64, 1)
        bias = keras.initializers.Constant(float(y.mean()))
        assert not texts(diagnose(model_of(*relu(), bias=bias), data(64, 8), y), "scale", "target scale")

    def test_targets_that_hardly_differ(self):
        y = 1 + 0.01 * data(64, 1)
        (text,) = texts(diagnose(model_of(*relu()), data(64, 8), y), "scale")
        assert f"standard deviation of {np.std(y):.2g}" in text

    @pytest.mark.parametrize("factor", [400.0, 2e-3])
    def test_targets_that_the_model_scales_its_outputs_to(self, factor):
        x, y = data(64, 8), factor * (1.5 + data(64, 1, seed=1))
        assert texts(diagnose(model_of(*relu()), x, y), "scale", "target scale")
        model = model_of(*relu())
        scaled = keras.Sequential([keras.Input((8,)), *model.layers, layers.Rescaling(factor)])
        assert not texts(diagnose(scaled, x, y, "mse"), "scale", "target scale", "first loss")
        # The loss is far off all the same if the last kernel is too large.
        model.layers[-1].kernel.assign(20 * model.layers[-1].kernel)
        (text,) = texts(diagnose(scaled, x, y, "mse"), "first loss")
        assert f"which the model scales to {np.std(scaled(x)):.2g}" in text
        assert "Scale its kernel down" in text

    def test_rare_classes_have_no_scale(self):
        y = (np.arange(64 * 40).reshape(64, 40) == 5).astype("float32")
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        report = diagnose(model_of(*relu(), units=40, loss=loss), data(64, 8), y)
        assert not texts(report, "scale", "target scale")

    def test_numbers_of_classes_have_no_scale(self):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        y = np.random.default_rng(0).integers(0, 100, size=64)
        assert diagnose(model_of(*relu(), units=100, loss=loss), data(64, 8), y).findings == ()


class TestInputs:
    def test_pixels(self):
        x = np.random.default_rng(0).integers(0, 256, size=(64, 8)).astype("float32")
        report = diagnose(model_of(*relu()), x, data(64, 1))
        (text,) = texts(report, "input scale")
        assert f"root mean square of {np.sqrt(np.mean(x**2)):.2g}" in text
        assert "Normalization after adapt(x)" in text
        # Without targets there is no loss to judge by.
        assert texts(diagnose(model_of(*relu()), x), "scale")

    @pytest.mark.parametrize("kind", ["rescaled", "normalized input", "normalized layer"])
    def test_pixels_that_the_model_scales(self, kind):
        x = np.random.default_rng(0).integers(0, 256, size=(64, 8)).astype("float32")
        stem = {
            "rescaled": [layers.Rescaling(1 / 128, offset=-1)],
            "normalized input": [layers.BatchNormalization()],
            "normalized layer": [layers.Dense(32), layers.BatchNormalization(), layers.ReLU()],
        }[kind]
        report = diagnose(model_of(*stem, *relu()), x, data(64, 1))
        assert report.healthy, report.summary()
        assert not texts(report, "scale", "input scale")

    @pytest.mark.parametrize("table", ["layer", "operation"])
    @pytest.mark.parametrize("dtype", ["int32", "float32"])
    def test_ids_have_no_scale(self, table, dtype):
        class Reads(keras.Model):
            def __init__(self):
                super().__init__()
                self.table, self.out = layers.Embedding(5000, 16), layers.Dense(3)

            def call(self, ids):
                if table == "layer":
                    return self.out(self.table(ids))
                return self.out(keras.ops.take(self.table.embeddings, keras.ops.cast(ids, "int32"), axis=0))

        ids = np.random.default_rng(0).integers(0, 5000, (64, 4)).astype(dtype)
        model = Reads()
        model.table.build()
        model(ids)
        for report in (diagnose(model), diagnose(model, ids), diagnose(model, ids, data(64, 4, 3), "mse")):
            assert not texts(report, "scale", "input scale")
        # A layer that multiplies by the same numbers does depend on their size.
        dense = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
        assert texts(diagnose(dense, ids.astype("float32")), "scale", "input scale")

    def test_after_initialize_the_way_out_is_another(self):
        x = 200 * data(64, 8)
        model = model_of(*relu())
        assert "initialize(model, data=x)" in diagnose(model, x, data(64, 1)).summary()
        initialize(model, seed=0)
        text = diagnose(model, x, data(64, 1)).summary()
        assert "Normalization after adapt(x)" in text
        assert "initialize(" not in text


class TestFirstLoss:
    def test_logits_far_too_large(self):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        large = layers.Dense(
            10, kernel_initializer=keras.initializers.RandomNormal(stddev=9.0, seed=1), name="big"
        )
        model = keras.Sequential([keras.Input((8,)), large])
        y = np.random.default_rng(0).integers(0, 10, size=64)
        report = diagnose(model, data(64, 8), y, loss)
        (text,) = texts(report, "first loss")
        assert f"{report.loss / report.constant_loss:.2g} times" in text
        assert "`big`" in text.replace(large.path, "big")
        assert report.healthy

    @pytest.mark.parametrize("case", ["large", "far", "large and far", "rare", "rare and large"])
    def test_the_remedy_lowers_the_loss(self, case):
        """Each remedy that is named brings the loss near the best constant's, and one alone would not."""
        x, rng = data(64, 8), np.random.default_rng(0)
        is_rare, is_far = "rare" in case, "far" in case
        y = (rng.random((64, 40)) < 0.01).astype("float32") if is_rare else data(64, 1) + 10.0 * is_far
        units, activation, loss = (40, "sigmoid", "binary_crossentropy") if is_rare else (1, None, "mse")
        std = 10.0 if "large" in case else 0.3
        start = keras.initializers.RandomNormal(stddev=std, seed=1)
        out = layers.Dense(units, activation, kernel_initializer=start)
        model = keras.Sequential([keras.Input((8,)), out])
        report = diagnose(model, x, y, loss)
        (text,) = texts(report, "first loss")
        scales = "Scale its kernel down" in text
        prior, mean = (
            'initialize(model, output_bias="prior", labels=y)' in text,
            "mean of the targets" in text,
        )
        assert (scales, prior, mean) == ("large" in case, is_rare, is_far)
        if scales:
            out.kernel.assign(0.01 * out.kernel)
            after = diagnose(model, x, y, loss)
            assert (after.loss < 2 * report.constant_loss) is not (prior or mean)
        if prior:
            out.bias.assign(np.log((y.mean(0) + 1e-3) / (1 - y.mean(0))))
        if mean:
            out.bias.assign(y.mean(0))
        assert not texts(diagnose(model, x, y, loss), "first loss")

    @pytest.mark.parametrize("target", [0.0, 1.0])
    def test_a_batch_of_a_single_class_says_nothing(self, target):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model = model_of(layers.Dense(8, "relu"), loss=loss, bias=PriorBias(0.001))
        report = diagnose(model, data(64, 8), np.full((64, 1), target, "float32"))
        assert report.loss > 100 * report.constant_loss
        assert not texts(report, "first loss")

    def test_a_prior_begins_at_the_best_constant(self):
        y = (np.arange(64) < 2).astype("float32")[:, None]
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model = model_of(layers.Dense(8, "relu"), loss=loss, bias=PriorBias(2 / 64))
        report = diagnose(model, data(64, 8), y)
        assert report.healthy
        assert not texts(report, "first loss")
