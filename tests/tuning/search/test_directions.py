"""The direction of an objective, from its name."""

import inspect
from typing import Any

import keras
import keras_tuner
import pytest
from keras_initx.tuning.search.directions import objectives_of

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

ARGUMENTS: dict[str, Any] = {
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "MeanIoU": {"num_classes": 2},
    "IoU": {"num_classes": 2, "target_class_ids": [0]},
    "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 2},
    "MeanMetricWrapper": {"fn": keras.losses.mean_squared_error},
}
METRICS = {name: kind for name, kind in vars(keras.metrics).items() if inspect.isclass(kind)}
# Keras has a loss of the first name too, which improves the other way; KerasTuner does not know logcosh; the
# others may measure anything.
UNKNOWN = ("CosineSimilarity", "LogCoshError", "Mean", "MeanMetricWrapper", "Metric", "Sum")
OUTPUTS = ("age", "kind", "a_b", "seg")


def direction_of(objective: Any) -> str:
    (found,) = objectives_of(objective, lambda: OUTPUTS)
    return found.direction


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_of_keras_gets_the_wrong_direction(name: str) -> None:
    """Keras itself knows which way most of its metrics improve."""
    metric = METRICS[name](**ARGUMENTS.get(name, {}))
    known = {"up": "max", "down": "min"}.get(getattr(metric, "_direction", None) or "")
    for objective in (f"val_{metric.name}", f"val_seg_{metric.name}", f"val_{name}"):
        try:
            direction = direction_of(objective)
        except InitxError:
            assert name in UNKNOWN
        else:
            counts = {"FalseNegatives": "min", "FalsePositives": "min"}
            assert direction == (known or counts.get(name, "max"))


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "min"),
        ("val_age_mae", "min"),
        ("val_age_loss", "min"),
        ("kind_accuracy", "max"),
        ("val_a_b_auc", "max"),
        ("val_seg_mean_io_u", "max"),
        ("val_mean_iou", "max"),
        ("val_age_weighted_mae", "min"),
        # The last word of a name of the user's own, and the number that Keras gives to the second metric.
        ("val_kl_loss", "min"),
        ("val_top_5_accuracy", "max"),
        ("val_pr_auc", "max"),
        ("auc_1", "max"),
    ],
)
def test_the_direction_of_a_metric_of_one_output(name: str, direction: str) -> None:
    (found,) = objectives_of(name, lambda: OUTPUTS)
    assert (found.name, found.direction) == (name, direction)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("val_acuracy", "Did you mean 'val_accuracy'"),
        ("val_f1", r"Objective\('val_f1', 'max'\)"),
        ("val_neg_mean_squared_error", r"Objective\('val_neg_mean_squared_error', 'max'\)"),
        ("val_negative_loss", r"Objective\('val_negative_loss', 'max'\)"),
        ("val_dice", r"Objective\('val_dice', 'max'\)"),
        (["val_loss", "val_kind_f1"], r"got 'val_kind_f1'\. .*Objective\('val_kind_f1', 'max'\)"),
        ([], r"got \[\]\. "),
        (5, "got 5. "),
        ("", "got ''. "),
        ("val_", "got 'val_'. "),
        ("__file__", "got '__file__'. "),
    ],
)
def test_an_objective_without_a_known_direction(name: Any, remedy: str) -> None:
    with pytest.raises(InitxError, match=f"^`objective` must be a metric with a known .*{remedy}"):
        objectives_of(name, lambda: OUTPUTS)


def test_several_objectives_are_one() -> None:
    parts = ["val_loss", "val_kind_accuracy", keras_tuner.Objective("f1", "max")]
    (found,) = objectives_of(parts, lambda: OUTPUTS)
    assert found.name_to_direction == {"val_loss": "min", "val_kind_accuracy": "max", "f1": "max"}


def test_the_outputs_are_asked_for_only_if_needed() -> None:
    found = objectives_of(None, lambda: pytest.fail("not needed"))
    assert [(one.name, one.direction) for one in found] == [("val_accuracy", "max"), ("val_loss", "min")]
