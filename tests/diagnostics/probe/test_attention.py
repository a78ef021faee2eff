"""The signal of attention heads, against the attention scores that Keras returns."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats

from keras_initx.diagnostics import diagnose
from tests.support.networks import data


def attention_model(dropout=0.0, scale=1.0):
    """Return a model with an attention of three heads, and that attention."""
    inputs = keras.Input((10, 16))
    attention = layers.MultiHeadAttention(3, 8, dropout=dropout, name="attention")
    model = keras.Model(inputs, layers.Dense(2)(attention(inputs, inputs)))
    for part in ("query", "key"):
        dense = getattr(attention, f"{part}_dense")
        dense.kernel.assign(dense.kernel * scale)
    return model, attention


class TestCompiledPass:
    # Without dropout Keras computes the weights inside a single operation.
    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_entropy_by_head_against_the_scores_of_keras(self, dropout):
        model, attention = attention_model(dropout, scale=2)
        x = data(8, 10, 16)
        report = diagnose(model, x)
        _, weights = attention(x, x, return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")
        expected = stats.entropy(weights, axis=-1).mean(axis=(0, 2)) / np.log(10)
        assert [h.entropy for h in report.heads] == pytest.approx(list(expected), rel=1e-3)
        assert [h.head for h in report.heads] == [0, 1, 2]
        assert {h.path for h in report.heads} == {"attention"}

    def test_padding_that_an_embedding_masks_gets_no_weight(self):
        ids = np.random.default_rng(0).integers(1, 20, size=(8, 10))
        ids[:, 4:] = 0
        inputs, table = keras.Input((10,), dtype="int32"), layers.Embedding(20, 16, mask_zero=True)
        attention = layers.MultiHeadAttention(2, 8)
        embedded = table(inputs)
        report = diagnose(keras.Model(inputs, layers.Dense(2)(attention(embedded, embedded))), ids)
        _, weights = attention(table(ids), table(ids), return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")
        assert weights[:, :, :4, 4:].max() == pytest.approx(0, abs=1e-6)
        # Queries at padding see no key and do not count.
        weights = weights[:, :, :4]
        expected = stats.entropy(weights, axis=-1).mean(axis=(0, 2)) / np.log(4)
        assert [h.entropy for h in report.heads] == pytest.approx(list(expected), rel=1e-3)
        middle = weights.mean(axis=2, keepdims=True)
        spread = 1 - (middle**2).sum(axis=(2, 3)).mean(axis=0) / (weights**2).sum(axis=3).mean(axis=(0, 2))
        assert [h.spread for h in report.heads] == pytest.approx(list(spread), abs=1e-5)

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_entropy_of_a_causal_head_is_relative_to_the_visible_keys(self, dropout):
        inputs = keras.Input((10, 16))
        attention = layers.MultiHeadAttention(2, 8, dropout=dropout)
        outputs = attention(inputs, inputs, use_causal_mask=True)
        x = 3 * data(8, 10, 16)
        report = diagnose(keras.Model(inputs, layers.Dense(2)(outputs)), x)
        _, weights = attention(x, x, use_causal_mask=True, return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")[:, :, 1:]
        entropy = stats.entropy(weights, axis=-1) / np.log(np.arange(2, 11))
        assert [h.entropy for h in report.heads] == pytest.approx(list(entropy.mean(axis=(0, 2))), rel=1e-3)


class TestAttention:
    @pytest.mark.parametrize("kind", [layers.Attention, layers.AdditiveAttention])
    @pytest.mark.parametrize("asked", [False, True])
    def test_entropy_of_a_layer_with_one_head(self, kind, asked):
        inputs = keras.Input((10, 16))
        query, layer = layers.Dense(16)(inputs), kind(name="attention")
        outputs = layer([query, inputs], return_attention_scores=asked)
        model = keras.Model(inputs, layers.Dense(2)(outputs[0] if asked else outputs))
        x = data(8, 10, 16)
        (head,) = diagnose(model, x).heads
        _, weights = layer([model.layers[1](x), x], return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")
        assert head.path == "attention"
        assert head.entropy == pytest.approx(stats.entropy(weights, axis=-1).mean() / np.log(10), rel=1e-3)

    def test_entropy_of_hand_written_attention(self):
        class Own(layers.Layer):
            def build(self, shape):
                self.query = layers.Dense(16, name="query")
                self.query.build(shape)

            def call(self, x):
                scores = ops.matmul(self.query(x), ops.transpose(x, (0, 2, 1)))
                return ops.matmul(ops.softmax(scores), x)

        inputs, own = keras.Input((10, 16)), Own(name="own")
        model = keras.Model(inputs, layers.Dense(2)(own(inputs)))
        x = data(8, 10, 16)
        (head,) = diagnose(model, x).heads
        scores = ops.convert_to_numpy(own.query(x)).astype("float64") @ x.transpose(0, 2, 1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        assert head.entropy == pytest.approx(stats.entropy(weights, axis=-1).mean() / np.log(10), rel=1e-3)

    def test_masked_queries_of_a_layer_with_one_head(self):
        x, kept = data(8, 10, 16), np.arange(10) < np.arange(2, 10)[:, None]
        x[~kept] = 0
        inputs = keras.Input((10, 16))
        masked, layer = layers.Masking()(inputs), layers.Attention()
        (head,) = diagnose(keras.Model(inputs, layers.Dense(2)(layer([masked, masked]))), x).heads
        _, weights = layer([x, x], mask=[kept, kept], return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")
        entropy = stats.entropy(weights, axis=-1) / np.log(kept.sum(axis=1))[:, None]
        assert head.entropy == pytest.approx(entropy[kept].mean(), rel=1e-3)

    def test_a_single_key_or_query_gets_no_verdict(self):
        inputs = keras.Input((6, 16))
        one_key = layers.MultiHeadAttention(2, 8, name="one_key")(inputs, inputs[:, :1])
        one_query = layers.MultiHeadAttention(2, 8, name="one_query")(inputs[:, :1], inputs)
        report = diagnose(keras.Model(inputs, layers.Dense(2)(one_key + one_query)), data(8, 6, 16))
        assert all(np.isnan(h.spread) and not h.verdicts for h in report.heads)
        assert [np.isnan(h.entropy) for h in report.heads] == [True, True, False, False]
        json.loads(report.to_json())

    @pytest.mark.parametrize("kind", ["broadcast", "zeros_like"])
    def test_learned_queries_are_the_same_for_all_samples(self, kind):
        class Learned(layers.Layer):
            def __init__(self):
                super().__init__()
                self.attention = layers.MultiHeadAttention(2, 8, name="attention")

            def build(self, shape):
                self.queries = self.add_weight(shape=(1, 5, 16), initializer="random_normal", name="queries")
                self.attention.build((None, 5, 16), shape)

            def call(self, x):
                several = ops.broadcast_to(self.queries, (ops.shape(x)[0], 5, 16))
                zeros = ops.zeros_like(x[:, :5])
                return self.attention(several if kind == "broadcast" else zeros + self.queries, x)

        inputs = keras.Input((12, 16))
        model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(Learned()(inputs))))
        report = diagnose(model, data(8, 12, 16))
        assert [row.is_lookup for row in report.rows] == [True, False, False, False, False]
        assert report.healthy, report.summary()

    def test_one_head_whose_queries_all_attend_alike(self):
        model, attention = attention_model()
        kernel = ops.convert_to_numpy(attention.query_dense.kernel).copy()
        kernel[:, 1] *= 1e-4
        attention.query_dense.kernel.assign(kernel)
        report = diagnose(model, data(8, 10, 16))
        assert [h.verdicts for h in report.heads] == [(), ("rank collapse",), ()]
        (finding,) = [f for f in report.findings if f.verdict == "rank collapse"]
        assert "`attention` head 1, rank collapse: the queries differ by only " in finding.text
        assert report.healthy

    def test_entropy_collapse_is_reported(self):
        model, _ = attention_model(scale=40)
        report = diagnose(model, data(8, 10, 16))
        assert "entropy collapse" in {f.verdict for f in report.findings}
        assert "attention" in str(report)

    def test_rank_collapse_is_reported(self):
        inputs = keras.Input((10, 16))
        h = inputs
        for n in range(5):
            h = layers.MultiHeadAttention(2, 8, name=f"attention_{n}")(h, h)
        report = diagnose(keras.Model(inputs, h), data(8, 10, 16))
        assert "rank collapse" in {f.verdict for f in report.findings}
