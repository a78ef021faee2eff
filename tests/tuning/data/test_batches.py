"""Batches of training data, as a step of `fit` sees them."""

from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse
from keras_initx.tuning.data import Batch, FitArguments

from tests.support.fit_data import Rows, X, Y, batches, model

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class TestBatches:
    def test_lists_of_a_data_loader_are_batches_too(self) -> None:
        listed = lambda: ([x, y] for x, y in batches())  # noqa: E731
        one = FitArguments((listed,), {"steps_per_epoch": 3}).batches[0]
        np.testing.assert_array_equal(one.x, X[:10])
        np.testing.assert_array_equal(one.y, Y[:10])

    def test_sparse_rows(self) -> None:
        one, _ = FitArguments((scipy.sparse.csr_matrix(X), Y), {"batch_size": 30}).batches
        np.testing.assert_array_equal(one.x[:, 0], 2.0 * one.y)

    @pytest.mark.parametrize("data", [(X, Y), (Rows(),), (batches,)], ids=["arrays", "sequence", "generator"])
    def test_two_batches_of_any_source(self, data: tuple[Any, ...]) -> None:
        more = {"steps_per_epoch": 3} if data[0] is batches else {}
        one, other = FitArguments((*data, 10) if len(data) == 2 else data, more).batches
        for batch in (one, other):
            # The labels tell which rows they are, and they fit the inputs.
            np.testing.assert_array_equal(np.asarray(batch.x)[:, 0], 2.0 * np.asarray(batch.y))
            assert len(batch.x) == 10
        assert not set(np.asarray(one.y)) & set(np.asarray(other.y))

    def test_rows_of_arrays_come_from_all_over_them_in_the_type_of_fit(self) -> None:
        one, other = FitArguments((X, Y), {"batch_size": 5}).batches
        assert one.x.dtype == keras.backend.floatx()
        assert min(one.y) < 3
        assert max(other.y) == 29

    def test_nested_arrays_and_weights(self) -> None:
        fit = {"sample_weight": Y / 2, "batch_size": 4, "class_weight": {0: 2.0}}
        one, _ = FitArguments(({"a": X, "b": [X, Y]}, Y), fit).batches
        assert one.x["a"].shape == (4, 2)
        np.testing.assert_array_equal(one.x["b"][1], one.y)
        np.testing.assert_allclose(one.sample_weight, one.y / 2)
        assert one.source["class_weight"] == {0: 2.0}

    def test_one_batch_stays_one(self) -> None:
        class Single(Rows):
            def __len__(self) -> int:
                return 1

        assert len(FitArguments((Single(),), {}).batches) == 1

    @pytest.mark.parametrize("own_step", [False, True])
    def test_a_step_sees_what_fit_would_show_it(self, own_step: bool) -> None:
        class Own(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.dense = keras.layers.Dense(1, kernel_initializer="zeros")

            def call(self, x: Any) -> Any:
                return self.dense(x)

            def train_step(self, *args: Any) -> Any:
                return super().train_step(*args)

        subject = Own() if own_step else model()
        subject.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
        weights = np.array([0.0, 2.0])
        y = np.array([[1.0], [3.0]], "float32")
        batch = FitArguments((X[:2], y), {"sample_weight": weights}).batches[0]
        # The rows are 0 and 1, in the order of the data.
        expected = float(np.sum(weights[np.ravel(batch.y > 1).astype(int)] * np.ravel(batch.y) ** 2))
        assert batch.train(subject)["loss"] == pytest.approx(expected / len(batch.y))

    def test_first_rows_of_arrays(self) -> None:
        small = Batch.of_arrays(X, Y).first_rows(3)
        np.testing.assert_array_equal(small.y, [0, 1, 2])
        assert small.source["batch_size"] == 3


def test_rows_of_strings_stay_a_tensor() -> None:
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Only TensorFlow has tensors of strings.")
    words = tf.constant([["a"], ["b"], ["c"], ["d"]])
    batches = FitArguments((words, np.arange(4)), {"batch_size": 2}).batches
    for batch in batches:
        assert batch.x.dtype == tf.string
        assert [w[0].decode() for w in batch.x.numpy()] == ["abcd"[n] for n in batch.y]
    assert batches[0].first_rows(1).x.numpy().tolist() == [[b"a"]]
