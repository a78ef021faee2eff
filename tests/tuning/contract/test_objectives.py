"""Objectives of all kinds, and what a tuner prints."""

from typing import Any

import keras
import keras_tuner
import pytest

from tests.tuning.contract.makers import Maker, compiled, data, search

pytestmark = pytest.mark.one_backend

SEVERAL = [keras_tuner.Objective("val_loss", "min"), keras_tuner.Objective("val_gain", "max")]


def x_of(hp: Any) -> float:
    return hp.Float("x", 0.0, 1.0, default=0.5)


def history(hp: Any) -> keras.callbacks.History:
    result = keras.callbacks.History()
    result.history = {"val_loss": [3.0, x_of(hp)], "val_gain": [0.0, 2 * x_of(hp)]}
    return result


def mixed(hp: Any) -> dict[str, float]:
    x = x_of(hp)
    return {"val_loss": x, "val_gain": 2 * x, "multi_objective": -x}


@pytest.mark.parametrize("run", [history, mixed])
def test_several_objectives(make: Maker, run: Any) -> None:
    tuner = search(make(x_of, run, objective=SEVERAL, max_trials=4))
    for reader in (tuner, make(x_of, run, objective=SEVERAL, max_trials=4)):
        best = reader.oracle.get_best_trials(4)
        assert [t.status for t in best] == ["COMPLETED"] * 4
        xs = [t.hyperparameters.get("x") for t in best]
        assert xs == sorted(xs, reverse=True)
        assert [t.score for t in best] == pytest.approx([-x for x in xs])
        directions = [best[0].metrics.get_direction(n) for n in ("val_loss", "multi_objective")]
        assert directions == ["min", "min"]


def test_several_objectives_of_a_model(make: Maker) -> None:
    def build(hp: Any) -> keras.Model:
        return compiled([keras.layers.Dense(hp.Int("units", 2, 9))], metrics=["mae"])

    objective = [keras_tuner.Objective("val_loss", "min"), keras_tuner.Objective("val_mae", "min")]
    tuner = search(make(build, objective=objective, max_trials=2), **data())
    for trial in tuner.oracle.get_best_trials(2):
        parts = [trial.metrics.get_best_value(name) for name in ("val_loss", "val_mae")]
        assert trial.score == pytest.approx(sum(parts))
    assert len(tuner.get_best_models(2)) == 2


@pytest.mark.parametrize("wrap", [float, lambda x: {"default_objective": x}, lambda x: [x, x]])
def test_no_objective_minimizes_what_a_run_returns(make: Maker, wrap: Any) -> None:
    tuner = search(make(x_of, lambda hp: wrap(x_of(hp)), max_trials=3))
    best = tuner.oracle.get_best_trials(3)
    xs = [t.hyperparameters.get("x") for t in best]
    assert xs == [t.score for t in best] == sorted(xs)


def test_dictionary_with_the_objective(make: Maker) -> None:
    objective = keras_tuner.Objective("score", "max")
    run = lambda hp: {"score": x_of(hp), "val_loss": 1 - x_of(hp)}  # noqa: E731
    best = search(make(x_of, run, objective=objective, max_trials=3)).oracle.get_best_trials(3)
    assert [t.score for t in best] == sorted((t.score for t in best), reverse=True)
    assert best[0].metrics.get_best_value("val_loss") == pytest.approx(1 - best[0].score)


@pytest.mark.parametrize("result", [None, "text"])
def test_result_that_is_no_score(make: Maker, result: Any) -> None:
    with pytest.raises(keras_tuner.errors.FatalTypeError):
        search(make(x_of, lambda hp: result))


def test_summaries(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    tuner = make(x_of, x_of, max_trials=2)
    tuner.search_space_summary()
    assert "x (Float)" in capsys.readouterr().out
    tuner.search(verbose=1)
    shown = capsys.readouterr().out
    assert "Search: Running Trial #2" in shown
    assert "Best default_objective So Far: " in shown
    tuner.results_summary()
    shown = capsys.readouterr().out
    assert "Trial " in shown
    assert f"Score: {tuner.oracle.get_best_trials()[0].score}" in shown
    assert tuner.oracle.verbose == 1
    tuner.oracle.verbose = 0
    search(make(x_of, x_of, max_trials=4))
    assert "Running Trial" not in capsys.readouterr().out
