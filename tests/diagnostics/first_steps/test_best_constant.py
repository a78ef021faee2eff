"""The loss of the best constant against formulas."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy.stats import entropy

from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = pytest.mark.check


def constant_loss(units, loss, y, activation=None, shape=(8,)):
    model = keras.Sequential([keras.Input(shape), layers.Dense(units, activation)])
    return diagnose(model, data(len(y), *shape), y, loss).constant_loss


class TestBestConstant:
    def test_squares_and_absolute_values(self):
        y = np.random.default_rng(0).exponential(3, size=(40, 2)).astype("float32")
        assert constant_loss(2, "mse", y) == pytest.approx(y.var(axis=0).mean(), rel=1e-5)
        assert constant_loss(2, "mae", y) == pytest.approx(np.abs(y - np.median(y, axis=0)).mean(), rel=1e-5)

    def test_relative_errors_prefer_zero(self):
        """Zero misses each target by 100 %, and a constant misses small ones by far more."""
        y = np.exp(5 * np.random.default_rng(0).normal(size=(40, 1))).astype("float32")
        errors = [100 * np.mean(np.abs(c - y) / y) for c in (y.mean(), np.median(y))]
        assert min(errors) > 1000
        assert constant_loss(1, "mape", y) == pytest.approx(100, rel=1e-5)

    def test_targets_without_an_axis_of_units(self):
        y = data(40, 1)[:, 0]
        assert constant_loss(1, "mse", y) == pytest.approx(y.var(), rel=1e-5)

    @pytest.mark.parametrize("logits", [False, True])
    @pytest.mark.parametrize("one_hot", [False, True])
    def test_classes(self, logits, one_hot):
        y = np.repeat(np.arange(4), (4, 8, 12, 16))
        kind = keras.losses.CategoricalCrossentropy if one_hot else keras.losses.SparseCategoricalCrossentropy
        targets = np.eye(4)[y] if one_hot else y
        found = constant_loss(4, kind(from_logits=logits), targets, None if logits else "softmax")
        assert found == pytest.approx(entropy(np.bincount(y)), rel=1e-4)

    @pytest.mark.parametrize("logits", [False, True])
    def test_one_hot_rows_times_a_weight(self, logits):
        y = np.repeat(np.arange(4), (4, 8, 12, 16))
        weights = np.linspace(2, 50, 40)
        loss = keras.losses.CategoricalCrossentropy(from_logits=logits)
        found = constant_loss(4, loss, weights[:, None] * np.eye(4)[y], None if logits else "softmax")
        totals = np.bincount(y, weights)
        assert found == pytest.approx(totals.sum() / 40 * entropy(totals), rel=1e-4)

    @pytest.mark.parametrize("logits", [False, True])
    def test_two_classes(self, logits):
        y = (np.arange(40) < 4).astype("float32")[:, None]
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
        found = constant_loss(1, loss, y, None if logits else "sigmoid")
        assert found == pytest.approx(entropy([0.1, 0.9]), rel=1e-4)

    def test_classes_of_tokens(self):
        y = np.random.default_rng(0).integers(0, 5, size=(16, 6))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        found = constant_loss(5, loss, y, shape=(6, 3))
        assert found == pytest.approx(entropy(np.bincount(y.ravel())), rel=1e-4)

    def test_several_outputs_and_sample_weights(self):
        inputs = keras.Input((8,))
        outputs = {"a": layers.Dense(1, name="a")(inputs), "b": layers.Dense(3, "softmax", name="b")(inputs)}
        model = keras.Model(inputs, outputs)
        model.compile("sgd", {"a": "mae", "b": "sparse_categorical_crossentropy"})
        y = {"a": data(30, 1), "b": np.repeat(np.arange(3), 10)}
        expected = np.abs(y["a"] - np.median(y["a"])).mean() + np.log(3)
        assert diagnose(model, data(30, 8), y).constant_loss == pytest.approx(expected, rel=1e-4)
        single = keras.Sequential([keras.Input((8,)), layers.Dense(1)])
        weights = np.r_[np.ones(15), np.zeros(15)]
        report = diagnose(single, (data(30, 8), y["a"], weights), loss="mse")
        # Keras divides by the number of samples.
        assert report.constant_loss == pytest.approx(y["a"][:15].var() / 2, rel=1e-4)

    def test_unknown_without_targets_or_for_a_loss_that_takes_no_constant(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(2)])
        assert np.isnan(diagnose(model).constant_loss)

        def loss(y, outputs):
            return ops.log(ops.mean(ops.abs(outputs - outputs[:1])))

        assert np.isnan(diagnose(model, data(16, 8), data(16, 2), loss).constant_loss)
