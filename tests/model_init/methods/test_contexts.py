"""Check which weight gets which method: auto, residual, variance and the others."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import HeAuto, InitxError, XavierAuto, initialize
from tests.support import zoo
from tests.support.batches import Batches

pytestmark = pytest.mark.check


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), dtype="float64")


def chain(depth, activation, cls=layers.Dense):
    if cls is layers.Dense:
        hidden = [layers.Dense(32, activation=activation) for _ in range(depth - 1)]
        return keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(4)])
    hidden = [layers.Conv2D(8, 3, padding="same", activation=activation) for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((6, 6, 8)), *hidden, layers.Flatten(), layers.Dense(4)])


def methods(model, method="auto"):
    return [row.method for row in initialize(model, method, seed=0).rows]


class TestAuto:
    @pytest.mark.parametrize(
        ("activation", "method"),
        [
            ("relu", "mirrored"),
            ("gelu", "mirrored"),
            ("softplus", "mirrored"),
            ("tanh", "edge"),
            ("selu", "edge"),
            ("sigmoid", "gpn"),
        ],
    )
    def test_deep_chains(self, activation, method):
        assert set(methods(chain(20, activation))) == {method}

    def test_short_chains(self):
        assert set(methods(chain(4, "relu"))) == {"variance"}
        assert set(methods(chain(8, "relu", layers.Conv2D))) == {"variance"}

    def test_kernels_fill_the_window_but_in_the_deepest_convolutions(self):
        for depth, filled in ((15, True), (45, False)):
            model = chain(depth, "relu", layers.Conv2D)
            assert set(methods(model)) == {"mirrored"}
            kernel = array(model.layers[3].kernel)
            assert bool(kernel[0, 0].any()) is filled
            assert kernel[1, 1].any()

    def test_residual_ends_and_normalizations(self):
        assert methods(zoo.residual_cnn(normalized=False, blocks=2)).count("residual") == 2
        plan = initialize(zoo.residual_cnn(blocks=2), seed=0)
        assert {row.method for row in plan.rows} == {"variance"}
        assert any("normalization" in row.reason for row in plan.rows)

    def test_every_row_has_a_reason(self):
        assert all(row.reason for row in initialize(zoo.vit(blocks=1), seed=0).rows)


class TestResidual:
    def test_the_factor_counts_the_sums(self):
        model = zoo.residual_cnn(normalized=False, blocks=5)
        plan = initialize(model, "residual", seed=0)
        ends = [row for row in plan.rows if "residual_end" in row.roles]
        assert [row.rms_after for row in ends] == pytest.approx([5**-0.5] * 5)
        assert any("5 kernels end a residual branch" in note for note in plan.notes)
        per_layer = initialize(model, "residual_per_layer", seed=0).rows
        ends = [row.rms_after for row in per_layer if "residual_end" in row.roles]
        assert ends == pytest.approx([n**-0.5 for n in range(1, 6)])

    def test_a_normalization_between_takes_the_factor(self):
        model = zoo.residual_cnn(normalized=True, blocks=4)
        initialize(model, "residual", seed=0)
        gammas = [float(array(x.gamma)[0]) for x in model.layers if hasattr(x, "gamma")]
        assert sorted(gammas) == pytest.approx([0.5] * 4 + [1.0] * 5)

    def test_a_model_without_sums_is_an_error(self):
        with pytest.raises(
            InitxError, match=r"^`method='residual'` needs residual sums, but no kernel of the model ends"
        ):
            initialize(chain(4, "relu"), "residual")


class TestAnalytic:
    def model(self):
        x = keras.Input((300,))
        first = layers.Dense(200, name="first", use_bias=False)
        h = layers.ReLU()(layers.BatchNormalization()(first(x)))
        return keras.Model(x, layers.Dense(50, name="last", activation="tanh")(h))

    @pytest.mark.parametrize(
        ("method", "first", "last"),
        [
            ("variance", (2 / 300), 2.5362 / 200),
            ("he_auto", HeAuto(activation="relu"), HeAuto(activation="tanh")),
            ("xavier_auto", XavierAuto(activation="relu"), XavierAuto(activation="tanh")),
        ],
    )
    def test_the_variance_follows_the_effective_activation(self, method, first, last):
        model = self.model()
        initialize(model, method, seed=0)
        for name, expected, size in (("first", first, (300, 200)), ("last", last, (200, 50))):
            variance = expected if isinstance(expected, float) else expected.scale(size).std ** 2
            kernel = array(model.get_layer(name).kernel)
            assert abs(kernel.std() / variance**0.5 - 1) < 5 / np.sqrt(2 * kernel.size)

    def test_orthogonal(self):
        model = self.model()
        initialize(model, "orthogonal", seed=0)
        kernel = array(model.get_layer("first").kernel)
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(200), atol=1e-3)

    def test_spectral(self):
        x = keras.Input((900,))
        layer = layers.Dense(400)
        initialize(keras.Model(x, layer(x)), "spectral", seed=0)
        largest = np.linalg.svd(array(layer.kernel), compute_uv=False)[0]
        assert largest == pytest.approx((400 / 900) ** 0.5, rel=0.05)


class TestLsuv:
    data = np.random.default_rng(0).normal(3, 5, (64, 32)).astype("float32")

    def sources(self):
        data = self.data
        yield data
        yield Batches(data, 16)
        yield ((data[i : i + 8], np.zeros(8)) for i in range(0, 64, 8))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            yield tf.data.Dataset.from_tensor_slices(data).batch(8)

    def test_every_source_gives_unit_variance_on_the_data(self):
        for source in self.sources():
            model = chain(5, "relu")
            initialize(model, "lsuv", data=source, seed=0)
            h = self.data
            for layer in model.layers:
                z = array(h) @ array(layer.kernel)
                assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=1e-4)
                h = layer(h)


def test_the_graph_corrects_string_initializers():
    x = keras.Input((100,))
    layer = layers.Dense(400, kernel_initializer="auto", use_bias=False)
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(layers.BatchNormalization()(layer(x)))))
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(1 / 100, rel=0.1)
    initialize(model, "variance", seed=0)
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(2 / 100, rel=0.1)


def test_lsuv_fills_the_window_of_a_convolution():
    model = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(2)])
    x = np.random.default_rng(0).standard_normal((64, 6, 6, 4)).astype("float32")
    initialize(model, "lsuv", data=x, seed=0)
    matrix = ops.convert_to_numpy(model.layers[0].kernel).reshape(36, 8)
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(8), atol=1e-4)
