"""Paired tests against SciPy, and a race that errs no more often than it says."""

import io

import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning.report.lead import describe_lead
from keras_initx.tuning.stats import LEVEL, further_seeds, level_of, next_runs, paired, still_in
from keras_initx.tuning.study.results import TrialResult, best_trial
from keras_initx.tuning.training.tuner import InitializerTuner
from rich.console import Console
from scipy import stats

pytestmark = pytest.mark.one_backend


class TestPaired:
    def test_is_scipys_test_of_the_common_seeds(self):
        generator = np.random.default_rng(0)
        a = dict(enumerate(generator.normal(0.9, 0.04, 9)))
        b = {seed: score - 0.01 + generator.normal(0, 0.005) for seed, score in a.items() if seed != 4}
        found = paired({"a": a, "b": b})
        seeds = sorted(b)
        test = stats.ttest_rel([a[s] for s in seeds], [b[s] for s in seeds])
        interval = test.confidence_interval(0.95)
        assert (found.better, found.worse, found.n) == ("a", "b", 8)
        assert found.p == pytest.approx(test.pvalue)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.real
        # A seed that both share moves both: as if they were not paired nothing could be told.
        assert stats.ttest_ind([a[s] for s in seeds], [b[s] for s in seeds]).pvalue > 0.05

    @pytest.mark.parametrize("direction", ["max", "min"])
    def test_the_better_comes_first(self, direction):
        found = paired({"a": {0: 1.0, 1: 1.1, 2: 0.9}, "b": {0: 2.0, 1: 2.3, 2: 2.1}}, direction)
        assert (found.better, found.worse) == (("b", "a") if direction == "max" else ("a", "b"))
        assert found.difference == pytest.approx(3.4 / 3)

    def test_without_a_spread_nothing_is_told(self):
        found = paired({"a": {0: 0.9, 1: 0.8}, "b": {0: 0.7, 1: 0.6}})
        assert not found.real
        assert "without a spread" in found.describe()

    def test_units(self):
        groups = {"a": {0: 2.0, 1: 2.2, 2: 2.1}, "b": {0: 4.0, 1: 4.1, 2: 4.3}}
        assert "points" not in paired(groups, "min", points=False).describe()
        assert paired(groups, "min", points=False).describe().startswith("a beats b by 2.03")


def run_race(generator, means, budget=60, spread=1.0):
    scores = {n: {} for n in range(len(means))}
    while runs := next_runs(scores, "max", list(range(30)), budget):
        for trial, seed in runs:
            scores[trial][seed] = generator.normal(means[trial], spread)
    return scores


class TestRace:
    def test_the_levels_of_all_looks_and_pairs_add_up_to_five_per_cent(self):
        for trials in (2, 3, 5):
            total = sum(level_of(trials, n) for n in range(1, 10_000)) * trials * (trials - 1) / 2
            assert total == pytest.approx(LEVEL, rel=1e-3)
            assert total <= LEVEL

    def test_equals_are_seldom_told_apart(self):
        generator = np.random.default_rng(0)
        wrong = sum(len(still_in(run_race(generator, (0, 0, 0)), "max")) < 3 for _ in range(200))
        # Of 200 races 10 at most in the mean; three standard deviations more.
        assert wrong <= 10 + 3 * np.sqrt(200 * 0.05 * 0.95)

    def test_a_clear_winner_is_found_and_saves_runs(self):
        generator, used = np.random.default_rng(0), []
        for _ in range(20):
            scores = run_race(generator, (0, 3, 0), spread=0.3)
            assert still_in(scores, "max") == [1]
            used.append(sum(map(len, scores.values())))
        assert np.mean(used) < 30

    def test_lower_may_be_better(self):
        scores = {7: {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.05}, 8: {0: 3.0, 1: 3.2, 2: 2.9, 3: 3.1}}
        assert still_in(scores, "min") == [7]
        assert still_in(scores, "max") == [8]

    def test_one_that_left_the_race_makes_no_look_cheaper(self):
        scores = {0: {5: 0.85, 6: 1.0, 7: 1.2}, 1: {5: 0.0, 6: 0.0, 7: 0.0}}
        p = paired({str(n): s for n, s in scores.items()}).p
        assert level_of(3, 3) < p < level_of(2, 3)
        assert still_in(scores, "max") == [0]
        assert next_runs(scores, "max", [5, 6, 7, 8], 9) == []
        assert still_in(scores, "max", ever=3) == [0, 1]
        assert next_runs(scores, "max", [5, 6, 7, 8], 9, ever=3) == [(0, 8), (1, 8)]
        # One that comes later counts likewise, in looks at all pairs.
        assert still_in({**scores, 2: {}}, "max", ever=2) == [0, 1, 2]

    def test_every_trial_gets_the_same_seeds_and_no_more_than_the_budget(self):
        scores = run_race(np.random.default_rng(0), (0, 0, 0), budget=10)
        assert [list(s) for s in scores.values()] == [[0, 1, 2]] * 3

    def test_a_seed_that_was_interrupted_is_finished_first(self):
        assert next_runs({1: {5: 0.1}, 2: {}}, "max", [5, 6], 4) == [(2, 5)]

    def test_no_seeds_left(self):
        assert next_runs({1: {5: 0.1}, 2: {5: 0.2}}, "max", [5], 9) == []
        assert next_runs({1: {}}, "max", [5], 9) == []
        assert next_runs({1: {}, 2: {}}, "max", [5], 0) == []

    def test_further_seeds(self):
        assert further_seeds((4, 0, 5), 3) == [6, 7, 8]
        assert further_seeds((0, 2**32 - 1), 2) == [1, 2]

    def test_rounding_tells_nothing(self):
        # A second trial that is the first one but for the last bit of float32.
        generator = np.random.default_rng(0)
        one = {seed: float(np.float32(v)) for seed, v in enumerate(generator.uniform(0.5, 0.9, 12))}
        two = {seed: float(np.nextafter(np.float32(v), np.float32(1))) for seed, v in one.items()}
        assert still_in({1: one, 2: two}, "max") == [1, 2]
        assert not paired({"a": one, "b": two}).real

    def test_the_level_of_the_interval_is_told(self):
        groups = {"a": {0: 2.0, 1: 2.2, 2: 2.1}, "b": {0: 4.0, 1: 4.1, 2: 4.3}}
        assert "98.33 % interval" in paired(groups, level=0.05 / 3).describe()


