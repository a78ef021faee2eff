import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx._graph.batches import batch_of
from keras_initx._graph.noise import noise
from keras_initx._graph.trace import trace
from tests.support.batches import Batches


def made(model, batch=512):
    return keras.tree.map_structure(ops.convert_to_numpy, noise(trace(model), batch, 0))


class TestNoise:
    def test_floats_are_standard_normal(self):
        values = made(keras.Sequential([keras.Input((40,)), layers.Dense(2)]))
        assert abs(values.mean()) < 5 / np.sqrt(values.size)
        assert abs(values.std() - 1) < 5 / np.sqrt(2 * values.size)

    @pytest.mark.parametrize("reach", [lambda i: i, lambda i: ops.reshape(i, (-1, 2, 3))])
    def test_ids_are_within_the_table(self, reach):
        i = keras.Input((6,), dtype="int32")
        values = made(keras.Model(i, layers.Dense(2)(layers.Embedding(9, 4)(reach(i)))))
        assert set(np.unique(values)) == set(range(9))

    def test_one_hot(self):
        i = keras.Input((6,), dtype="int32")
        values = made(keras.Model(i, layers.Dense(2)(ops.one_hot(i, 5))))
        assert set(np.unique(values)) == set(range(5))

    def test_a_table_of_ones_own(self):
        class Table(layers.Layer):
            def build(self, shape):
                self.table = self.add_weight(shape=(7, 3), name="table")

            def call(self, ids):
                return ops.take(self.table, ids, axis=0)

        i = keras.Input((6,), dtype="int32")
        assert set(np.unique(made(keras.Model(i, Table()(i))))) == set(range(7))

    def test_masks_are_ones(self):
        x, mask = keras.Input((6,)), keras.Input((6,), dtype="int32")
        both = made(keras.Model([x, mask], layers.Dense(2)(x * ops.cast(mask, "float32"))))
        assert np.all(both[1] == 1)

    @pytest.mark.parametrize("layer", [layers.Rescaling(1 / 127.5, offset=-1), layers.Normalization()])
    def test_preprocessing_is_undone(self, layer):
        if isinstance(layer, layers.Normalization):
            layer.adapt(np.random.default_rng(0).normal(50, 9, (100, 3)).astype("float32"))
        x = keras.Input((3,))
        model = keras.Model(x, layers.Dense(2)(layer(x)))
        after = ops.convert_to_numpy(layer(made(model)))
        assert abs(after.mean()) < 0.15
        assert abs(after.std() - 1) < 0.1

    def test_dictionaries(self):
        x = {"a": keras.Input((3,), name="a"), "b": keras.Input((5,), name="b")}
        values = made(keras.Model(x, layers.Dense(2)(ops.concatenate([x["a"], x["b"]], axis=-1))), batch=4)
        assert {k: v.shape for k, v in values.items()} == {"a": (4, 3), "b": (4, 5)}

    def test_whole_numbers_that_nothing_explains(self):
        i = keras.Input((6,), dtype="int32", name="ages")
        model = keras.Model(i, layers.Dense(2)(ops.log1p(ops.cast(i, "float32"))))
        with pytest.raises(InitxError, match=r"^model input 'ages' takes int32 values of unknown range.*\. Pass data=\.$"):
            made(model)


class TestBatchOf:
    x = np.arange(40, dtype="float32").reshape(20, 2)

    def check(self, data, size=8):
        np.testing.assert_array_equal(ops.convert_to_numpy(batch_of(data, size)), self.x[:size])

    def test_data_frames(self):
        class Frame:
            """As pandas and polars have it."""

            def __init__(self, values):
                self.values = values

            def to_numpy(self):
                return self.values

        self.check(Frame(self.x))
        assert batch_of({"a": Frame(self.x), "b": self.x}, 3)["a"].shape == (3, 2)
        assert [v.shape for v in batch_of([Frame(self.x), self.x], 3)] == [(3, 2), (3, 2)]

    def test_arrays(self):
        self.check(self.x)
        self.check(ops.convert_to_tensor(self.x))
        assert batch_of({"a": self.x, "b": self.x}, 3)["b"].shape == (3, 2)

    def test_generators(self):
        self.check(self.x[i : i + 3] for i in range(0, 20, 3))
        self.check((self.x[i : i + 3], np.zeros(3)) for i in range(0, 20, 3))
        self.check([(self.x[:5], None, None), (self.x[5:], None, None)])

    def test_py_dataset(self):
        self.check(Batches(self.x, 4))

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
    def test_tf_data(self):
        import tensorflow as tf

        self.check(tf.data.Dataset.from_tensor_slices((self.x, self.x[:, 0])).batch(3))

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (np.zeros((0, 2)), "must have at least one sample, got arrays of shape"),
            (np.array([[np.nan]]), "contains NaN or infinite values"),
            (iter(()), "must yield at least one batch, got an empty"),
            (3, "or a generator, got an object of type int"),
            (iter(["text"]), "must be arrays, or batches of arrays.*of type str"),
        ],
    )
    def test_errors(self, data, text):
        with pytest.raises(InitxError, match=text):
            batch_of(data, 8)
