"""The signal of each layer before training, compared with a forward and backward pass by hand."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from keras_initx.tuning.data import Batch
from keras_initx.tuning.pruning.layer_signal import (
    BINS,
    MAX_LAYERS,
    MAX_VALUES,
    LayerStart,
    as_record,
    capture_outputs,
    from_record,
    histogram_of,
    subsample,
)
from keras_initx.tuning.pruning.signal_probe import SignalProbe, layers_at_start
from scipy import stats

from keras_initx._event_files import Histogram
from tests.support.arrays import array

pytestmark = pytest.mark.check


@pytest.fixture
def model():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(7, activation="tanh", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5, seed=1),
            layers.Dense(3, name="head"),
        ]
    )
    model.compile("adam", "mse")
    return model


def test_pre_activations_and_gradients_by_hand(batch):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, activation="tanh", name="a"), layers.Dense(3, name="b")]
    )
    model.compile("sgd", "mse")
    x, y = (part.astype("float64") for part in batch.parts[:2])
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
        histogram = first.histograms[name]
        assert sum(histogram.counts) == values.size
        assert (histogram.edges[0], histogram.edges[-1]) == pytest.approx(
            (values.min(), values.max()), rel=1e-4
        )


def test_without_a_probe_gradients_are_missing_and_the_model_is_restored(model, batch):
    before = [array(v) for v in model.variables]
    hidden, head = layers_at_start(model, batch)
    assert hidden.forward > 0
    assert (hidden.backward, head.backward) == (None, None)
    assert hidden.histograms.keys() == {"weights/kernel", "activations"}
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(array(variable), value)


def test_layers_are_restored(model, batch):
    original = [vars(layer).copy() for layer in model.layers]
    with capture_outputs(model) as captured:
        model(batch.x)
    assert len(captured) == 2
    with pytest.raises(ValueError, match="incompatible"), capture_outputs(model):
        model(batch.y)
    for layer, attributes in zip(model.layers, original, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert vars(layer).get("activation") is attributes.get("activation")
    captured.clear()
    model(batch.x)
    assert captured == {}


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
    first, *_, last = layers_at_start(model, Batch.of_arrays(x))
    assert "inner" in first.name
    assert last.name.endswith("head")
    for part in (first, last):
        assert part.forward > 0
        assert sum(part.histograms["activations"].counts) > 0
    assert first.histograms.keys() >= set(names)


def test_attention_has_one_entry_per_projection():
    inputs = keras.Input((6, 4))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4)(inputs, inputs))
    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
    starts = layers_at_start(model, Batch.of_arrays(x))
    names = sorted(part.name.split("/")[-1] for part in starts)
    assert names == ["attention_output", "key", "query", "value"]
    assert all(part.forward > 0 for part in starts)


def test_layers_come_in_the_order_of_their_calls():
    first, second = layers.Dense(4, name="z"), layers.Dense(4, name="a")
    inputs = keras.Input((4,))

    class Reversed(keras.Model):
        def __init__(self):
            super().__init__()
            self.later, self.sooner = second, first

        def call(self, x):
            return self.later(self.sooner(x))

    model = Reversed()
    model(inputs)
    starts = layers_at_start(model, Batch.of_arrays(np.ones((2, 4), "float32")))
    assert [part.name.split("/")[-1] for part in starts] == ["z", "a"]


def test_pre_activations_that_are_not_finite(batch):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, kernel_initializer="ones")])
    model.layers[0].kernel.assign(np.full((5, 3), np.inf, "float32"))
    (layer,) = layers_at_start(model, batch)
    assert not np.isfinite(layer.forward)
    assert "activations" not in layer.histograms


def test_a_model_that_cannot_be_inspected_has_no_layers(batch):
    class OnlyInference(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise ValueError("not in training")
            return x

    model = keras.Sequential([keras.Input((5,)), layers.Dense(3), OnlyInference()])
    assert layers_at_start(model, batch) == ()


@pytest.mark.one_backend
class TestHistogram:
    def test_small_tensor_is_counted_completely(self):
        values = np.random.default_rng(1).normal(size=(30, 20)).astype("float32")
        histogram = histogram_of(values)
        counts, edges = np.histogram(values.astype("float64"), bins=BINS)
        assert histogram.counts == tuple(counts)
        np.testing.assert_allclose(histogram.edges, edges)

    def test_large_tensor_is_sampled_evenly_from_all_units(self):
        # Every unit has a value of its own, so that every n-th value would come from a few units only.
        values = np.broadcast_to(np.arange(1024.0), (2048, 1024))
        sample = subsample(values)
        assert sample.size == MAX_VALUES
        assert stats.kstest(sample, stats.randint(0, 1024).cdf).statistic < 0.01
        np.testing.assert_array_equal(sample, subsample(values))
        assert sum(histogram_of(values).counts) == MAX_VALUES

    @pytest.mark.parametrize("value", [0.0, 1.0, -3e38, 1e-45, 5e-324])
    def test_equal_values_fall_into_one_bin(self, value):
        histogram = histogram_of(np.full(7, value))
        assert sorted(histogram.counts)[-2:] == [0, 7]
        index = histogram.counts.index(7)
        assert histogram.edges[index] <= value <= histogram.edges[index + 1]
        assert np.all(np.diff(histogram.edges) >= 0)

    def test_nearly_equal_large_values(self):
        values = 1e8 + np.array([0.0, 1.5e-8])
        assert sum(histogram_of(values).counts) == 2

    def test_values_that_are_not_finite_are_left_out(self):
        histogram = histogram_of(np.array([np.nan, np.inf, 1.0, 2.0, -np.inf]))
        assert (sum(histogram.counts), histogram.edges[0], histogram.edges[-1]) == (2, 1.0, 2.0)
        assert histogram_of(np.array([np.nan, np.inf])) is None
        assert histogram_of(np.array([])) is None


@pytest.mark.one_backend
class TestRecord:
    def test_round_trip_through_json(self):
        starts = [
            LayerStart("a", 1.0, 0.5, {"activations": Histogram((0.0, 1.0), (2,))}),
            LayerStart("b", float("nan"), float("inf")),
            LayerStart("c"),
        ]
        # Strict JSON, because databases and browsers have no NaN.
        record = json.loads(json.dumps(as_record(starts), allow_nan=False))
        assert from_record(record) == {1: starts[0], 2: LayerStart("b"), 3: starts[2]}
        assert from_record(record)[1].histograms == {}
        assert from_record(as_record([])) == {}

    def test_size_is_bounded_and_both_ends_are_kept(self):
        starts = [LayerStart(f"sequential_12/residual_block_{n}/dense", 1 / 3, 1 / 7) for n in range(5000)]
        record = as_record(starts)
        assert len(json.dumps(record)) < 2**16
        depths = list(from_record(record))
        assert len(depths) == MAX_LAYERS
        assert (depths[0], depths[-1]) == (1, 5000)
        assert from_record(record)[depths[7]] == starts[depths[7] - 1]
