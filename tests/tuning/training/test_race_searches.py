"""Test races in whole searches: who races, who wins, and what resuming runs."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner, SearchResult, TrialResult
from keras_initx.tuning.report.lead import describe_lead
from keras_initx.tuning.study.results import best_trial
from rich.console import Console

from tests.tuning.conftest import run_search

pytestmark = pytest.mark.one_backend

# Four trials, of which the best three race. Short runs, because these tests are about who runs what.
OPTIONS: dict[str, Any] = {
    "tuner": "grid",
    "trials": None,
    "initializers": ["he_normal", "auto"],
    "epochs": 1,
    "batch_size": 48,
    "screening": False,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: Any, pairs: Any, small_model: Callable[..., keras.Model]) -> SearchResult:
    """A finished search without a race, which no test may change."""
    return run_search(tmp_path_factory.mktemp("plain"), lambda: small_model(), pairs, **OPTIONS)


@pytest.fixture(scope="module")
def raced(
    plain: SearchResult, tmp_path_factory: Any, pairs: Any, small_model: Callable[..., keras.Model]
) -> SearchResult:
    """The search `plain`, resumed with six further runs for a race; no test may change it."""
    folder = tmp_path_factory.mktemp("raced")
    shutil.copytree(plain.folders.results.parent, folder, dirs_exist_ok=True)
    return run_search(folder, lambda: small_model(), pairs, **OPTIONS, extra_seeds=6, mode="resume")


@pytest.fixture
def resume(quick: Any, tmp_path: Path) -> Callable[..., SearchResult]:
    """Return a function that resumes a copy of a finished search."""

    def run(finished: SearchResult, **options: Any) -> SearchResult:
        shutil.copytree(finished.folders.results.parent, tmp_path, dirs_exist_ok=True)
        return quick(**{**OPTIONS, **options}, mode="resume")

    return run


def test_the_best_three_get_further_seeds_that_decide(quick: Any, raced: SearchResult) -> None:
    racing = [t for t in raced.trials if t.race]
    assert len(raced.trials) == 4
    assert len(racing) == 3
    assert {t.race for t in racing} == {(2, 3)}
    assert all(list(t.seeds) == [0, 1, 2, 3] for t in racing)
    means = {t.number: np.mean([t.seeds[s]["score"] for s in t.race]) for t in racing}
    assert means[raced.best.number] == max(means.values())
    assert "in the race" in raced.verdict()
    # A run in a race is like any other run: a search over these seeds gives the same scores.
    other = quick(**OPTIONS, seeds=[2, 3])
    for trial in racing:
        assert [other.trials[trial.number].seeds[s]["score"] for s in (2, 3)] == [
            trial.seeds[s]["score"] for s in (2, 3)
        ]


def test_resuming_runs_only_the_missing_seeds(raced: SearchResult, resume: Any, recorder: Any) -> None:
    observer = recorder()
    result = resume(raced, extra_seeds=9, observers=[observer])
    assert sorted(observer.seeds) == sorted((f"{t.number:04d}", 4) for t in result.trials if t.race)
    assert len(observer.seeds) == 3


def test_the_verdict_without_a_race(quick: Any, plain: SearchResult, pairs: Any) -> None:
    assert "by which they were chosen" in plain.verdict()
    tested = quick(data=(*pairs, pairs[1]), **OPTIONS)
    assert "on the test data" in tested.verdict()


def test_a_finished_race_is_only_read(raced: SearchResult, resume: Any, recorder: Any) -> None:
    observer = recorder()
    again = resume(raced, extra_seeds=6, observers=[observer])
    assert (observer.begun, observer.ended) == ([], [])
    assert [t.scores() for t in again.trials] == [t.scores() for t in raced.trials]
    assert again.best.number == raced.best.number


def test_a_failed_run_puts_its_trial_out(plain: SearchResult, resume: Any, monkeypatch: Any) -> None:
    run_seed = InitializerTuner.run_seed
    best = plain.best.number

    def failing(tuner: Any, trial: Any, seed: int) -> Any:
        if seed == 3 and int(trial.trial_id) == best:
            raise FloatingPointError("val_accuracy was not finite")
        return run_seed(tuner, trial, seed)

    monkeypatch.setattr(InitializerTuner, "run_seed", failing)
    result = resume(plain, extra_seeds=6)
    assert result.trials[best].out == "seed 3: FloatingPointError: val_accuracy was not finite"
    assert result.trials[best].race == (2,)
    assert result.best.number != best
    assert {t.race for t in result.trials if t.race and t.number != best} == {(2, 3)}
    assert sum(len(t.race) for t in result.trials) <= 6
    table = io.StringIO()
    Console(file=table, width=300).print(result.table())
    assert "completed: seed 3: FloatingPointError" in table.getvalue()


def first_by(direction: str, trials: Any) -> int:
    means = {t.number: np.mean(list(t.scores(race=True).values())) for t in trials if t.race}
    return (max if direction == "max" else min)(means, key=means.get)


def test_a_later_trial_may_win(quick: Any) -> None:
    options = {**OPTIONS, "tuner": "random", "enqueue": []}
    first = quick(**{**options, "trials": 2}, extra_seeds=6)
    # The search itself cannot give a later trial better scores, so write them by hand.
    later = TrialResult(9, {}, "completed", seeds={0: {"score": 1.1}, 1: {"score": 1.2}})
    assert best_trial((*first.trials, later), "max").number == 9
    assert best_trial((*first.trials, later), "min").number == first_by("min", first.trials)
    raced_seeds = {t.number: t.race for t in first.trials}
    more = quick(**{**options, "trials": 3}, extra_seeds=15, mode="resume")
    assert len(more.trials[2].race) >= 3
    assert all(set(raced_seeds[n]) <= set(more.trials[n].race) for n in raced_seeds)
    assert sum(len(t.race) for t in more.trials) <= 15


def test_two_seeds_separate_nothing():
    scores = {0: (0.9, 0.99), 1: (0.2, 0.3)}
    trials = [
        TrialResult(n, {}, "completed", seeds={s: {"score": v} for s, v in enumerate(values)}, race=(0, 1))
        for n, values in scores.items()
    ]
    objective = keras_tuner.Objective("val_accuracy", "max")
    assert describe_lead(trials, objective) == (
        "The best two in the race: at most 2 seeds each, which is too few to decide."
    )


def test_the_lead_is_judged_at_the_level_of_all_that_raced():
    scores = {0: (0.9, 1.0, 1.2), 1: (0.0, 0.0, 0.1)}
    trials = [
        TrialResult(n, {}, "completed", seeds=dict(enumerate({"score": v} for v in s)), race=(0, 1, 2))
        for n, s in scores.items()
    ]
    objective = keras_tuner.Objective("val_loss", "max")
    assert "97.5 % interval" in describe_lead(trials, objective)
    left = TrialResult(2, {}, "completed", seeds={0: {"score": 0.0}}, out="seed 5: failed")
    assert "99.17 % interval" in describe_lead([*trials, left], objective)


@pytest.mark.parametrize("extra", [-1, 1.5, True, "3"])
def test_bad_numbers_of_extra_seeds(quick: Any, extra: Any) -> None:
    with pytest.raises(ValueError, match=r"^`extra_seeds` must be an integer >= 0, got"):
        quick(extra_seeds=extra)
