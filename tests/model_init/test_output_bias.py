"""Check the output bias: the log-odds of the classes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, initialize
from tests.support.recorder import same, values

pytestmark = pytest.mark.check


class TestOutputBias:
    def test_softmax_gives_the_frequencies(self):
        x = keras.Input((5,))
        head = layers.Dense(3, activation="softmax", name="head")
        model = keras.Model(x, head(layers.Dense(8, activation="relu")(x)))
        plan = initialize(model, output_bias="prior", labels=[0] * 6 + [1] * 3 + [2], seed=0)
        np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.6, 0.3, 0.1], atol=1e-6)
        assert any("log-odds" in note for note in plan.notes)
        one_hot = np.eye(3)[[0, 1, 1, 2]]
        initialize(model, output_bias="prior", labels=one_hot, seed=0)
        np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.25, 0.5, 0.25], atol=1e-6)

    def test_sigmoid(self):
        x = keras.Input((5,))
        head = layers.Dense(1, activation="sigmoid")
        initialize(keras.Model(x, head(x)), output_bias="prior", class_counts=[90, 10], seed=0)
        assert float(ops.convert_to_numpy(ops.sigmoid(head.bias))[0]) == pytest.approx(0.1, abs=1e-6)
        # A column of labels has one class per row; it is no one-hot row.
        initialize(keras.Model(x, head(x)), output_bias="prior", labels=[[0], [1], [0], [0]], seed=0)
        assert float(ops.convert_to_numpy(ops.sigmoid(head.bias))[0]) == pytest.approx(0.25, abs=1e-6)

    @pytest.mark.parametrize(
        ("labels", "received"),
        [
            (["cat", "dog"], "np.unique"),
            ([-1, 0, 1], "from -1 to 1"),
            ([0.5, 1.0], "from 0.5 to 1"),
            ([0, 1, 2, 3], "from 0 to 3"),
            ([], "of shape"),
            ([0, 1, 1], "no sample of class 2"),
            ([[1, 1, 0], [0, 0, 1]], "not one-hot"),
        ],
    )
    def test_bad_labels_change_nothing(self, labels, received):
        model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])
        before = values(model)
        with pytest.raises(InitxError, match=f"(?s)^`labels` .*{received}"):
            initialize(model, output_bias="prior", labels=labels)
        assert same(before, model)


def test_a_frozen_or_skipped_head_keeps_its_bias():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax", name="head")])
    with pytest.raises(
        InitxError, match=r"^`output_bias='prior'` may not change .*head/bias: it is frozen, or excluded by"
    ):
        initialize(model, output_bias="prior", class_counts=[1, 2, 3], skip="head")
    model.layers[0].trainable = False
    with pytest.raises(InitxError, match=r"may not change .*head/bias: it is frozen"):
        initialize(model, output_bias="prior", class_counts=[1, 2, 3])


def test_labels_of_pixels():
    x = keras.Input((4, 4, 2))
    head = layers.Conv2D(3, 1, activation="softmax")
    labels = np.array([0, 0, 1, 2] * 8).reshape(2, 4, 4)
    initialize(keras.Model(x, head(x)), output_bias="prior", labels=labels, seed=0)
    np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.5, 0.25, 0.25], atol=1e-6)


def test_labels_of_several_sigmoids_are_independent():
    counts, samples = np.array([2500, 50, 1000]), 5000
    labels = np.random.default_rng(0).permuted(np.arange(samples)[:, None] < counts, axis=0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="sigmoid")])
    initialize(model, output_bias="prior", labels=labels.astype(int), seed=0)
    log_odds = np.log(counts / (samples - counts))
    np.testing.assert_allclose(ops.convert_to_numpy(model.layers[0].bias), log_odds, atol=1e-5)
    # One class for each sample, and a sigmoid for each class.
    initialize(model, output_bias="prior", labels=[0, 0, 1, 2], seed=0)
    log_odds = np.log([1, 1 / 3, 1 / 3])
    np.testing.assert_allclose(ops.convert_to_numpy(model.layers[0].bias), log_odds, atol=1e-5)
    before = values(model)
    for options, message in (
        (
            {"class_counts": counts},
            r"`class_counts` .* several sigmoids.*number of samples",
        ),
        ({"labels": [[1, 0, 1], [1, 1, 0]]}, "only samples of class 0"),
    ):
        with pytest.raises(InitxError, match=message):
            initialize(model, output_bias="prior", **options)
        assert same(before, model)
