"""`diagnose` against networks that are computed by hand, forward and backward."""

import json
import random

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import integrate, stats

from keras_initx import InitxError, initialize, reinitialize
from keras_initx.diagnostics import diagnose
from tests import recorder, zoo


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def dense(width=24, depth=3, activation="tanh", kernel="he_normal", classes=5, inputs=8, **options):
    hidden = [layers.Dense(width, activation, kernel_initializer=kernel, **options) for _ in range(depth)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(classes)])


def by_hand(model, x, y):
    """Pre-activations and their gradients of a tanh network under the mean squared error."""
    zs, signal = [], x.astype("float64")
    weights = [[ops.convert_to_numpy(w).astype("float64") for w in layer.weights] for layer in model.layers]
    for n, (kernel, bias) in enumerate(weights):
        zs.append(signal @ kernel + bias)
        signal = np.tanh(zs[-1]) if n < len(weights) - 1 else zs[-1]
    gradients = [2 * (signal - y) / signal.size]
    for n in range(len(weights) - 1, 0, -1):
        gradients.insert(0, gradients[0] @ weights[n][0].T * (1 - np.tanh(zs[n - 1]) ** 2))
    return zs, gradients


class TestByHand:
    @pytest.fixture
    def found(self):
        model, x, y = dense(), data(32, 8), data(32, 5, seed=1)
        return model, x, y, diagnose(model, x, y, "mse"), *by_hand(model, x, y)

    def test_the_signal(self, found):
        _, _, _, report, zs, _ = found
        for row, z in zip(report.rows, zs, strict=True):
            assert row.mean == pytest.approx(z.mean(), rel=1e-4, abs=1e-5)
            assert row.std == pytest.approx(z.std(), rel=1e-4)
            assert row.second_moment == pytest.approx(np.mean(z**2), rel=1e-4)

    def test_what_the_activation_returns(self, found):
        _, _, _, report, zs, _ = found
        for row, z in zip(report.rows[:-1], zs, strict=False):
            assert row.after == pytest.approx(np.mean(np.tanh(z) ** 2), rel=1e-4)
            assert row.saturated == pytest.approx(np.mean(np.abs(np.tanh(z)) >= 0.98), abs=1e-6)
        assert np.isnan(report.rows[-1].after)

    def test_the_gradients(self, found):
        _, x, _, report, zs, gradients = found
        for row, g in zip(report.rows, gradients, strict=True):
            assert row.gradient_rms == pytest.approx(np.sqrt(np.mean(g**2)), rel=1e-4)
            assert row.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-4)
            assert row.gradient_variance == pytest.approx(g.var(), rel=1e-3)
        arriving = [x, *(np.tanh(z) for z in zs[:-1])]
        for row, h, g in zip(report.rows, arriving, gradients, strict=True):
            assert row.kernel_gradient == pytest.approx(np.sqrt(np.mean((h.T @ g) ** 2)), rel=1e-4)

    def test_the_loss(self, found):
        model, x, y, report, *_ = found
        predicted = ops.convert_to_numpy(model(x))
        assert report.loss == pytest.approx(np.mean((predicted - y) ** 2), rel=1e-5)

    def test_chi_is_the_slope_of_the_map_of_small_differences(self, found):
        model, _, _, report, _, _ = found
        for row, layer in zip(report.rows[:-1], model.layers, strict=False):
            kernel = ops.convert_to_numpy(layer.kernel).astype("float64")

            def slope(z, row=row):
                return (1 - np.tanh(z) ** 2) ** 2 * stats.norm.pdf(z, row.mean, row.std)

            expected = kernel.shape[0] * np.mean(kernel**2) * integrate.quad(slope, -9, 9, limit=200)[0]
            assert row.chi == pytest.approx(expected, rel=1e-4)

    def test_chi_behind_a_normalization_knows_its_gamma_and_beta(self, found):
        inputs = keras.Input((8,))
        norm = layers.BatchNormalization()
        model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(norm(layers.Dense(400)(inputs)))))
        x = data(64, 8)

        def chi():
            return diagnose(model, x).rows[0].chi

        plain = chi()
        row = diagnose(model, x).rows[0]
        kernel = ops.convert_to_numpy(model.layers[1].kernel)
        # Half of a standard normal has a slope of 1.
        assert plain == pytest.approx(8 * np.mean(kernel**2) / row.std**2 / 2, rel=1e-3)
        norm.gamma.assign(3 * ops.ones(400))
        assert chi() == pytest.approx(9 * plain, rel=1e-3)
        norm.beta.assign(-9 * ops.ones(400))
        assert chi() == pytest.approx(9 * 2 * stats.norm.sf(3) * plain, rel=1e-2)

    def test_what_is_masked_counts_in_no_loss(self):
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

    def test_without_targets_the_gradient_of_a_random_projection(self, found):
        model, x, *_ = found
        report = diagnose(model, x)
        direction = ops.convert_to_numpy(keras.random.normal((32, 5), seed=20261127))
        assert report.rows[-1].gradient_rms == pytest.approx(
            np.sqrt(np.mean(direction**2)) / 32 / np.sqrt(5), rel=1e-4
        )
        assert "random projection" in report.summary()
        assert np.isnan(report.loss)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("kernel", "activation", "word"),
        [
            ("zeros", "tanh", "symmetric"),
            (keras.initializers.RandomNormal(stddev=1e-3, seed=1), "tanh", "vanishing"),
            (keras.initializers.RandomNormal(stddev=30.0, seed=1), "relu", "exploding"),
            (keras.initializers.RandomNormal(stddev=9.0, seed=1), "tanh", "saturated"),
            (keras.initializers.Constant(0.3), "relu", "symmetric"),
            (keras.initializers.RandomUniform(-1, -0.5, seed=1), "relu", "dead"),
        ],
    )
    def test_a_bad_start_is_called_by_its_name(self, kernel, activation, word):
        report = diagnose(dense(kernel=kernel, activation=activation, depth=6), np.abs(data(32, 8)) + 0.1)
        assert not report.healthy
        assert word in {finding.verdict for finding in report.findings}, report.summary()
        assert any(word in row.verdicts for row in report.rows)
        assert word in report.summary()

    def test_nan_is_told_where_it_begins(self):
        model = dense(depth=4)
        kernel = ops.convert_to_numpy(model.layers[2].kernel).copy()
        kernel[0, 0] = np.nan
        model.layers[2].kernel.assign(kernel)
        report = diagnose(model, data(16, 8))
        assert report.findings[0].verdict == "non-finite"
        assert report.findings[0].path == model.layers[2].path

    def test_deep_sigmoids_make_all_inputs_look_alike(self):
        model = dense(activation="sigmoid", kernel="glorot_uniform", depth=30, width=64)
        assert "inputs alike" in diagnose(model, data(32, 8)).rows[-1].verdicts

    def test_what_initialize_does_is_healthy(self):
        model = dense(activation="tanh", kernel="zeros", depth=50, width=64)
        assert not diagnose(model, data(32, 8)).healthy
        initialize(model, seed=0)
        report = diagnose(model, data(32, 8))
        assert report.healthy, report.summary()

    @pytest.mark.slow
    @pytest.mark.parametrize("build", [zoo.vit, zoo.unet, zoo.residual_cnn, zoo.subclassed])
    def test_networks_that_train_are_healthy(self, build):
        model = build()
        initialize(model, seed=0)
        x = data(8, 12) if build is zoo.subclassed else data(8, *model.input_shape[1:])
        report = diagnose(model, x)
        assert report.healthy, report.summary()

    def test_inputs_of_another_scale_are_named(self):
        model = dense(activation="relu", depth=6)
        found = diagnose(model, 1e5 * data(32, 8))
        assert found.findings[0].verdict == "input scale"
        assert "initialize(model, data=x)" in found.summary()
        initialize(model, data=1e5 * data(32, 8), seed=0)
        assert diagnose(model, 1e5 * data(32, 8)).healthy

    def test_advice_comes_with_the_figures(self):
        model = dense(kernel=keras.initializers.RandomNormal(stddev=1e-4, seed=1), depth=6)
        text = diagnose(model, data(32, 8)).summary()
        assert "pre-activation std" in text
        assert "vanishing; try initialize(model)" in text
        assert f"`{model.layers[5].path}`" in text

    @pytest.mark.parametrize("targets", [True, False])
    def test_gradients_pass_a_batch_normalization(self, targets):
        inputs = keras.Input((8,))
        h = layers.BatchNormalization()(layers.Dense(16, "relu")(inputs))
        h = layers.BatchNormalization()(layers.Dense(16, "relu")(h))
        model = keras.Model(inputs, layers.Dense(1)(h))
        model.compile("sgd", "mse")
        report = diagnose(model, data(32, 8), data(32, 1, seed=1) if targets else None)
        assert report.healthy, report.summary()
        assert report.rows[0].gradient_rms > 0.01 * report.rows[-1].gradient_rms

    @pytest.mark.parametrize("kind", ["regression", "last layer", "branch", "gate", "prior", "one unit"])
    def test_starts_that_are_meant_are_healthy(self, kind):
        inputs = keras.Input((8,))
        h = layers.Dense(16, "relu", kernel_initializer="he_normal")(inputs)
        zeros = {"kernel_initializer": "zeros"}
        if kind == "regression":
            outputs = layers.Dense(5, "softmax", **zeros)(inputs)
        elif kind == "last layer":
            outputs = layers.Dense(5, "softmax", **zeros)(h)
        elif kind == "branch":
            for _ in range(3):
                inner = layers.Dense(16, "relu", kernel_initializer="he_normal")(h)
                h = layers.add([h, layers.Dense(16, **zeros)(inner)])
            outputs = layers.Dense(5)(h)
        elif kind == "gate":
            for _ in range(3):
                inner = layers.Dense(16, "relu", kernel_initializer="he_normal")(h)
                inner = layers.BatchNormalization(gamma_initializer="zeros")(layers.Dense(16)(inner))
                h = layers.add([h, inner])
            outputs = layers.Dense(5)(h)
        else:
            bias = keras.initializers.Constant(-4.6 if kind == "prior" else 22.5)
            outputs = layers.Dense(1, "sigmoid" if kind == "prior" else None, bias_initializer=bias)(h)
        report = diagnose(keras.Model(inputs, outputs), data(32, 8))
        assert report.healthy, report.summary()

    def test_tiny_and_huge_signals_are_measured_as_they_are(self):
        model = dense(activation="relu", depth=3)
        plain = diagnose(model, data(32, 8))
        for scale in (1e-18, 1e18):
            scaled = diagnose(model, scale * data(32, 8))
            for a, b in zip(plain.rows, scaled.rows, strict=True):
                assert b.std == pytest.approx(scale * a.std, rel=1e-3)
                assert b.effective_rank == pytest.approx(a.effective_rank, rel=1e-3)
                assert b.alike == pytest.approx(a.alike, rel=1e-3, abs=1e-5)
                assert "non-finite" not in b.verdicts

    def test_what_the_model_rescales_itself_is_no_input_of_another_scale(self):
        bad = keras.initializers.RandomNormal(stddev=1e-4, seed=1)
        stem = [keras.Input((8,)), layers.Rescaling(1 / 255)]
        model = keras.Sequential([*stem, *(layers.Dense(24, kernel_initializer=bad) for _ in range(5))])
        found = {f.verdict for f in diagnose(model, 255 * data(32, 8)).findings}
        assert "vanishing" in found
        assert "input scale" not in found


