"""Check the output bias: the log-odds of the classes."""

import functools

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
            (np.eye(4), "The output has 3 units, the labels have 4 columns"),
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


def test_columns_of_labels_for_one_output_change_nothing():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1, activation="sigmoid")])
    before = values(model)
    with pytest.raises(InitxError, match="The output has 1 unit, the labels have 2 columns"):
        initialize(model, output_bias="prior", labels=[[0, 1], [1, 0], [0, 0]])
    assert same(before, model)


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
            r"^`class_counts` .* the output is a sigmoid.*number of samples.*Pass labels=",
        ),
        ({"labels": [[1, 0, 1], [1, 1, 0]]}, "only samples of class 0"),
    ):
        with pytest.raises(InitxError, match=message):
            initialize(model, output_bias="prior", **options)
        assert same(before, model)


L = keras.losses
# Frequencies .5, .3 and .2: whoever looks at their sum alone takes them for classes.
ONE_HOT = np.repeat(np.eye(3), [50, 30, 20], axis=0)
MULTI_HOT = np.repeat([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], [20, 10, 20, 50], axis=0)
CLASSES, LABELS = np.log([0.5, 0.3, 0.2]), np.log([1, 0.3 / 0.7, 0.2 / 0.8])


class OwnBinary(L.BinaryCrossentropy):
    """Stand for a user's subclass."""


def logits_model(loss, *following, units=3):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(units, name="head"), *following])
    if loss is not None:
        model.compile(loss=loss)
    return model


def prior_of(model, labels):
    initialize(model, output_bias="prior", labels=labels, seed=0)
    return ops.convert_to_numpy(model.get_layer("head").bias)


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        (L.BinaryCrossentropy(from_logits=True), ONE_HOT, LABELS),
        (L.BinaryFocalCrossentropy(from_logits=True), ONE_HOT, LABELS),
        (OwnBinary(from_logits=True), ONE_HOT, LABELS),
        (functools.partial(L.binary_crossentropy, from_logits=True), ONE_HOT, LABELS),
        ("binary_crossentropy", ONE_HOT, LABELS),
        ("BinaryCrossentropy", ONE_HOT.argmax(1), LABELS),
        ("bce", MULTI_HOT, LABELS),
        (["binary_focal_crossentropy"], MULTI_HOT, LABELS),
        ({"head": "binary_crossentropy"}, ONE_HOT, LABELS),
        (L.CategoricalCrossentropy(from_logits=True), ONE_HOT, CLASSES),
        ("sparse_categorical_crossentropy", ONE_HOT.argmax(1), CLASSES),
        # A custom loss, or none: the labels decide.
        (lambda y, z: ops.mean(z), ONE_HOT, CLASSES),
        (lambda y, z: ops.mean(z), MULTI_HOT, LABELS),
        (None, ONE_HOT, CLASSES),
        (None, MULTI_HOT, LABELS),
    ],
)
def test_the_loss_of_logits_decides_whether_classes_exclude_each_other(loss, labels, expected):
    np.testing.assert_allclose(prior_of(logits_model(loss), labels), expected, atol=1e-5)


@pytest.mark.parametrize("loss", [None, "mse", "binary_crossentropy", "categorical_crossentropy"])
def test_the_activation_after_the_layer_counts_before_the_loss(loss):
    softmax = logits_model(loss, layers.Softmax())
    np.testing.assert_allclose(prior_of(softmax, ONE_HOT), CLASSES, atol=1e-5)
    sigmoid = logits_model(loss, layers.Activation("sigmoid"))
    np.testing.assert_allclose(prior_of(sigmoid, ONE_HOT), LABELS, atol=1e-5)


@pytest.mark.parametrize("form", [list, dict])
def test_each_output_has_its_own_loss(form):
    x = keras.Input((4,))
    other = layers.Dense(3, use_bias=False, name="other")(x)
    head = layers.Dense(3, name="head")
    model = keras.Model(x, [other, head(x)])
    losses = {"other": "categorical_crossentropy", "head": "binary_crossentropy"}
    model.compile(loss=losses if form is dict else list(losses.values()))
    np.testing.assert_allclose(prior_of(model, ONE_HOT), LABELS, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("bce", {"class_counts": [5, 3, 2]}, "^`class_counts` must be None, since the loss is a binary cros"),
        (L.CategoricalCrossentropy(from_logits=True), {"labels": MULTI_HOT}, "^`labels` .*not one-hot"),
        ("mse", {"labels": ONE_HOT}, "^`output_bias` must be None for the loss mean_squared_error"),
        (L.Huber(), {"labels": ONE_HOT}, "^`output_bias` must be None for the loss Huber"),
    ],
)
def test_labels_that_the_loss_does_not_take_change_nothing(loss, options, message):
    model = logits_model(loss)
    before = values(model)
    with pytest.raises(InitxError, match=message):
        initialize(model, output_bias="prior", **options)
    assert same(before, model)


def test_a_softmax_over_one_output_has_no_prior():
    with pytest.raises(InitxError, match=r"^`output_bias` must be None .*one output, since the loss"):
        prior_of(logits_model("categorical_crossentropy", units=1), [0, 0, 1])
