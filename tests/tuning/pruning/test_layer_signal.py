"""What each layer shows before training, against a forward and backward pass by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_initx.tuning.pruning.layer_signal import capture_outputs
from keras_initx.tuning.pruning.signal_probe import SignalProbe, layers_at_start


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor), dtype="float64")


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    return generator.normal(size=(16, 5)).astype("float32"), generator.normal(size=(16, 3)).astype("float32")


@pytest.fixture
def model():
    built = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(7, activation="tanh", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5, seed=1),
            layers.Dense(3, name="head"),
        ]
    )
    built.compile("adam", "mse")
    return built


def test_pre_activations_and_gradients_by_hand(batch):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, activation="tanh", name="a"), layers.Dense(3, name="b")]
    )
    model.compile("sgd", "mse")
    x, y = (part.astype("float64") for part in batch)
    w1, b1, w2, b2 = map(array, model.variables[:4])
    z = x @ w1 + b1
    out = np.tanh(z) @ w2 + b2
    error = 2 * (out - y) / out.size
    gradients = [x.T @ (error @ w2.T * (1 - np.tanh(z) ** 2)), np.tanh(z).T @ error]
    first, second = layers_at_start(model, batch, SignalProbe(batch)(model))
    assert [part.name.split("/")[-1] for part in (first, second)] == ["a", "b"]
    assert (first.forward, second.forward) == pytest.approx((np.std(z), np.std(out)), rel=1e-4)
    rms = [np.sqrt(np.mean(g**2)) for g in gradients]
    assert (first.backward, second.backward) == pytest.approx(rms, rel=1e-4)
    assert first.histograms.keys() == {"weights/kernel", "gradients/kernel", "activations"}
    for name, values in (("weights/kernel", w1), ("gradients/kernel", gradients[0]), ("activations", z)):
        found = first.histograms[name]
        assert sum(found.counts) == values.size
        assert (found.edges[0], found.edges[-1]) == pytest.approx((values.min(), values.max()), rel=1e-4)


def test_without_a_probe_there_is_no_gradient_and_the_model_is_as_it_was(model, batch):
    before = [array(v) for v in model.variables]
    hidden, head = layers_at_start(model, batch)
    assert hidden.forward > 0
    assert (hidden.backward, head.backward) == (None, None)
    assert hidden.histograms.keys() == {"weights/kernel", "activations"}
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(array(variable), value)


def test_layers_are_as_they_were(model, batch):
    own = [vars(layer).copy() for layer in model.layers]
    with capture_outputs(model) as seen:
        model(batch[0])
    assert len(seen) == 2
    with pytest.raises(ValueError, match="incompatible"), capture_outputs(model):
        model(batch[1])
    for layer, attributes in zip(model.layers, own, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert vars(layer).get("activation") is attributes.get("activation")
    seen.clear()
    model(batch[0])
    assert seen == {}


@pytest.mark.parametrize(
    ("inner", "shape", "names"),
    [
        (lambda: layers.LSTM(4, name="inner"), (6, 3), ["weights/kernel", "weights/recurrent_kernel"]),
        (lambda: layers.Bidirectional(layers.GRU(4, name="inner")), (6, 3), ["weights/kernel"]),
        (lambda: layers.Conv1D(4, 3, activation="relu", name="inner"), (6, 3), ["weights/kernel"]),
        (lambda: layers.Embedding(9, 4, name="inner"), (6,), ["weights/embeddings"]),
        (lambda: layers.Dense(4, activation=layers.LeakyReLU(), name="inner"), (6, 3), ["weights/kernel"]),
    ],
)
def test_kinds_of_layers(inner, shape, names):
    model = keras.Sequential([keras.Input(shape), inner(), layers.Flatten(), layers.Dense(2, name="head")])
    x = np.random.default_rng(0).integers(0, 9, size=(8, *shape)).astype("float32")
    first, *_, last = layers_at_start(model, (x, None))
    assert "inner" in first.name
    assert last.name.endswith("head")
    for part in (first, last):
        assert part.forward > 0
        assert sum(part.histograms["activations"].counts) > 0
    assert first.histograms.keys() >= set(names)


def test_attention_is_seen_projection_by_projection():
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4)(inputs, inputs))
    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
    found = layers_at_start(model, (x, None))
    assert sorted(part.name.split("/")[-1] for part in found) == [
        "attention_output",
        "key",
        "query",
        "value",
    ]
    assert all(part.forward > 0 for part in found)


def test_in_the_order_of_the_calls():
    first, second = layers.Dense(4, name="z"), layers.Dense(4, name="a")
    inputs = keras.Input((4,))

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.later, self.sooner = second, first

        def call(self, x):
            return self.later(self.sooner(x))

    model = Own()
    model(inputs)
    found = layers_at_start(model, (np.ones((2, 4), "float32"), None))
    assert [part.name.split("/")[-1] for part in found] == ["z", "a"]


def test_what_is_not_finite(batch):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, kernel_initializer="ones")])
    model.layers[0].kernel.assign(np.full((5, 3), np.inf, "float32"))
    (layer,) = layers_at_start(model, batch)
    assert not np.isfinite(layer.forward)
    assert "activations" not in layer.histograms


def test_a_model_that_cannot_be_looked_at_shows_nothing(batch):
    class Own(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise ValueError("not in training")
            return x

    model = keras.Sequential([keras.Input((5,)), layers.Dense(3), Own()])
    assert layers_at_start(model, batch) == ()
