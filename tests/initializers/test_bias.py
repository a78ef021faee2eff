import collections

import keras
import numpy as np
import pytest
from scipy import special

from keras_initx import BiasAuto, InitxError, PriorBias
from tests.support.arrays import numpy

pytestmark = pytest.mark.check

L = keras.layers


def test_zeros_for_every_other_layer():
    for layer, shape in (
        (L.Dense(3), (None, 4)),
        (L.Conv2D(3, 2), (None, 5, 5, 2)),
        (L.GRUCell(3), (None, 4)),
    ):
        layer.bias_initializer = keras.initializers.get("bias_auto")
        layer.build(shape)
        assert not numpy(layer.bias).any()


@pytest.mark.parametrize("unit_forget_bias", [True, False])
def test_the_forget_gate_of_an_lstm_is_one(unit_forget_bias):
    cell = L.LSTMCell(5, bias_initializer="bias_auto", unit_forget_bias=unit_forget_bias)
    cell.build((None, 4))
    # Keras's order: input, forget, cell, output; five units of each.
    np.testing.assert_array_equal(numpy(cell.bias), np.repeat([0, 1, 0, 0], 5))
    layer = L.ConvLSTM1D(5, 3, bias_initializer="bias_auto", unit_forget_bias=unit_forget_bias)
    layer.build((None, 4, 9, 2))
    np.testing.assert_array_equal(numpy(layer.cell.bias).reshape(4, 5)[:, 4], [0, 1, 0, 0])


def test_kernels_are_refused():
    for layer, shape in (
        (L.Dense(3, kernel_initializer="bias_auto", name="first"), (None, 4)),
        (L.Embedding(3, 2, embeddings_initializer=BiasAuto(), name="first"), (None,)),
        (L.BatchNormalization(gamma_initializer=BiasAuto(), name="first"), (None, 4)),
        (L.Dense(3, kernel_initializer=PriorBias(0.2), activation="sigmoid", name="first"), (None, 4)),
    ):
        with pytest.raises(
            InitxError, match=r"^first/\w+: `initializer` '(PriorBias|BiasAuto)' is for biases, not for"
        ):
            layer.build(shape)


def test_softmax_predicts_the_classes():
    p = [0.7, 0.2, 0.1]
    for initializer in (PriorBias(p), PriorBias(class_counts=[70, 20, 10])):
        layer = L.Dense(3, activation="softmax", kernel_initializer="zeros", bias_initializer=initializer)
        np.testing.assert_allclose(numpy(layer(np.ones((2, 5)))), [p, p], rtol=1e-5)


def test_the_first_loss_is_the_entropy_of_the_classes():
    p = np.array([0.7, 0.2, 0.1])
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    logits = L.Dense(3, kernel_initializer="zeros", bias_initializer=PriorBias(p))(np.ones((100, 5)))
    loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    assert numpy(loss).mean() == pytest.approx(-np.sum(p * np.log(p)), rel=1e-5)


def test_one_sigmoid_predicts_class_one():
    layer = L.Dense(1, activation="sigmoid", bias_initializer=PriorBias(class_counts=[990, 10]))
    layer.build((None, 4))
    assert numpy(layer.bias)[0] == pytest.approx(special.logit(0.01), rel=1e-5)
    logits = L.Dense(1, bias_initializer=PriorBias(0.01))
    logits.build((None, 4))
    assert numpy(logits.bias)[0] == pytest.approx(special.logit(0.01), rel=1e-5)


def test_labels_that_are_not_exclusive():
    p = [0.5, 0.01, 0.9]
    for activation in ("sigmoid", None):
        layer = L.Dense(3, activation=activation, bias_initializer=PriorBias(p))
        layer.build((None, 4))
        np.testing.assert_allclose(numpy(layer.bias), special.logit(p), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("own", [None, "sigmoid"])
def test_logits_of_independent_labels_whose_probabilities_sum_to_1(own):
    p = [0.5, 0.3, 0.2]
    initializer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(PriorBias(p, activation="sigmoid"))
    )
    layer = L.Dense(3, activation=own, bias_initializer=initializer)
    layer.build((None, 4))
    np.testing.assert_allclose(numpy(layer.bias), special.logit(p), rtol=1e-4, atol=1e-6)


