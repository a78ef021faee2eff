"""A sampler that replaces repeated combinations."""

from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from optuna.trial import TrialState

from tests.tuning.study.plain_tuner import numbers, run

pytestmark = pytest.mark.one_backend


def points(hp: Any) -> None:
    hp.Int("a", 1, 5)
    hp.Choice("b", ["x", "y"])


def scopes(hp: Any) -> None:
    hp.Boolean("deep")
    with hp.conditional_scope("deep", [True]):
        hp.Int("layers", 1, 3)


def score(hp: Any) -> float:
    return float(hp.get("a"))


MULTIVARIATE = optuna.samplers.TPESampler(seed=0, multivariate=True, n_startup_trials=2)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", MULTIVARIATE])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_point_once_then_it_ends(tmp_path: Path, sampler: Any) -> None:
    tuner = run(tmp_path, score, points, trials=30, sampler=sampler)
    assert len(tuner.seen) == len({tuple(values.items()) for values in tuner.seen}) == 10
    assert tuner.oracle.frozen_trials() == [t for t in tuner.oracle.study.trials if t.params]


def test_points_under_conditions(tmp_path: Path) -> None:
    tuner = run(tmp_path, lambda hp: 1.0, scopes, trials=20, sampler="random")
    assert len(tuner.seen) == len({tuple(values.items()) for values in tuner.seen}) == 4


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_values_are_the_samplers_own_without_a_repetition(tmp_path: Path, sampler: str) -> None:
    one = run(tmp_path / "one", lambda hp: hp.get("x"), numbers, trials=14, sampler=sampler).seen
    two = run(
        tmp_path / "two", lambda hp: hp.get("x"), numbers, trials=14, sampler=sampler, repeats=True
    ).seen
    assert one == two


def test_failed_points_are_not_tried_again(tmp_path: Path) -> None:
    def fails(hp: Any) -> float:
        raise ValueError("broken")

    tuner = run(tmp_path, fails, scopes, trials=20, sampler="random", max_consecutive_failed_trials=99)
    assert len(tuner.seen) == 4
    assert {t.state for t in tuner.oracle.frozen_trials()} == {TrialState.FAIL}


def test_enqueued_candidate_runs_again(tmp_path: Path) -> None:
    twice = [{"a": 3, "b": "x"}, {"a": 3}]
    tuner = run(tmp_path, score, points, trials=9, sampler="random", enqueue=twice)
    assert tuner.seen[0] == {"a": 3, "b": "x"}
    # What the candidate leaves open differs.
    assert tuner.seen[1] == {"a": 3, "b": "y"}
    whole = [{"a": 3, "b": "x"}] * 2
    tuner = run(tmp_path / "whole", score, points, trials=2, sampler="random", enqueue=whole, seed=4)
    assert tuner.seen[0] == {"a": 3, "b": "x"}


def test_random_search_of_keras_tuner_as_a_sampler_ends(tmp_path: Path) -> None:
    objective = keras_tuner.Objective("default_objective", "min")
    for repeats, trials in ((False, 4), (True, 7)):
        oracle = keras_tuner.oracles.RandomSearchOracle(objective, max_trials=99, seed=0)
        tuner = run(
            tmp_path / str(repeats), lambda hp: 1.0, scopes, trials=7, sampler=oracle, repeats=repeats
        )
        assert len(tuner.seen) == trials
