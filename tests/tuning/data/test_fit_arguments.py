"""The arguments of `fit`: what is refused, what a run receives, and the batches that stand for the data."""

import inspect
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from keras_initx.tuning.data import FitArguments, first_inputs
from keras_initx.tuning.data.fit_arguments import evaluation

from keras_initx import InitxError
from tests.support.fit_data import Rows, X, Y, batches, model

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


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

    def test_callbacks_within_lists_are_listed_as_keras_lists_them(self) -> None:
        from keras_initx.tuning.data import copied_callbacks

        own = [[keras.callbacks.TerminateOnNaN()], {"a": keras.callbacks.History()}]
        kinds = [type(callback) for callback in copied_callbacks(own)]
        assert kinds == [type(c) for c in keras.callbacks.CallbackList(own).callbacks]

    @pytest.mark.parametrize("every", [np.int64(1), (1, 2), None])
    def test_what_means_the_same_reaches_keras_in_its_form(self, every: Any) -> None:
        more = {"validation_freq": every, "validation_steps": 0, "validation_data": (X, Y), "epochs": 2}
        arguments = FitArguments((X, Y), more)
        assert len(model().fit(**arguments.for_run()).history["val_loss"]) == 2
        assert arguments.validation is not None
        assert np.isfinite(arguments.validation.evaluate(model())["loss"])


class Endless:
    """What a search reads of a tf.data pipeline that repeats forever."""

    element_spec = None

    def take(self, count: int) -> Any:
        raise AssertionError("it must not be read")

    def cardinality(self) -> int:
        return -1


class TestRefused:
    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ((Endless(),), {}, r"^`steps_per_epoch` is missing: `x` repeats forever"),
            ((Rows(), Y), {}, r"^`y` must be None if `x` is a Rows, whose batches contain it"),
            ((Rows(),), {"validation_split": 0.2}, r"^`validation_split` must be None if `x` is a Rows"),
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


@pytest.mark.parametrize("y", [[np.zeros(4)], [np.zeros(4), np.zeros(4)], {"a": np.zeros(4)}])
def test_class_weights_of_nested_labels(y: Any) -> None:
    with pytest.raises(InitxError, match=r"^`class_weight` works only with a single array of labels\."):
        FitArguments((np.zeros((4, 2)), y), {"class_weight": {0: 1.0, 1: 2.0}})
    # An array is what `compute_class_weight` of scikit-learn returns.
    with pytest.raises(InitxError, match="`class_weight` must be a dictionary"):
        FitArguments((np.zeros((4, 2)), np.zeros(4)), {"class_weight": np.ones(2)})


@pytest.mark.parametrize("as_keyword", [False, True])
def test_the_first_inputs_of_a_generator_are_not_lost(as_keyword: bool) -> None:
    rows = [(np.full((2, 4), n), np.full(2, n)) for n in range(3)]
    data = (batch for batch in rows)
    args, kwargs = (
        ((), {"x": data, "steps_per_epoch": 3}) if as_keyword else ((data,), {"steps_per_epoch": 3})
    )
    inputs, args, kwargs = first_inputs(args, kwargs)
    assert inputs is rows[0][0]
    assert kwargs["steps_per_epoch"] == 3
    replaced = kwargs["x"] if as_keyword else args[0]
    # Keras takes no other iterators.
    assert inspect.isgenerator(replaced)
    again = list(replaced)
    assert all(one is other for one, other in zip(again, rows, strict=True))


def test_the_first_inputs_of_arrays_leave_the_arguments_alone() -> None:
    inputs, args, kwargs = first_inputs((X, Y), {"batch_size": 3})
    assert inputs.shape[1:] == X.shape[1:]
    assert args[0] is X
    assert args[1] is Y
    assert kwargs == {"batch_size": 3}
