"""Test the comparison of the classical schemes: its tables, its tests and its names."""

from types import SimpleNamespace

import keras_tuner
import pytest
from keras_initx.tuning.search.scheme_comparison import (
    ACTIVATIONS,
    ALL_SCHEMES,
    SCHEMES,
    accuracy_table,
    labels_of,
    scheme_differences,
    scheme_table,
    scheme_verdict,
    schemes_in,
)
from keras_initx.tuning.study.results import TrialResult

from keras_initx.errors import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

# Test accuracies of five runs: Random is clearly worse, the other two are tied.
SCORES = {
    ("Random", "relu"): (0.50, 0.52, 0.51, 0.49, 0.53),
    ("Xavier", "relu"): (0.90, 0.91, 0.92, 0.90, 0.91),
    ("He", "relu"): (0.90, 0.92, 0.91, 0.91, 0.90),
}


def result(scores):
    trials = []
    for (scheme, activation), values in scores.items():
        seeds = {
            seed: {
                "score": value + 0.01,
                "best_epoch": 3,
                "epochs": 9,
                "seconds": 1.0,
                "test": {"accuracy": value, "loss": 1.0},
            }
            for seed, value in enumerate(values)
        }
        settings = {"initializer": ALL_SCHEMES[scheme], "activation": activation, "learning_rate": 1e-3}
        trials.append(TrialResult(len(trials), settings, "completed", "", seeds))
    return SimpleNamespace(trials=tuple(trials), objective=keras_tuner.Objective("val_accuracy", "max"))


def cells(table):
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_one_row_for_each_run_of_a_scheme():
    rows = cells(scheme_table(result(SCORES), "Xavier"))
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[0][2:5] == ["3 of 9", "91.0 %", "90.0 %"]


def test_the_accuracy_table_has_mean_std_interval_and_the_textbook_figure():
    rows = {(row[0], row[1]): row[2:] for row in cells(accuracy_table(result(SCORES)))}
    assert len(rows) == len(SCHEMES) * len(ACTIVATIONS)
    mean, std, interval, n, textbook = rows["Random", "relu"]
    # By hand: the standard deviation of 0.49 ... 0.53 is 0.0158 and t(4) = 2.776, so ± 0.0196.
    assert (mean, std, interval, n) == ("51.0 %", "1.6", "49.0 to 53.0", "5")
    assert textbook == "78-81 %"
    assert rows["He", "sigmoid"] == ["–", "–", "–", "0", "–"]


def test_the_differences_separate_real_ones_from_chance():
    differences = scheme_differences(result(SCORES))
    assert list(differences) == ["relu"]
    real = {frozenset((pair.better, pair.worse)): pair.real for pair in differences["relu"]}
    assert real == {
        frozenset(("Random", "Xavier")): True,
        frozenset(("Random", "He")): True,
        frozenset(("Xavier", "He")): False,
    }
    assert all(pair.simultaneous for pair in differences["relu"])


def test_one_run_of_each_is_not_tested():
    assert scheme_differences(result({key: values[:1] for key, values in SCORES.items()})) == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_without_a_trial_has_an_empty_table(scheme):
    assert cells(scheme_table(result({}), scheme)) == []


def test_other_schemes_join_the_tables_and_the_comparison():
    scores = {
        ("He", "relu"): (0.90, 0.92, 0.91),
        ("Zeros", "relu"): (0.10, 0.10, 0.10),
        ("Uniform 0..1", "relu"): (0.10, 0.11, 0.10),
    }
    study = result(scores)
    assert schemes_in(study) == ["He", "Uniform 0..1", "Zeros"]
    rows = {(row[0], row[1]): row[2] for row in cells(accuracy_table(study))}
    assert rows["Zeros", "relu"] == "10.0 %"
    real = {frozenset((p.better, p.worse)): p.real for p in scheme_differences(study)["relu"]}
    assert real[frozenset(("He", "Zeros"))]
    assert not real[frozenset(("Uniform 0..1", "Zeros"))]


def test_failing_schemes_have_a_verdict_before_training():
    assert scheme_verdict("Zeros", 64).startswith("symmetric")
    assert scheme_verdict("Uniform 0..1", 64).startswith("exploding")
    assert scheme_verdict("Small normal", 64).startswith("vanishing")
    assert scheme_verdict("He", 64) == ""


def test_schemes_are_named_by_label_or_by_initializer():
    assert labels_of(["he", " Zeros", "unit_uniform", "HE_normal"]) == ["He", "Zeros", "Uniform 0..1"]
    with pytest.raises(InitxError, match=r"`schemes` 'zero' is not known\. Did you mean 'Zeros'\?"):
        labels_of(["zero"])
    with pytest.raises(InitxError, match=r"`schemes` must be a list of at least one scheme, got \[\]"):
        labels_of([])
