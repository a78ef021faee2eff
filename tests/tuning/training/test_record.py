"""The metrics of a run, from whatever its training returned."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning.training.callbacks import BestEpoch
from keras_initx.tuning.training.record import metrics_of, missing_objective, run_record

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

LOSS, ACCURACY = keras_tuner.Objective("val_loss", "min"), keras_tuner.Objective("val_accuracy", "max")
NAN = float("nan")


def history(**curves: Any) -> keras.callbacks.History:
    result = keras.callbacks.History()
    result.history = curves
    return result


def test_a_history_has_the_metrics_of_its_best_epoch() -> None:
    curves = history(val_loss=[3.0, 1.0, 2.0, NAN], val_accuracy=[0.1, 0.2, 0.3, 0.9])
    assert metrics_of(curves, LOSS) == {"val_loss": 1.0, "val_accuracy": 0.2}
    # A model that predicts NaN has a high accuracy if most labels are of class 0.
    assert metrics_of(curves, ACCURACY)["val_accuracy"] == 0.3


def followed(*epochs: dict[str, float]) -> BestEpoch:
    """Return the callback of a run whose weights are the number of the epoch."""
    best = BestEpoch(ACCURACY, patience=9)
    best.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    best.on_train_begin()
    for epoch, logs in enumerate(epochs):
        best.model.set_weights([np.full_like(w, epoch) for w in best.model.get_weights()])
        best.on_epoch_end(epoch, logs)
    return best


GOOD = {"loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}
BETTER = {"loss": 0.9, "val_loss": 0.9, "val_accuracy": 0.7}
# The loss of an epoch may be measured before the step that ruins the weights.
RUINED = {"loss": 0.8, "val_loss": NAN, "val_accuracy": 0.9}
DIVERGED = {"loss": NAN, "val_loss": NAN, "val_accuracy": 0.9}


class TestDivergence:
    @pytest.mark.parametrize("last", [RUINED, DIVERGED, {"loss": NAN, "val_accuracy": 0.9}])
    def test_an_epoch_whose_loss_is_not_finite_is_never_the_best(self, last: dict[str, float]) -> None:
        best = followed(GOOD, BETTER, last)
        curves = history(**{name: [e[name] for e in (GOOD, BETTER, last)] for name in last})
        record = run_record(curves, best, ACCURACY, epochs=9, seed=0)
        assert (record["score"], record["best_epoch"]) == (0.7, 2)
        best.on_train_end()
        assert all(np.all(w == 1) for w in best.model.get_weights())

    @pytest.mark.parametrize(
        ("returned", "epochs"),
        [
            (0.9, (GOOD, RUINED)),
            ({"val_accuracy": 0.9}, (GOOD, DIVERGED)),
            # Measured on other data, after the training.
            (0.8, (RUINED, DIVERGED)),
            ({"val_accuracy": 0.8, "loss": NAN}, (GOOD,)),
            ({"val_accuracy": 0.8, "val_loss": float("inf")}, ()),
            ([history(**{name: [value] for name, value in RUINED.items()})], ()),
        ],
    )
    def test_a_returned_value_of_a_diverged_epoch_fails_the_run(self, returned: Any, epochs: Any) -> None:
        says = "^the loss or val_accuracy was not finite in the epoch of the returned value of seed 3$"
        with pytest.raises(FloatingPointError, match=says):
            run_record(returned, followed(*epochs), ACCURACY, epochs=9, seed=3)

    @pytest.mark.parametrize("returned", [0.5, {"val_accuracy": 0.6}, {**GOOD, "val_accuracy": 0.5}])
    def test_a_returned_value_of_other_weights_counts(self, returned: Any) -> None:
        record = run_record(returned, followed(GOOD, DIVERGED), ACCURACY, epochs=9, seed=0)
        assert record["score"] == (returned if returned == 0.5 else returned["val_accuracy"])


@pytest.mark.filterwarnings("ignore:The HyperModel")
class TestOneOfTwoOutputs:
    """The validation data lack the labels of output b, so the sum of the losses is NaN in each epoch."""

    METRIC = keras_tuner.Objective("val_a_accuracy", "max")

    def logs(self, score: float, **changed: float) -> dict[str, float]:
        own = {"loss": 2.0, "a_loss": 1.0, "b_loss": 1.0, "val_a_loss": 1.0}
        return {**own, "val_loss": NAN, "val_b_loss": NAN, "val_a_accuracy": score, **changed}

    def test_the_missing_labels_of_the_other_do_not_matter(self) -> None:
        epochs = [self.logs(0.5), self.logs(0.7), self.logs(0.6)]
        curves = history(**{name: [logs[name] for logs in epochs] for name in epochs[0]})
        record = run_record(curves, BestEpoch(self.METRIC, 9), self.METRIC, epochs=3, seed=0)
        assert (record["score"], record["best_epoch"]) == (0.7, 2)

    @pytest.mark.parametrize("name", ["loss", "a_loss", "val_a_loss"])
    def test_a_diverged_epoch_never_wins(self, name: str) -> None:
        epochs = [self.logs(0.5), self.logs(0.9, **{name: NAN})]
        curves = history(**{name: [logs[name] for logs in epochs] for name in epochs[0]})
        record = run_record(curves, BestEpoch(self.METRIC, 9), self.METRIC, epochs=3, seed=0)
        assert (record["score"], record["best_epoch"]) == (0.5, 1)

    def test_without_a_metric_of_an_output_all_of_them_count(self) -> None:
        several = keras_tuner.Oracle([self.METRIC, keras_tuner.Objective("val_mae", "min")]).objective
        says = "^no epoch of seed 3 has a finite loss and a finite multi_objective$"
        for metric in (LOSS, several):
            curves = history(**{name: [value] for name, value in self.logs(0.5, val_mae=1.0).items()})
            match = says.replace("multi_objective", metric.name)
            with pytest.raises(FloatingPointError, match=match):
                run_record(curves, BestEpoch(metric, 9), metric, epochs=3, seed=3)


def test_a_history_counts_whose_training_left_out_the_callbacks() -> None:
    best = BestEpoch(ACCURACY, patience=9)
    epochs = (GOOD, BETTER, RUINED)
    curves = history(**{name: [epoch[name] for epoch in epochs] for name in GOOD})
    with pytest.warns(UserWarning, match="did not pass `callbacks` to `model.fit`"):
        record = run_record(curves, best, ACCURACY, epochs=9, seed=0)
    assert (record["score"], record["best_epoch"], record["epochs"]) == (0.7, 2, 3)
    assert record["metrics"] == BETTER


@pytest.mark.parametrize(
    ("curves", "score", "epoch"),
    [
        # Validated after every second epoch; the loss of the first of them does not matter.
        ({"loss": [4.0, 3.0, NAN, 1.0], "val_loss": [5.0, 4.0]}, 4.0, 4),
        ({"loss": [4.0, NAN, 2.0, 1.0], "val_loss": [3.0, 4.0]}, 4.0, 4),
        ({"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [5.0, 4.0, 3.0, 2.0], "test": [0.5]}, 2.0, 4),
    ],
    ids=["even", "diverged", "another curve"],
)
def test_curves_of_different_lengths(curves: dict[str, list[float]], score: float, epoch: int) -> None:
    best = BestEpoch(LOSS, patience=9)
    with pytest.warns(UserWarning, match="did not pass `callbacks` to `model.fit`"):
        record = run_record(history(**curves), best, LOSS, epochs=4, seed=0)
    assert (record["score"], record["best_epoch"]) == (score, epoch)
    assert metrics_of(history(**curves), LOSS)["val_loss"] == score


def test_a_list_counts_with_its_mean() -> None:
    # As KerasTuner's: the mean over each run's own best epoch, not the best epoch of the mean.
    runs = [history(val_loss=[3.0, 1.0]), history(val_loss=[2.0, 4.0])]
    assert metrics_of(runs, LOSS) == {"val_loss": 1.5}
    assert metrics_of([1, 2.0], LOSS) == {"val_loss": 1.5}
    assert metrics_of([{"val_loss": 1.0, "mae": 4}, {"val_loss": 2.0}], LOSS) == {"val_loss": 1.5}


@pytest.mark.parametrize("returned", [None, "low", {"loss": 1.0}, []])
def test_what_has_no_objective_is_refused(returned: Any) -> None:
    with pytest.raises(InitxError, match=r"^The HyperModel's `fit` must return a History, a number"):
        metrics_of(returned, LOSS)


@pytest.mark.parametrize(
    ("name", "near"), [("val_acc", "val_accuracy"), ("acc", "accuracy"), ("val_losss", "val_loss")]
)
def test_a_missing_objective_suggests_the_nearest_metric(name: str, near: str) -> None:
    error = missing_objective(name, ["accuracy", "loss", "val_accuracy", "val_loss"], "Or add it.")
    assert str(error).endswith(f"got {name!r}. Did you mean {near!r}? Or add it.")
    assert isinstance(error, keras_tuner.errors.FatalError)
    assert "Did you mean" not in str(missing_objective("f1", ["loss"]))
