"""Kernels against their initializers, equal weights, residual branches."""

import keras
import pytest
from keras import layers

from keras_initx import initialize, reinitialize
from keras_initx.diagnostics import diagnose
from tests.support import zoo
from tests.support.networks import data, dense

pytestmark = pytest.mark.one_backend


def paths(model, x, verdict):
    """Return the path of each finding with a verdict."""
    return [finding.path for finding in diagnose(model, x).findings if finding.verdict == verdict]


class TestInitializers:
    def test_a_kernel_that_does_not_match_its_initializer(self):
        model = dense(depth=4)
        kernel = model.layers[1].kernel
        kernel.assign(kernel * 2)
        (finding,) = [f for f in diagnose(model, data(16, 8)).findings if f.verdict == "declared"]
        assert finding.path == kernel.path
        assert finding.text.startswith(f"`{kernel.path}` has std ")
        assert ", but its initializer HeNormal gives 0." in finding.text

    def test_a_difference_by_chance_is_no_finding(self):
        model = dense(depth=4, width=48)
        for layer in model.layers[1:3]:
            layer.kernel.assign(layer.kernel * 1.15)
        assert not paths(model, data(16, 8), "declared")

    def test_kernels_that_were_all_changed_are_no_finding(self):
        model = dense(depth=4)
        for layer in model.layers:
            layer.kernel.assign(layer.kernel * 2)
        assert not paths(model, data(16, 8), "declared")

    def test_a_kernel_that_initialize_drew_is_not_compared(self):
        model = dense(depth=4, activation="relu", kernel="he_normal")
        model.layers[0].kernel.assign(model.layers[0].kernel * 2)
        x = data(16, 8)
        assert paths(model, x, "declared") == [model.layers[0].kernel.path]
        kernel = model.layers[1].kernel
        initialize(model, "he_auto", only=[model.layers[0].name, model.layers[-1].name], seed=0)
        kernel.assign(kernel * 2)
        assert paths(model, x, "declared") == [kernel.path]
        reinitialize(model, seed=0)
        kernel.assign(kernel * 2)
        model.layers[0].kernel.assign(model.layers[0].kernel * 2)
        assert paths(model, x, "declared") == [model.layers[0].kernel.path, kernel.path]

    @pytest.mark.parametrize("name", ["he_auto", "glorot_uniform", "orthogonal_auto", "lecun_normal"])
    def test_a_fresh_model_matches_its_initializers(self, name):
        inputs = keras.Input((12, 16))
        h = layers.MultiHeadAttention(3, 8, kernel_initializer=name)(inputs, inputs)
        h = layers.Conv1D(20, 3, kernel_initializer=name)(h)
        model = keras.Model(inputs, layers.Dense(3, kernel_initializer=name)(h))
        assert not paths(model, data(8, 12, 16), "declared")


class TestEqualWeights:
    def test_two_layers_with_the_same_values(self):
        shared = keras.initializers.HeNormal(seed=3)
        report = diagnose(dense(kernel=shared, depth=3), data(16, 8))
        (finding,) = [f for f in report.findings if f.verdict == "identical"]
        assert "have the same values. Give each its own seed, or no seed at all." in finding.text

    def test_identity_matrices_are_no_finding(self):
        assert not paths(dense(kernel="identity", depth=3, width=8), data(16, 8), "identical")


class TestResiduals:
    def test_branches_that_are_scaled_or_end_in_a_normalization(self):
        def blocks(normalized, gain):
            inputs = h = keras.Input((16,))
            for n in range(6):
                kernel = keras.initializers.RandomNormal(stddev=gain / 4, seed=n)
                branch = layers.Dense(16, kernel_initializer=kernel)(layers.LayerNormalization()(h))
                h = layers.Add()([h, layers.LayerNormalization()(branch) if normalized else branch])
            return paths(keras.Model(inputs, h), data(32, 16), "residual")

        assert blocks(False, 1.0)
        # 6 / 12 of the stream's second moment.
        assert not blocks(False, 12**-0.5)
        assert not blocks(True, 1.0)

    @pytest.mark.parametrize("scale", [1.0, 10.0])
    def test_the_stream_is_measured_in_units_of_its_inputs(self, scale):
        def blocks(gain):
            inputs = h = keras.Input((16,))
            for n in range(6):
                kernel = keras.initializers.RandomNormal(stddev=gain / 4, seed=n)
                h = h - layers.Dense(16, kernel_initializer=kernel)(h)
            model = keras.Model(inputs, layers.Dense(3)(h))
            return paths(model, scale * data(32, 16), "residual")

        assert blocks(1.0)
        assert not blocks(12**-0.5)

    def test_branches_that_were_never_scaled(self):
        model = zoo.residual_cnn(normalized=False, blocks=6)
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                layer.kernel.assign(
                    keras.initializers.HeNormal(seed=len(layer.name) + layer.kernel.shape[-1])(
                        layer.kernel.shape
                    )
                )
        x = data(8, *model.input_shape[1:])
        assert paths(model, x, "residual")
        initialize(model, seed=0)
        assert not paths(model, x, "residual")


class TestNormalizations:
    @pytest.mark.parametrize("width", [1, 8])
    @pytest.mark.parametrize("kind", ["layer", "group"])
    def test_over_a_single_entry(self, kind, width):
        norm = layers.LayerNormalization() if kind == "layer" else layers.GroupNormalization(groups=4)
        units = width if kind == "layer" else 4 * width
        model = keras.Sequential([keras.Input((6,)), layers.Dense(units), norm, layers.Dense(3)])
        findings = [f for f in diagnose(model, data(16, 6)).findings if "a single entry" in f.text]
        assert [f.path for f in findings] == ([norm.path] if width == 1 else [])