def test_one_probability_for_every_output_of_a_detector():
    layer = L.Conv2D(6, 3, activation="sigmoid", bias_initializer=PriorBias(0.01))
    layer.build((None, 8, 8, 2))
    np.testing.assert_allclose(numpy(layer.bias), special.logit(0.01), rtol=1e-5)


def test_very_rare_classes_keep_their_log_odds():
    layer = L.Dense(1, activation="sigmoid", bias_initializer=PriorBias(1e-30))
    layer.build((None, 4))
    assert numpy(layer.bias)[0] == pytest.approx(np.log(1e-30), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "units", "activation", "message"),
    [
        ({"p": [0.5, 0.5]}, 3, "softmax", r"^out/bias: `p` must be 3 values.*, got \[0.5, 0.5\]"),
        ({"class_counts": [5, 5]}, 2, "sigmoid", r"`class_counts` .*several sigmoids.*Pass p=, the count"),
        ({"class_counts": [5, 5]}, 3, "softmax", r"^out/bias: `class_counts` must be 3 values"),
        ({"p": [0.5, 0.1, 0.1]}, 3, "softmax", r"^out/bias: `p` must be .*sum to 1"),
        ({"p": 0.1}, 3, "softmax", r"^out/bias: `p` must be .*sum to 1"),
        ({"class_counts": [9, 1]}, 1, "softmax", r"^out/bias: `class_counts` .*sum to 1.*, got \[9.0, 1.0\]"),
        (
            {"p": [0.5, 0.5], "activation": "sigmoid"},
            2,
            "softmax",
            "^out/bias: `activation` must be None or 'softmax', since the layer applies softmax, got 'sig",
        ),
        ({"class_counts": [5, 5], "activation": "sigmoid"}, 2, None, "`class_counts` .*several sigmoids"),
        ({"p": 0.1}, 3, "relu", r"^out/bias: `activation` must be softmax, sigmoid or None.*, got 'relu'"),
    ],
    ids=[
        "too few",
        "counts of sigmoids",
        "too few counts",
        "sum",
        "one for all",
        "one output",
        "contradiction",
        "counts of logits",
        "relu",
    ],
)
def test_values_that_do_not_fit_the_layer_are_refused(arguments, units, activation, message):
    layer = L.Dense(units, activation=activation, bias_initializer=PriorBias(**arguments), name="out")
    with pytest.raises(InitxError, match=message):
        layer.build((None, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^Exactly one of `p` and `class_counts` must be set, got None and None"),
        (
            {"p": 0.1, "class_counts": [1, 2]},
            "^Exactly one of `p` and `class_counts` must be set, got 0.1 and",
        ),
        ({"class_counts": [5, 0]}, r"^`class_counts` must be .*, got \[5, 0\].*add 1 to every count"),
        ({"p": 0.1, "activation": "relu"}, "^`activation` must be 'softmax', 'sigmoid' or None, got 'relu'"),
        ({"class_counts": 7}, "two or more classes, got 7"),
        ({"class_counts": [7]}, r"two or more classes, got \[7\]"),
        (
            {"class_counts": [7, float("inf")]},
            r"^`class_counts` must be finite numbers > 0, got \[7, inf\]\.$",
        ),
    ],
    ids=["neither", "both", "empty class", "activation", "number", "one class", "infinite"],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InitxError, match=message):
        PriorBias(**arguments)


def test_counts_of_numpy_and_of_a_generator_of_integers():
    counts = np.bincount([0, 0, 0, 1, 2, 2])
    assert PriorBias(class_counts=counts).get_config()["class_counts"] == [3.0, 1.0, 2.0]


def test_a_counter_of_labels():
    counts = collections.Counter([0, 0, 0, 1, 2, 2])
    assert PriorBias(class_counts=counts).get_config()["class_counts"] == [3.0, 1.0, 2.0]
    with pytest.raises(InitxError, match=r"^`class_counts` must be finite numbers > 0") as caught:
        PriorBias(class_counts={"cat": 3, "dog": 2})
    assert "add 1" not in str(caught.value)
