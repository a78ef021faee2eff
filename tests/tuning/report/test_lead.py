"""The best values of one hyperparameter compared, and missed targets; test_stats.py compares trials."""

import keras_tuner
import pytest
from keras_initx.tuning import TrialResult, describe_lead_by
from keras_initx.tuning.report.lead import describe_lead

pytestmark = pytest.mark.one_backend


def trial(number: int, initializer: str, scores: tuple[float, ...], metric: str, shift: float) -> TrialResult:
    seeds = {seed: {"score": s, "test": {metric: s + shift + seed / 1000}} for seed, s in enumerate(scores)}
    return TrialResult(number, {"initializer": initializer, "rate": number}, "completed", "", seeds)


def test_the_best_trials_of_the_best_two_values_are_compared_on_the_test_data() -> None:
    objective = keras_tuner.Objective("val_accuracy", "max")
    trials = [
        trial(0, "auto", (0.90, 0.92, 0.95), "accuracy", -0.1),
        trial(1, "auto", (0.50, 0.52, 0.55), "accuracy", -0.1),
        trial(2, "zeros", (0.10, 0.11, 0.12), "accuracy", -0.1),
        trial(3, "he_auto", (0.80, 0.83, 0.85), "accuracy", -0.1),
    ]
    line = describe_lead_by(trials, "initializer", objective)
    assert line.startswith("The best two initializers on the test data: auto ")
    assert "he_auto" in line
    assert "zeros" not in line
    assert "by 9.7 points" in line
    assert describe_lead_by(trials[:2], "initializer", objective) == ""


def test_the_lowest_loss_leads() -> None:
    trials = [
        trial(0, "auto", (0.5, 0.6), "loss", 0.0),
        trial(1, "zeros", (2.0, 2.2), "loss", 0.0),
        trial(2, "he_auto", (0.7, 0.9), "loss", 0.0),
    ]
    line = describe_lead_by(trials, "initializer", keras_tuner.Objective("val_loss", "min"))
    assert line.startswith("The best two initializers on the test data: auto ")
    assert "zeros" not in line
    assert "points" not in line


def test_a_single_seed_is_not_compared() -> None:
    trials = [trial(0, "auto", (0.9,), "accuracy", 0.0), trial(1, "zeros", (0.1,), "accuracy", 0.0)]
    assert describe_lead_by(trials, "initializer", keras_tuner.Objective("val_accuracy", "max")) == ""


@pytest.mark.parametrize(("score", "reached"), [(6, False), (5, True)])
def test_a_target_that_no_run_reached(score: int, reached: bool) -> None:
    # Two runs missed the target, one of them early, by its patience.
    runs = [{"score": 6, "epochs": 5}, {"score": 6, "epochs": 2}, {"score": score, "epochs": 5}]
    trials = [TrialResult(n, {"rate": n}, "completed", "", {0: run, 1: run}) for n, run in enumerate(runs)]
    line = describe_lead(trials, keras_tuner.Objective("epochs to val_accuracy 0.99", "min"))
    assert line.startswith("No run reached val_accuracy 0.99, ") != reached
    assert line
