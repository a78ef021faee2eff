"""The cause of NaN and infinite values is named, and not the layer where they are noticed."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import diagnose, reinitialize
from tests.support.networks import data, dense

pytestmark = pytest.mark.one_backend


def model_with(operation, loss="mse"):
    inputs = keras.Input((8,))
    h = layers.Dense(16, kernel_initializer="glorot_normal")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(operation(h)))
    model.compile("sgd", loss)
    return model


def finding_of(model, *batch):
    report = diagnose(model, *batch)
    assert not report.healthy
    (finding,) = [f for f in report.findings if f.verdict == "non-finite"]
    assert finding.text in report.summary()
    return finding


class TestOperations:
    @pytest.mark.parametrize(
        ("operation", "kind", "advice"),
        [
            (lambda h: ops.exp(200 * h), "Exp", "Scale its input down"),
            (lambda h: ops.log(h), "Log", "above 0"),
            (lambda h: ops.sqrt(h - 9), "Sqrt", "above 0"),
            (lambda h: ops.power(h, 0.5), "Power", "above 0"),
            (lambda h: ops.power(1e4 * h, 12), "Power", "Scale its input down"),
            (lambda h: h / ops.relu(h), "Divide", "away from 0"),
        ],
    )
    def test_the_operation_is_named_with_the_range_of_its_input(self, operation, kind, advice):
        model, x = model_with(operation), data(32, 8)
        text = finding_of(model, x, np.zeros((32, 2))).text
        assert f"{kind} of values from " in text, text
        assert advice in text
        z = x @ ops.convert_to_numpy(model.layers[1].kernel)
        values = {"Exp": 200 * z, "Log": z, "Sqrt": z - 9, "Divide": np.maximum(z, 0), "Power": z}[kind]
        values = values * 1e4 if (kind, advice) == ("Power", "Scale its input down") else values
        low, high = (float(word.strip(",")) for word in text.split("from ")[1].split()[0:3:2])
        assert (low, high) == pytest.approx((values.min(), values.max()), rel=1e-2, abs=1e-6)

    def test_a_negative_power_of_zero_is_kept_from_zero(self):
        model = model_with(lambda h: ops.power(ops.relu(h), -2.0))
        assert "above 0" in finding_of(model, data(32, 8), np.zeros((32, 2))).text

    def test_an_operation_inside_a_layer_has_the_path_of_the_layer(self):
        class Standardize(keras.Layer):
            def call(self, x):
                return ops.log(x - 100)

        assert finding_of(model_with(Standardize(name="mine")), data(16, 8)).path == "mine"

    def test_a_slope_that_is_infinite_at_zero(self):
        model = model_with(lambda h: ops.sqrt(ops.relu(h)))
        text = finding_of(model, data(32, 8), np.zeros((32, 2))).text
        assert "the slope of Sqrt at 0 is infinite" in text, text


class TestWeights:
    def test_weights_after_a_training_that_diverged_are_to_be_drawn_again(self):
        model = dense(depth=3)
        for layer in model.layers:
            layer.kernel.assign(np.full(layer.kernel.shape, np.nan))
            layer.bias.assign(np.full(layer.bias.shape, np.inf))
        text = finding_of(model, data(16, 8)).text
        names = [v.path for v in model.layers[0].weights]
        assert all(f"`{name}`" in text for name in names), text
        assert f"and {len(model.weights) - 3} more have" in text
        assert "keras_initx.reinitialize(model)" in text

    def test_a_bias_alone_is_named(self):
        model = dense(depth=3)
        model.layers[1].bias.assign(np.full(model.layers[1].bias.shape, np.nan))
        finding = finding_of(model, data(16, 8))
        assert finding.path == model.layers[1].bias.path
        assert finding.text.startswith(f"`{finding.path}` has NaN")

    def test_an_optimizer_that_a_diverged_training_left_is_named_until_it_is_replaced(self):
        model, x, y = model_with(ops.relu), data(16, 8), data(16, 2)
        model.compile("adam", "mse")
        model.fit(x, np.full((16, 2), np.nan), verbose=0)
        both = finding_of(model, x, y).text
        assert "keras_initx.reinitialize(model)" in both
        assert "Compile the model with a new optimizer" in both
        reinitialize(model, seed=1)
        finding = finding_of(model, x, y)
        moments = [v.path for v in model.optimizer.variables if "momentum" in v.path]
        assert f"`{moments[0]}`" in finding.text
        assert "Compile the model with a new optimizer" in finding.text
        model.compile("adam", "mse")
        assert not any(f.verdict == "non-finite" for f in diagnose(model, x, y).findings)
        model.fit(x, y, verbose=0)
        assert all(np.isfinite(w).all() for w in model.get_weights())

    def test_a_moving_average_that_only_prediction_reads_is_named(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.BatchNormalization()])
        average = model.layers[1].moving_mean
        average.assign(np.full(8, np.nan))
        report = diagnose(model, data(16, 8))
        assert (report.findings[0].verdict, report.findings[0].path) == ("non-finite", average.path)


class TestLoss:
    def test_a_loss_of_values_that_it_cannot_take(self):
        model = model_with(lambda h: h, loss=lambda y, p: ops.mean(ops.log(y - 1.5 + 0 * p)))
        text = finding_of(model, data(16, 8), np.tile([1.0, 2.0], (16, 1))).text
        assert "the loss is nan, although the outputs are finite" in text
        assert "the targets are from 1 to 2" in text

    def test_a_healthy_model_has_no_such_finding(self):
        report = diagnose(model_with(ops.tanh), data(16, 8), np.zeros((16, 2)))
        assert "non-finite" not in {f.verdict for f in report.findings}


def test_no_figure_is_made_from_nan():
    model = dense()
    assert "gradient rms is" in diagnose(model, data(32, 8)).summary()
    kernel = model.layers[1].kernel
    kernel.assign(np.full(kernel.shape, np.nan, "float32"))
    report = diagnose(model, data(32, 8))
    assert np.isfinite(report.rows[0].dead)
    assert np.isnan([(row.dead, row.saturated) for row in report.rows[1:]]).all()
    assert "gradient rms is" not in report.summary()
