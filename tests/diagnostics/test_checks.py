"""Declared against measured: kernels, equal weights, residual branches."""

import keras
import pytest
from keras import layers

from keras_initx import initialize, reinitialize
from keras_initx.diagnostics import diagnose
from tests.support import zoo
from tests.support.networks import data, dense

pytestmark = pytest.mark.one_backend


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