class TestAudit:
    def test_a_kernel_that_is_not_what_its_initializer_promises(self):
        model = dense(depth=4)
        kernel = model.layers[1].kernel
        kernel.assign(kernel * 2)
        found = [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "declared"]
        assert [f.path for f in found] == [kernel.path]
        assert "HeNormal" in found[0].text

    def test_what_differs_by_chance_is_no_finding(self):
        model = dense(depth=4, width=48)
        for layer in model.layers[1:3]:
            layer.kernel.assign(layer.kernel * 1.15)
        assert not [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "declared"]

    def test_identities_are_meant(self):
        report = diagnose(dense(kernel="identity", depth=3, width=8), data(16, 8))
        assert "identical" not in {f.verdict for f in report.findings}

    def test_residual_branches_that_were_scaled_or_end_in_a_normalization(self):
        def blocks(normalized, gain):
            inputs = h = keras.Input((16,))
            for n in range(6):
                kernel = keras.initializers.RandomNormal(stddev=gain / 4, seed=n)
                branch = layers.Dense(16, kernel_initializer=kernel)(layers.LayerNormalization()(h))
                h = layers.Add()([h, layers.LayerNormalization()(branch) if normalized else branch])
            return {f.verdict for f in diagnose(keras.Model(inputs, h), data(32, 16)).findings}

        assert "residual" in blocks(False, 1.0)
        # 6 / 12 of the stream's second moment.
        assert "residual" not in blocks(False, 12**-0.5)
        assert "residual" not in blocks(True, 1.0)

    def test_what_was_changed_everywhere_was_meant(self):
        model = dense(depth=4)
        for layer in model.layers:
            layer.kernel.assign(layer.kernel * 2)
        assert not [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "declared"]

    def test_what_initialize_drew_is_not_held_against_another_initializer(self):
        model = dense(depth=4, activation="relu", kernel="he_normal")
        model.layers[0].kernel.assign(model.layers[0].kernel * 2)

        def declared():
            return [f.path for f in diagnose(model, data(16, 8)).findings if f.verdict == "declared"]

        assert declared() == [model.layers[0].kernel.path]
        kernel = model.layers[1].kernel
        initialize(model, "he_auto", only=[model.layers[0].name, model.layers[-1].name], seed=0)
        kernel.assign(kernel * 2)
        assert declared() == [kernel.path]
        reinitialize(model, seed=0)
        kernel.assign(kernel * 2)
        model.layers[0].kernel.assign(model.layers[0].kernel * 2)
        assert declared() == [model.layers[0].kernel.path, kernel.path]

    @pytest.mark.parametrize("name", ["he_auto", "glorot_uniform", "orthogonal_auto", "lecun_normal"])
    def test_fresh_models_keep_what_they_promise(self, name):
        inputs = keras.Input((12, 16))
        h = layers.MultiHeadAttention(3, 8, kernel_initializer=name)(inputs, inputs)
        h = layers.Conv1D(20, 3, kernel_initializer=name)(h)
        model = keras.Model(inputs, layers.Dense(3, kernel_initializer=name)(h))
        assert not [f for f in diagnose(model, data(8, 12, 16)).findings if f.verdict == "declared"]

    def test_two_layers_with_the_same_values(self):
        shared = keras.initializers.HeNormal(seed=3)
        found = [
            f
            for f in diagnose(dense(kernel=shared, depth=3), data(16, 8)).findings
            if f.verdict == "identical"
        ]
        assert len(found) == 1
        assert "own seed" in found[0].text

    @pytest.mark.slow
    def test_residual_branches_that_were_never_scaled(self):
        model = zoo.residual_cnn(normalized=False, blocks=6)
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                layer.kernel.assign(
                    keras.initializers.HeNormal(seed=len(layer.name) + layer.kernel.shape[-1])(
                        layer.kernel.shape
                    )
                )
        x = data(8, *model.input_shape[1:])
        assert "residual" in {f.verdict for f in diagnose(model, x).findings}
        initialize(model, seed=0)
        assert "residual" not in {f.verdict for f in diagnose(model, x).findings}


