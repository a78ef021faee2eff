import keras
import numpy as np
import pytest
from keras import ops

from keras_initx import InitxError
from keras_initx._graph import batch_of, by_name, labelled_batch
from tests.support.batches import Batches

pytestmark = pytest.mark.check


class TestBatchOf:
    x = np.arange(40, dtype="float32").reshape(20, 2)

    def check(self, data, size=8):
        np.testing.assert_array_equal(ops.convert_to_numpy(batch_of(data, size)), self.x[:size])

    def test_data_frames(self):
        class Frame:
            """A data frame with the conversion that pandas and polars offer."""

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
            (iter([[1.0, 2.0]]), r"of type list\. Convert lists with np\.asarray\.$"),
            (np.float32(3), r"must hold arrays of samples, got a single value\. .* x\[:1\]"),
            (iter([np.float32(3)]), r"must yield batches, got single samples\. .*dataset\.batch\(32\)"),
            (np.ones((4, 2), "complex64"), r"must hold dense arrays .*, got ndarray of complex64\.$"),
            ([np.zeros((4, 2)), np.zeros((5, 2))], r"must have the same number of samples in every array"),
            (lambda: 0, r"of type function\. Call the function: data=f\(\)\.$"),
        ],
    )
    def test_errors(self, data, text):
        with pytest.raises(InitxError, match=rf"^`data` .*{text}"):
            batch_of(data, 8)


@pytest.mark.parametrize("numbers", [[0.5, 1.5, 2.5], [[1, 2], [3, 4], [5, 6]]])
def test_lists_of_numbers_are_arrays(numbers):
    assert np.array_equal(ops.convert_to_numpy(batch_of(numbers, 2)), np.asarray(numbers)[:2])
    assert np.array_equal(ops.convert_to_numpy(labelled_batch(numbers, 2).x), np.asarray(numbers)[:2])
    # Lists of arrays are several inputs.
    assert len(batch_of([np.asarray(numbers), np.asarray(numbers)], 2)) == 2


def test_parts_that_some_batches_lack_are_dropped():
    x, y = np.zeros((6, 2), "float32"), np.zeros(6, "float32")
    batch = labelled_batch(iter([(x[:4], y[:4], y[:4]), (x[4:], y[4:])]), 6)
    assert (batch.x.shape, batch.y.shape, batch.weights) == ((6, 2), (6,), None)


def test_named_inputs():
    inputs = [keras.Input((3,), name=name) for name in ("a", "b")]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    assert by_name(model, {"b": 1, "a": 0, "other": 2}) == [0, 1]
    with pytest.raises(InitxError, match=r"^`x` must have the model's inputs .* Missing: \['b'\]\.$"):
        by_name(model, {"a": 0, "other": 2}, "x")
