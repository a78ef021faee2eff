import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx._graph import noise, trace

pytestmark = pytest.mark.check


def noise_for(model, batch=512):
    return keras.tree.map_structure(ops.convert_to_numpy, noise(trace(model), batch, 0))


class TestNoise:
    def test_floats_are_standard_normal(self):
        values = noise_for(keras.Sequential([keras.Input((40,)), layers.Dense(2)]))
        assert abs(values.mean()) < 5 / np.sqrt(values.size)
        assert abs(values.std() - 1) < 5 / np.sqrt(2 * values.size)

    @pytest.mark.parametrize("link", [lambda i: i, lambda i: ops.reshape(i, (-1, 2, 3))])
    def test_ids_are_within_the_table(self, link):
        i = keras.Input((6,), dtype="int32")
        values = noise_for(keras.Model(i, layers.Dense(2)(layers.Embedding(9, 4)(link(i)))))
        assert set(np.unique(values)) == set(range(9))

    def test_one_hot(self):
        i = keras.Input((6,), dtype="int32")
        values = noise_for(keras.Model(i, layers.Dense(2)(ops.one_hot(i, 5))))
        assert set(np.unique(values)) == set(range(5))

    def test_a_table_that_a_user_wrote(self):
        class Table(layers.Layer):
            def build(self, shape):
                self.table = self.add_weight(shape=(7, 3), name="table")

            def call(self, ids):
                return ops.take(self.table, ids, axis=0)

        i = keras.Input((6,), dtype="int32")
        assert set(np.unique(noise_for(keras.Model(i, Table()(i))))) == set(range(7))

    def test_masks_are_ones(self):
        x, mask = keras.Input((6,)), keras.Input((6,), dtype="int32")
        both = noise_for(keras.Model([x, mask], layers.Dense(2)(x * ops.cast(mask, "float32"))))
        assert np.all(both[1] == 1)

    @pytest.mark.parametrize("layer", [layers.Rescaling(1 / 127.5, offset=-1), layers.Normalization()])
    def test_preprocessing_is_undone(self, layer):
        if isinstance(layer, layers.Normalization):
            layer.adapt(np.random.default_rng(0).normal(50, 9, (100, 3)).astype("float32"))
        x = keras.Input((3,))
        model = keras.Model(x, layers.Dense(2)(layer(x)))
        after = ops.convert_to_numpy(layer(noise_for(model)))
        assert abs(after.mean()) < 0.15
        assert abs(after.std() - 1) < 0.1

    def test_dictionaries(self):
        x = {"a": keras.Input((3,), name="a"), "b": keras.Input((5,), name="b")}
        values = noise_for(
            keras.Model(x, layers.Dense(2)(ops.concatenate([x["a"], x["b"]], axis=-1))), batch=4
        )
        assert {k: v.shape for k, v in values.items()} == {"a": (4, 3), "b": (4, 5)}

    def test_integers_of_unknown_range(self):
        i = keras.Input((6,), dtype="int32", name="ages")
        model = keras.Model(i, layers.Dense(2)(ops.log1p(ops.cast(i, "float32"))))
        with pytest.raises(
            InitxError, match=r"^Model input 'ages' takes int32 values of unknown range.*\. Pass data=\.$"
        ):
            noise_for(model)


def test_every_input_that_needs_data_is_named():
    inputs = [
        keras.Input((), dtype=dtype, name=name)
        for name, dtype in (("cat", "int32"), ("number", "float32"), ("size", "int64"))
    ]
    flat = [ops.cast(tensor, "float32")[:, None] for tensor in inputs]
    model = keras.Model(inputs, layers.Dense(2)(ops.concatenate(flat, axis=-1)))
    with pytest.raises(
        InitxError, match=r"^Model inputs 'cat', 'size' take int32 and int64 values of unknown range"
    ):
        noise_for(model)