class TestAttention:
    def model(self, dropout=0.0, scale=1.0):
        inputs = keras.Input((10, 16))
        attention = layers.MultiHeadAttention(3, 8, dropout=dropout, name="attention")
        model = keras.Model(inputs, layers.Dense(2)(attention(inputs, inputs)))
        for part in ("query", "key"):
            dense = getattr(attention, f"{part}_dense")
            dense.kernel.assign(dense.kernel * scale)
        return model, attention

    # Without dropout Keras computes the weights inside of one operation.
    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_entropy_by_head_against_the_scores_of_keras(self, dropout):
        model, attention = self.model(dropout, scale=2)
        x = data(8, 10, 16)
        report = diagnose(model, x)
        _, weights = attention(x, x, return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")
        expected = stats.entropy(weights, axis=-1).mean(axis=(0, 2)) / np.log(10)
        assert [h.entropy for h in report.heads] == pytest.approx(list(expected), rel=1e-3)
        assert [h.head for h in report.heads] == [0, 1, 2]
        assert {h.path for h in report.heads} == {"attention"}

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

    def test_entropy_of_attention_that_is_written_out(self):
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
        # The queries that are padding see nothing, and do not count.
        weights = weights[:, :, :4]
        expected = stats.entropy(weights, axis=-1).mean(axis=(0, 2)) / np.log(4)
        assert [h.entropy for h in report.heads] == pytest.approx(list(expected), rel=1e-3)
        middle = weights.mean(axis=2, keepdims=True)
        spread = 1 - (middle**2).sum(axis=(2, 3)).mean(axis=0) / (weights**2).sum(axis=3).mean(axis=(0, 2))
        assert [h.spread for h in report.heads] == pytest.approx(list(spread), abs=1e-5)

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_a_causal_head_is_measured_against_what_its_queries_may_see(self, dropout):
        inputs = keras.Input((10, 16))
        attention = layers.MultiHeadAttention(2, 8, dropout=dropout)
        outputs = attention(inputs, inputs, use_causal_mask=True)
        x = 3 * data(8, 10, 16)
        report = diagnose(keras.Model(inputs, layers.Dense(2)(outputs)), x)
        _, weights = attention(x, x, use_causal_mask=True, return_attention_scores=True)
        weights = ops.convert_to_numpy(weights).astype("float64")[:, :, 1:]
        entropy = stats.entropy(weights, axis=-1) / np.log(np.arange(2, 11))
        assert [h.entropy for h in report.heads] == pytest.approx(list(entropy.mean(axis=(0, 2))), rel=1e-3)

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

    def test_where_there_is_nothing_to_choose_there_is_no_verdict(self):
        inputs = keras.Input((6, 16))
        one_key = layers.MultiHeadAttention(2, 8, name="one_key")(inputs, inputs[:, :1])
        one_query = layers.MultiHeadAttention(2, 8, name="one_query")(inputs[:, :1], inputs)
        report = diagnose(keras.Model(inputs, layers.Dense(2)(one_key + one_query)), data(8, 6, 16))
        assert all(np.isnan(h.spread) and not h.verdicts for h in report.heads)
        assert [np.isnan(h.entropy) for h in report.heads] == [True, True, False, False]
        json.loads(report.to_json())

    def test_learned_queries_are_the_same_for_all_samples(self):
        class Learned(layers.Layer):
            def __init__(self):
                super().__init__()
                self.attention = layers.MultiHeadAttention(2, 8, name="attention")

            def build(self, shape):
                self.queries = self.add_weight(shape=(1, 5, 16), initializer="random_normal", name="queries")
                self.attention.build((None, 5, 16), shape)

            def call(self, x):
                return self.attention(ops.tile(self.queries, (ops.shape(x)[0], 1, 1)), x)

        inputs = keras.Input((12, 16))
        model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(Learned()(inputs))))
        report = diagnose(model, data(8, 12, 16))
        assert [row.looks_up for row in report.rows] == [True, False, False, False, False]
        assert report.healthy, report.summary()

    def test_a_head_whose_queries_are_all_alike(self):
        model, attention = self.model()
        kernel = ops.convert_to_numpy(attention.query_dense.kernel).copy()
        kernel[:, 1] *= 1e-4
        attention.query_dense.kernel.assign(kernel)
        report = diagnose(model, data(8, 10, 16))
        assert [h.verdicts for h in report.heads] == [(), ("rank collapse",), ()]
        (found,) = [f for f in report.findings if f.verdict == "rank collapse"]
        assert "`attention` head 1" in found.text
        assert report.healthy

    def test_entropy_collapse_is_told(self):
        model, _ = self.model(scale=40)
        report = diagnose(model, data(8, 10, 16))
        assert "entropy collapse" in {f.verdict for f in report.findings}
        assert "attention" in str(report)

    def test_rank_collapse_is_told(self):
        inputs = keras.Input((10, 16))
        h = inputs
        for n in range(5):
            h = layers.MultiHeadAttention(2, 8, name=f"attention_{n}")(h, h)
        report = diagnose(keras.Model(inputs, h), data(8, 10, 16))
        assert "rank collapse" in {f.verdict for f in report.findings}


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

    @pytest.mark.slow
    @pytest.mark.parametrize("build", [zoo.gpt, zoo.lstm_tagger])
    def test_models_of_ids(self, build):
        report = diagnose(
            build(), np.random.default_rng(0).integers(1, 50, size=(8, 24 if build is zoo.gpt else 20))
        )
        assert all(np.isfinite(row.std) for row in report.rows)
        assert all(row.gradient_rms > 0 for row in report.rows)

    @pytest.mark.parametrize("compiled", [True, False])
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_half_precision(self, policy, compiled):
        x, y = data(32, 8), data(32, 5, seed=1)
        full = dense(depth=4)
        expected = diagnose(full, x, y, "mse")
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            # The policy still holds while the model is diagnosed, as in a user's program.
            half = dense(depth=4)
            half.set_weights(full.get_weights())
            if compiled:
                half.compile("sgd", "mse")
            found = diagnose(half, x, y, None if compiled else "mse")
        finally:
            keras.config.set_dtype_policy(before)
        for a, b in zip(found.rows, expected.rows, strict=True):
            assert a.std == pytest.approx(b.std, rel=0.02)
            assert a.gradient_rms == pytest.approx(b.gradient_rms, rel=0.03)
            assert a.kernel_gradient == pytest.approx(b.kernel_gradient, rel=0.03)

    def test_gradients_that_half_precision_would_round_to_zero(self):
        x, y = data(64, 8), data(64, 5, seed=1)

        def small(y, outputs):
            return 1e-5 * ops.mean(ops.square(ops.cast(outputs, "float32") - y))

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            half = dense(depth=2)
        finally:
            keras.config.set_dtype_policy(before)
        full = dense(depth=2)
        full.set_weights(half.get_weights())
        found, expected = diagnose(half, x, y, small), diagnose(full, x, y, small)
        assert expected.rows[0].gradient_rms < 1e-7
        for a, b in zip(found.rows, expected.rows, strict=True):
            assert a.gradient_rms == pytest.approx(b.gradient_rms, rel=0.1)

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

    def test_frozen_layers_have_no_gradient_of_their_kernel(self):
        model = dense()
        model.layers[1].trainable = False
        report = diagnose(model, data(16, 8))
        assert np.isnan(report.rows[1].kernel_gradient)
        assert report.rows[1].gradient_rms > 0
        assert report.rows[0].kernel_gradient > 0

    def test_a_model_that_is_frozen_as_a_whole_says_so(self):
        model = dense()
        model.trainable = False
        report = diagnose(model, data(16, 8))
        assert "no weight is trainable" in report.summary()
        assert report.healthy
        assert "no weight is trainable" not in diagnose(dense(), data(16, 8)).summary()

    def test_a_loss_that_nothing_changes(self):
        report = diagnose(dense(), data(16, 8), data(16, 5), lambda y, outputs: ops.mean(outputs * 0.0))
        assert [f.verdict for f in report.findings] == ["no gradient"]
        assert not report.healthy
        assert "a constant loss" in report.summary()

    def test_where_a_gradient_is_stopped(self):
        inputs = keras.Input((8,))
        h = layers.Dense(16, "tanh", name="first")(inputs)
        model = keras.Model(inputs, layers.Dense(5)(ops.stop_gradient(h)))
        (found,) = [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "vanishing"]
        assert found.path == "first"
        assert "stop_gradient" in found.text

    @pytest.mark.parametrize("x", [np.zeros((16, 8), "float32"), np.full((16, 8), 3, "float32")])
    def test_samples_that_are_all_the_same(self, x):
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
        with pytest.raises(InitxError, match=r"x: received .*'ants'.*\['zebra', 'ant'\]"):
            diagnose(model, {"zebra": x["zebra"], "ants": x["ant"]})

    def test_a_model_that_returns_classes(self):
        inputs = keras.Input((8,))
        logits = layers.Dense(5)(inputs)
        with pytest.raises(InitxError, match=r"model: received '.*outputs of int.*before its argmax"):
            diagnose(keras.Model(inputs, ops.argmax(logits, axis=-1)))
        assert diagnose(keras.Model(inputs, [logits, ops.argmax(logits, axis=-1)])).healthy

    def test_a_model_whose_layers_are_not_built(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def call(self, x):
                return self.dense(x)

        model = Own()
        model.built = True
        with pytest.raises(InitxError, match="Call it on a batch of data"):
            diagnose(model, data(16, 8))


class Drawing(layers.Layer):
    """Draws in inference, too: by Keras's generators, and by Python's, as some layers do."""

    def call(self, x):
        random.random()
        return x + 1e-3 * keras.random.normal(ops.shape(x), seed=keras.random.SeedGenerator(3))


class TestNothingChanges:
    def test_what_layers_added_to_the_loss(self):
        model = dense(depth=1, activity_regularizer=keras.regularizers.L2(0.1))
        model(data(16, 8))
        before = [float(loss) for loss in model.losses]
        diagnose(model, data(16, 8, seed=1))
        assert [float(loss) for loss in model.losses] == before

    def test_generators_that_a_layer_moves_on(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(4), Drawing(), layers.Dense(2)])
        random.seed(5)
        keras.utils.set_random_seed(5)
        expected = random.random(), float(keras.random.normal(()))
        keras.utils.set_random_seed(5)
        diagnose(model, data(16, 8))
        assert (random.random(), float(keras.random.normal(()))) == expected

    def test_weights_optimizer_statistics_and_generators(self):
        inputs = keras.Input((8,))
        h = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(16, "relu")(inputs)))
        model = keras.Model(inputs, layers.Dense(3)(h))
        model.compile("adam", "mse", metrics=["mae"])
        x, y = data(32, 8), data(32, 3)
        model.fit(x, y, epochs=1, verbose=0)
        kept = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        before = [ops.convert_to_numpy(v).tobytes() for v in kept]
        random.seed(4)
        keras.utils.set_random_seed(4)
        expected = ops.convert_to_numpy(keras.random.normal((3,))), random.random()
        random.seed(4)
        keras.utils.set_random_seed(4)
        optimizer, function = model.optimizer, model.train_function
        diagnose(model, x, y)
        drawn = ops.convert_to_numpy(keras.random.normal((3,))), random.random()
        assert [ops.convert_to_numpy(v).tobytes() for v in kept] == before
        assert model.optimizer is optimizer
        assert model.train_function is function
        assert drawn[0] == pytest.approx(expected[0], abs=0)
        assert drawn[1:] == expected[1:]

    def test_a_call_that_fails_leaves_everything(self):
        model = dense()
        before = recorder.values(model)
        with pytest.raises(InitxError):
            diagnose(model, data(16, 9))
        with pytest.raises(ZeroDivisionError):
            diagnose(model, data(16, 8), data(16, 5), lambda y, f: 1 // 0)
        assert recorder.same(before, model)

    @pytest.mark.parametrize(
        ("build", "x"), [(zoo.subclassed, data(8, 16)), (zoo.gpt, np.full((8, 24), 999))]
    )
    def test_values_that_a_layer_cannot_take(self, build, x):
        if build is zoo.gpt and keras.backend.backend() != "tensorflow":
            pytest.skip("only TensorFlow looks at ids")
        with pytest.raises(InitxError, match="x: received 'values that"):
            diagnose(build(), x)

    def test_names_of_later_layers(self):
        keras.utils.clear_session()
        model = dense()
        diagnose(model, data(16, 8))
        assert layers.Dense(1).name == f"dense_{len(model.layers)}"


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return data(8, 8, seed=index), data(8, 5, seed=100 + index)


class TestData:
    def batches(self, kind):
        pairs = [(data(8, 8, seed=n), data(8, 5, seed=100 + n)) for n in range(8)]
        if kind == "generator":
            return iter(pairs)
        if kind == "PyDataset":
            return Batches()
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensor_slices(tuple(map(np.concatenate, zip(*pairs, strict=True)))).batch(
            8
        )

    @pytest.mark.parametrize("kind", ["generator", "PyDataset", "tf.data"])
    def test_batches_of_inputs_and_targets(self, kind):
        model = dense()
        x = np.concatenate([data(8, 8, seed=n) for n in range(4)])
        y = np.concatenate([data(8, 5, seed=100 + n) for n in range(4)])
        expected = diagnose(model, x, y, "mse", samples=32)
        found = diagnose(model, self.batches(kind), loss="mse", samples=32)
        assert found == expected
        assert found.samples == 32

    def test_weights_of_samples_count_as_in_a_training(self):
        model, x, y = dense(), data(16, 8), data(16, 5)
        model.compile("sgd", "mse")
        weights = np.arange(16, dtype="float32")
        expected = model.evaluate(x, y, sample_weight=weights, batch_size=16, verbose=0)
        for given in ((x, y, weights), iter([(x[:8], y[:8], weights[:8]), (x[8:], y[8:], weights[8:])])):
            report = diagnose(model, given)
            assert report.loss == pytest.approx(expected, rel=1e-5)
            _, gradients = by_hand(model, x, y)
            scaled = gradients[-1] * weights[:, None]
            assert report.rows[-1].gradient_rms == pytest.approx(np.sqrt(np.mean(scaled**2)), rel=1e-4)

    def test_dictionaries_of_inputs_targets_and_weights(self):
        inputs = {name: keras.Input((n,), name=name) for name, n in (("alpha", 4), ("beta", 3))}
        joined = layers.Concatenate()([layers.Dense(6, name="a")(inputs["alpha"]), inputs["beta"]])
        outputs = {"one": layers.Dense(2, name="one")(joined), "two": layers.Dense(1, name="two")(joined)}
        model = keras.Model(inputs, outputs)
        model.compile("sgd", {"one": "mse", "two": "mae"})
        x = {"beta": data(16, 3), "alpha": 100 * data(16, 4)}
        y = {"one": data(16, 2), "two": data(16, 1)}
        weights = {"one": np.arange(16.0), "two": np.ones(16)}
        expected = model.evaluate(x, y, sample_weight=weights, batch_size=16, verbose=0, return_dict=True)[
            "loss"
        ]
        found = diagnose(model, (x, y, weights))
        assert found.loss == pytest.approx(expected, rel=1e-5)
        # As in `fit`, what the model has no input for is left out.
        assert diagnose(model, ({**x, "id": np.arange(16)}, y, weights)) == found
        assert diagnose(model, (x, y)).rows[0].std == pytest.approx(
            np.std(x["alpha"] @ ops.convert_to_numpy(model.get_layer("a").kernel)), rel=1e-4
        )
        with pytest.raises(InitxError, match=r"x: received .*Missing: \['alpha'\]"):
            diagnose(model, {"beta": x["beta"], "zalpha": x["alpha"]})
        with pytest.raises(InitxError, match=r"y: received .*The outputs are .*'one': \(16, 2\)"):
            diagnose(model, x, {"one": y["one"]})

    def test_weights_of_another_number(self):
        with pytest.raises(InitxError, match=r"y: received '3 weights'.*16"):
            diagnose(dense(), (data(16, 8), data(16, 5), np.ones(3, "float32")), loss="mse")

    def test_a_pair_of_arrays(self):
        model, x, y = dense(), data(16, 8), data(16, 5)
        assert diagnose(model, (x, y), loss="mse") == diagnose(model, x, y, "mse")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"x": data(16, 8), "loss": "mse"}, "loss: received 'mse'.*together with y"),
            ({"x": data(16, 8), "y": data(16, 5)}, "loss: received None.*compile the model"),
            ({"x": data(16, 8), "y": data(9, 5), "loss": "mse"}, "y: received '9 targets'.*16"),
            ({"x": data(160, 8), "y": data(100, 5), "loss": "mse"}, "y: received '100 targets'.*160"),
            ({"x": iter([data(16, 8)]), "y": data(16, 5), "loss": "mse"}, "y: received 'targets beside"),
            ({"x": data(16, 8), "y": data(16, 5), "loss": "crosentropy"}, "loss: received 'crosentropy'"),
            ({"x": data(16, 8), "y": [0, 1] * 8, "loss": "mse"}, "y: received .*np.asarray"),
            ({"x": data(16, 9)}, "x: received .*inputs of shape"),
            ({"x": np.float32(3)}, r"x: received 'a single value'.*x\[:1\]"),
            ({"x": data(1, 8)}, "x: received '1 sample'"),
            ({"x": np.full((4, 8), np.nan)}, "x: received 'NaN or infinite values'"),
            ({"x": data(16, 8), "samples": 1}, "samples: received 1"),
            ({"x": data(16, 8), "y": np.array(["a", "b"] * 8), "loss": "mse"}, "y: received 'strings'"),
            (
                {"x": iter(zip(data(16, 8), data(16), strict=True)), "loss": "mse"},
                "x: received .samples one by one",
            ),
            (
                {"x": data(16, 8), "y": data(16, 5), "loss": "sparse_categorical_crossentropy"},
                r"y: received 'targets of shape \(16, 5\)'.*One-hot",
            ),
        ],
    )
    def test_bad_input_names_the_argument(self, arguments, message):
        with pytest.raises(InitxError, match=message):
            diagnose(dense(), **arguments)


