"""Without an initializer, every weight is drawn again from its own."""

import keras
import numpy as np
import pytest

from keras_initx._weights.reinitialize import reinitialize
from keras_initx.errors import InitxError

pytestmark = pytest.mark.check


class TestTheModelsOwn:
    """Check `reinitialize(model)`: every weight is drawn from the initializer that it was made with."""

    def model(self):
        ids = keras.Input((6,), dtype="int32")
        x = keras.layers.Embedding(40, 32, embeddings_initializer="he_normal")(ids)
        x = keras.layers.LSTM(32, recurrent_initializer="orthogonal")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.PReLU()(x)
        return keras.Model(ids, keras.layers.Dense(300, bias_initializer="ones", name="head")(x))

    def test_every_weight_is_drawn_again(self):
        model = self.model()
        for variable in model.weights:
            variable.assign(keras.ops.full_like(keras.ops.convert_to_tensor(variable), 9))
        count = reinitialize(model, seed=1)
        assert count == sum("float" in str(v.dtype) for v in model.weights)
        head, lstm = model.get_layer("head"), model.layers[2]
        kernel = keras.ops.convert_to_numpy(head.kernel)
        assert abs(kernel.std() / np.sqrt(2 / 332) - 1) < 5 / np.sqrt(2 * kernel.size)
        assert np.all(keras.ops.convert_to_numpy(head.bias) == 1)
        bias = keras.ops.convert_to_numpy(lstm.cell.bias)
        assert np.all(bias[32:64] == 1)
        assert not bias[:32].any()
        normal = model.layers[3]
        assert np.all(keras.ops.convert_to_numpy(normal.gamma) == 1)
        assert np.all(keras.ops.convert_to_numpy(normal.moving_variance) == 1)
        recurrent = keras.ops.convert_to_numpy(lstm.cell.recurrent_kernel)
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(32), atol=1e-4)

    def test_seeds(self):
        model = self.model()

        def drawn(seed):
            reinitialize(model, seed=seed)
            return keras.ops.convert_to_numpy(model.get_layer("head").kernel).copy()

        assert np.array_equal(drawn(1), drawn(1))
        assert not np.array_equal(drawn(1), drawn(2))
        keras.utils.set_random_seed(3)
        first = drawn(None)
        assert not np.array_equal(first, drawn(None))
        keras.utils.set_random_seed(3)
        assert np.array_equal(first, drawn(None))

    def test_two_layers_of_one_shape_differ(self):
        layers = [keras.layers.Dense(8), keras.layers.Dense(8)]
        reinitialize(keras.Sequential([keras.Input((8,)), *layers]), seed=1)
        one, two = (keras.ops.convert_to_numpy(layer.kernel) for layer in layers)
        assert not np.array_equal(one, two)

    def test_weights_of_a_users_own(self):
        class Own(keras.layers.Layer):
            def build(self, shape):
                self.table = self.add_weight(shape=(4, 50), initializer="he_uniform", name="table")
                self.plain = self.add_weight(shape=(50,))

            def call(self, x):
                return x

        model = keras.Sequential([keras.Input((3,)), Own()])
        before = keras.ops.convert_to_numpy(model.layers[0].table).copy()
        assert reinitialize(model) == 2
        after = keras.ops.convert_to_numpy(model.layers[0].table)
        assert not np.array_equal(before, after)
        assert np.abs(after).max() <= np.sqrt(6 / 4)

    def test_an_initializer_that_was_given_is_the_models_own_from_then_on(self):
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(400)])
        reinitialize(model, "he_normal", seed=1)
        reinitialize(model, seed=2)
        kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
        assert abs(kernel.std() / np.sqrt(2 / 100) - 1) < 5 / np.sqrt(2 * kernel.size)

    def test_what_a_layer_learned_by_adapt_stays(self):
        data = np.random.default_rng(0).normal(50, 10, (200, 3)).astype("float32")
        layer = keras.layers.Normalization(name="scale")
        layer.adapt(data)
        model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(2, name="head")])
        before = model.get_weights()
        assert reinitialize(model, seed=1) == 2
        mean, variance, _, kernel, _ = model.get_weights()
        np.testing.assert_allclose(mean.ravel(), data.mean(0), rtol=1e-4)
        np.testing.assert_allclose(variance.ravel(), data.var(0), rtol=1e-4)
        assert not np.array_equal(kernel, before[3])
        assert reinitialize(model, skip="scale") == 2
        with pytest.raises(InitxError, match="`only='scale'` matches only weights that are not drawn here"):
            reinitialize(model, only="scale")

    def test_what_a_layer_of_the_users_own_learned_by_adapt_stays(self):
        class Center(keras.layers.Layer):
            def build(self, shape):
                self.center = self.add_weight(shape=(shape[-1],), trainable=False, name="center")
                self.factor = self.add_weight(shape=(shape[-1],), initializer="glorot_uniform", name="factor")

            def adapt(self, data):
                self.build(data.shape)
                self.built = True
                self.center.assign(data.mean(0))

            def call(self, x):
                return self.factor * (x - self.center)

        data = np.random.default_rng(0).normal(50, 10, (200, 3)).astype("float32")
        layer = Center(name="mine")
        layer.adapt(data)
        model = keras.Sequential([keras.Input((3,)), layer])
        before = keras.ops.convert_to_numpy(layer.factor).copy()
        # Training learns the other weight, so it is drawn.
        assert reinitialize(model, seed=1) == 1
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.center), data.mean(0), rtol=1e-5)
        assert not np.array_equal(keras.ops.convert_to_numpy(layer.factor), before)

    def test_an_unknown_initializer_is_named(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="known")])
        kernel = model.layers[0].kernel
        for layer in (model.layers[0],):
            del layer.kernel_initializer
            vars(kernel).pop("_keras_initx_initializer", None)
        before = keras.ops.convert_to_numpy(kernel).copy()
        with pytest.raises(
            InitxError,
            match=r"whose initializer is not known: sequential/known/kernel. Import keras_initx before",
        ):
            reinitialize(model)
        assert np.array_equal(before, keras.ops.convert_to_numpy(kernel))
