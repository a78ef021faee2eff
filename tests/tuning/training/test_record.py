"""The metrics of a run, from whatever its training returned."""

from typing import Any

import keras
import keras_tuner
import pytest
from keras_initx.tuning.training.record import metrics_of, missing_objective

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
    assert metrics_of(curves, ACCURACY)["val_accuracy"] == 0.9


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