class TestReport:
    def test_json_has_every_figure_and_no_nan(self):
        report = diagnose(dense(depth=2), data(16, 8))
        read = json.loads(report.to_json())
        assert read["rows"][0]["std"] == report.rows[0].std
        assert read["rows"][0]["gradient_norm"] == report.rows[0].gradient_norm
        assert read["loss"] is None
        assert read["healthy"] is True

    @pytest.mark.parametrize("columns", [80, 150])
    def test_table_and_html_have_every_layer(self, monkeypatch, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        report = diagnose(dense(depth=2), data(16, 8))
        assert max(map(len, str(report).splitlines())) <= columns
        assert ("chi" in str(report)) == (columns == 150)
        for row in report.rows:
            assert row.path in str(report)
            assert row.path in report._repr_html_()

    def test_html_has_the_heads_and_code(self):
        inputs = keras.Input((10, 16))
        attention = layers.MultiHeadAttention(3, 8, name="attention")
        report = diagnose(keras.Model(inputs, attention(inputs, inputs) * 1e-6), data(8, 10, 16))
        assert report._repr_html_().count("<td>attention</td>") == 3
        assert "<code>attention/attention_output</code>" in report._repr_html_() or not report.findings
        bad = diagnose(dense(kernel="zeros", depth=2), data(16, 8))
        assert f"<code>{bad.findings[0].path}</code>" in bad._repr_html_()
        assert "`" not in bad._repr_html_()

    def test_its_repr_is_one_line(self):
        assert repr(diagnose(dense(), data(16, 8))).startswith("<Report: sequential")

    def test_markup_in_names_is_text(self):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3, name="bold_b_")], name="x")
        report = diagnose(model, data(16, 8))
        object.__setattr__(report, "model", "[bold]<b>x")
        assert "[bold]<b>x" in str(report)
        assert "<b>x" not in report._repr_html_().replace("<p><b>", "")