def first_by(direction, trials):
    racing = {t.number: np.mean(list(t.scores(race=True).values())) for t in trials if t.race}
    return (max if direction == "max" else min)(racing, key=racing.get)


class TestInASearch:
    def test_the_best_get_further_seeds_and_decide(self, quick, tmp_path):
        options = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
        result = quick(extra_seeds=6, **options)
        racing = [t for t in result.trials if t.race]
        assert len(racing) == 3
        assert {t.race for t in racing} == {(2, 3)}
        assert all(list(t.seeds) == [0, 1, 2, 3] for t in racing)
        means = {t.number: np.mean([t.seeds[s]["score"] for s in t.race]) for t in racing}
        assert means[result.best.number] == max(means.values())
        assert "in the race" in result.verdict()
        # A seed of a race is a run as any other: of these seeds a search finds the same scores.
        other = quick(**{**options, "seeds": [2, 3]}, results=tmp_path / "b", logs=tmp_path / "c")
        for trial in racing:
            assert [other.trials[trial.number].seeds[s]["score"] for s in (2, 3)] == [
                trial.seeds[s]["score"] for s in (2, 3)
            ]

    def test_resuming_runs_only_what_is_missing(self, quick, recorder):
        options = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
        quick(extra_seeds=3, **options)
        watch = recorder()
        result = quick(extra_seeds=9, resume=True, observers=[watch], **options)
        assert sorted(watch.seeds) == sorted(
            (f"{t.number:04d}", s) for t in result.trials if t.race for s in (3, 4)
        )

    def test_the_verdict_without_a_race(self, quick, pairs):
        options = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"]}
        assert "by which they were chosen" in quick(**options).verdict()
        tested = quick(data=(*pairs, pairs[1]), overwrite=True, **options)
        assert "on the test data" in tested.verdict()

    def test_a_race_that_is_over_is_only_read(self, quick, recorder):
        options = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
        first = quick(extra_seeds=6, **options)
        watch = recorder()
        again = quick(extra_seeds=6, resume=True, observers=[watch], **options)
        assert (watch.begun, watch.ended) == ([], [])
        assert [t.scores() for t in again.trials] == [t.scores() for t in first.trials]
        assert again.best.number == first.best.number

    def test_a_run_that_fails_puts_its_trial_out(self, quick, monkeypatch):
        options = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
        true = InitializerTuner.run_seed

        def run_seed(tuner, trial, seed):
            if seed == 3 and int(trial.trial_id) == best:
                raise FloatingPointError("val_accuracy was not finite")
            return true(tuner, trial, seed)

        best = quick(**options).best.number
        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)
        result = quick(extra_seeds=6, resume=True, **options)
        assert result.trials[best].out == "seed 3: FloatingPointError: val_accuracy was not finite"
        assert result.trials[best].race == (2,)
        assert result.best.number != best
        assert {t.race for t in result.trials if t.race and t.number != best} == {(2, 3)}
        assert sum(len(t.race) for t in result.trials) <= 6
        table = io.StringIO()
        Console(file=table, width=300).print(result.table())
        assert "completed: seed 3: FloatingPointError" in table.getvalue()

    def test_a_later_trial_may_win(self, quick):
        options = {"initializers": ["he_normal", "auto"], "seeds": 2, "tuner": "random", "enqueue": []}
        first = quick(extra_seeds=6, trials=2, **options)
        # Twice as many epochs would be another search: this one has other scores by hand.
        later = TrialResult(9, {}, "completed", seeds={0: {"score": 1.1}, 1: {"score": 1.2}})
        assert best_trial((*first.trials, later), "max").number == 9
        assert best_trial((*first.trials, later), "min").number == first_by("min", first.trials)
        raced = {t.number: t.race for t in first.trials}
        more = quick(extra_seeds=15, trials=3, resume=True, **options)
        assert len(more.trials[2].race) >= 3
        assert all(set(raced[n]) <= set(more.trials[n].race) for n in raced)
        assert sum(len(t.race) for t in more.trials) <= 15

    def test_two_seeds_tell_nothing(self):
        scores = {0: (0.9, 0.99), 1: (0.2, 0.3)}
        trials = [
            TrialResult(n, {}, "completed", seeds={s: {"score": v} for s, v in enumerate(given)}, race=(0, 1))
            for n, given in scores.items()
        ]
        objective = keras_tuner.Objective("val_accuracy", "max")
        assert describe_lead(trials, objective) == (
            "The best two in the race: at most 2 seeds each, which is too few to decide."
        )

    def test_the_lead_is_judged_at_the_level_of_all_that_raced(self):
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
    def test_bad_numbers(self, quick, extra):
        with pytest.raises(ValueError, match=r"^extra_seeds: received"):
            quick(extra_seeds=extra)
