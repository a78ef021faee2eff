"""The arguments of `fit`: what is refused, what a run receives, and the batches that stand for the data."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from keras_initx.tuning.data import Batch, FitArguments, evaluation

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

X = np.arange(60.0, dtype="float64").reshape(30, 2)
Y = np.arange(30)


def batches() -> Iterator[Any]:
    for start in range(0, 30, 10):
        yield X[start : start + 10], Y[start : start + 10]


class Rows(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return X[10 * index : 10 * index + 10], Y[10 * index : 10 * index + 10]


def model() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


class TestArguments:
    def test_positions_are_those_of_fit(self) -> None:
        arguments = FitArguments((X, Y, 10), {"epochs": 4}).values
        assert arguments.keys() == {"x", "y", "batch_size", "epochs"}
        assert arguments["x"] is X

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            (
                {"validation_dat": (X, Y)},
                r"^`validation_dat` is not an argument of `fit`\. Did you mean `val",
            ),
            ({"x": X}, r"^`x` must be passed once"),
            (
                {"validation_data": batches()},
                r"^`validation_data` must be data that can be read several times",
            ),
            ({"validation_data": batches}, r"^`validation_steps` is missing"),
        ],
    )
    def test_what_cannot_be_used(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(InitxError, match=message):
            FitArguments((X, Y), kwargs)

    def test_a_generator_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(InitxError, match=r"^`x` must be data .*Pass a function that returns a new gen"):
            FitArguments((batches(),), {})

    def test_each_run_gets_the_generator_anew_and_never_runs_out(self) -> None:
        arguments = FitArguments((batches,), {"steps_per_epoch": 3, "epochs": 4})
        for _ in range(2):
            history = model().fit(**arguments.for_run()).history
            assert history["loss"] == pytest.approx([np.mean(Y.astype("float32") ** 2)] * 4)

    def test_each_run_gets_the_batches_of_a_function(self) -> None:
        made: list[Rows] = []

        def rows() -> Rows:
            made.append(Rows())
            return made[-1]

        runs = [FitArguments((rows,), {}).for_run() for _ in range(2)]
        assert runs[0]["x"] is not runs[1]["x"]
        assert {run["x"] in made for run in runs} == {True}
        assert "shuffle" not in runs[0]

    def test_a_function_that_returns_arrays_is_refused(self) -> None:
        with pytest.raises(InitxError, match=r"^`x` is a function that returns arrays\. Pass the arrays"):
            FitArguments((lambda: X,), {})

    def test_each_run_gets_copies_of_the_callbacks(self) -> None:
        class Counting(keras.callbacks.Callback):
            epochs = 0

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                self.epochs += 1

        own = Counting()
        from keras_initx.tuning.data import copied_callbacks

        copies = copied_callbacks([own])
        model().fit(X, Y, epochs=3, callbacks=copies, verbose=0)
        assert (own.epochs, copies[0].epochs) == (0, 3)


class Endless:
    """What a search reads of a tf.data pipeline that repeats for ever."""

    element_spec = None

    def take(self, count: int) -> Any:
        raise AssertionError("it must not be read")

    def cardinality(self) -> int:
        return -1


class TestRefused:
    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ((Endless(),), {}, r"^`steps_per_epoch` is missing: `x` repeats for ever"),
            ((Rows(), Y), {}, r"^`y` must be None where `x` is a Rows, whose batches contain it"),
            ((Rows(),), {"validation_split": 0.2}, r"^`validation_split` must be None where `x` is a Rows"),
            ((X, Y), {"class_weight": "balanced"}, r"^`class_weight` must be a dictionary"),
            (
                (X, Y),
                {"callbacks": [keras.callbacks.EarlyStopping]},
                r"^`callbacks` must be .*EarlyStopping\(\)",
            ),
        ],
    )
    def test_before_anything_starts(self, args: Any, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(InitxError, match=message):
            FitArguments(args, kwargs)


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


class TestValidation:
    def test_few_rows_are_one_batch_and_many_are_not(self) -> None:
        few = FitArguments((X, Y), {"validation_data": (X, Y), "batch_size": 2}).for_run()
        assert few["validation_batch_size"] == 30
        many = FitArguments((X, Y), {"validation_data": (X, Y), "batch_size": 1}).for_run()
        assert many["validation_batch_size"] == 1
        own = {"validation_data": (X, Y), "validation_batch_size": 7}
        assert FitArguments((X, Y), own).for_run()["validation_batch_size"] == 7

    @pytest.mark.parametrize("data", [batches(), batches], ids=["generator", "function"])
    def test_data_without_an_end_are_named_as_test_data(self, data: Any) -> None:
        with pytest.raises(InitxError, match=r"^`test_data` must be data .*, and end, got .*take\(10"):
            evaluation(data)

    def test_data_that_repeat_for_ever_are_named_as_test_data(self) -> None:
        tensorflow = pytest.importorskip("tensorflow")
        data = tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(10)
        assert evaluation(data).batches[0].x.shape == (10, 2)
        with pytest.raises(InitxError, match=r"^`test_data` "):
            evaluation(data.repeat())

    def test_arguments_of_evaluate(self) -> None:
        weighted = evaluation((X, Y, Y)).for_evaluation()
        assert {"x", "y", "sample_weight"} < weighted.keys()
        assert evaluation(Rows()).for_evaluation().keys() == {"x", "verbose", "return_dict"}
        assert model().evaluate(**evaluation(Rows()).for_evaluation())["loss"] == pytest.approx(
            float(np.mean(Y**2.0))
        )


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_a_series_of_pandas_is_the_column_that_fit_takes(name: str) -> None:
    x, y = np.ones((6, 2), "float32"), np.arange(6) % 2
    values: dict[str, Any] = {"x": pd.DataFrame(x), "y": y, name: pd.Series(y.astype("float32"))}
    arguments = FitArguments((), {**values, "validation_data": (x, pd.Series(y))})
    assert arguments.values[name].shape == (6, 1)
    assert arguments.values["validation_data"][1].shape == (6, 1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(**arguments.for_run()).history["val_loss"][0])
