"""Test the statistics against SciPy, and the error rate of races."""

import numpy as np
import pytest
from keras_initx.tuning.stats import (
    LEVEL,
    Sample,
    compare,
    further_seeds,
    level_of,
    next_runs,
    paired,
    still_in,
)
from scipy import stats

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def sample(*values):
    return Sample(tuple(values))


def test_two_groups_are_compared_by_welchs_test():
    a, b = (0.91, 0.94, 0.90, 0.95, 0.93), (0.80, 0.88, 0.79, 0.91)
    comparison = compare({"a": sample(*a), "b": sample(*b)})[0]
    welch = stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (comparison.better, comparison.worse, comparison.n) == ("a", "b", 4)
    assert comparison.p == pytest.approx(welch.pvalue, rel=1e-6)
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert comparison.real == (welch.pvalue < 0.05)
    assert not comparison.simultaneous


def test_three_groups_are_compared_by_games_howell():
    groups = {
        "a": (0.91, 0.94, 0.90, 0.95, 0.93),
        "b": (0.80, 0.88, 0.79, 0.91, 0.70),
        "c": (0.92, 0.93, 0.95),
    }
    for pair in compare({name: sample(*values) for name, values in groups.items()}):
        x, y = np.array(groups[pair.better]), np.array(groups[pair.worse])
        u, v = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
        df = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1))
        q = (x.mean() - y.mean()) / np.sqrt((u + v) / 2)
        half = stats.studentized_range.ppf(0.95, 3, df) * np.sqrt((u + v) / 2)
        assert pair.p == pytest.approx(stats.studentized_range.sf(q, 3, df), rel=1e-4)
        assert pair.low == pytest.approx(x.mean() - y.mean() - half, rel=1e-4)
        assert pair.simultaneous


def test_families_widen_the_interval_and_correct_p():
    groups = {"a": sample(0.91, 0.94, 0.90), "b": sample(0.80, 0.88, 0.79)}
    one, three = compare(groups)[0], compare(groups, families=3)[0]
    assert three.low < one.low
    assert three.p == pytest.approx(3 * one.p)


def test_groups_without_a_spread_are_not_tested():
    comparison = compare({"a": sample(0.9, 0.9), "b": sample(0.8, 0.8)})[0]
    assert not comparison.real
    assert "no test is possible" in comparison.describe()
    assert compare({"a": sample(0.9, 0.9), "b": sample(0.1, 0.2)})[0].p > 0


def test_the_sentence_names_the_winner_the_lead_and_whether_it_is_real():
    real = compare({"he": sample(0.95, 0.96, 0.95), "zeros": sample(0.10, 0.11, 0.12)})[0].describe()
    assert real.startswith("he beats zeros by 84.3 points (95 % interval ")
    assert real.endswith("real at n=3.")
    unclear = compare({"a": sample(0.2, 0.9), "b": sample(0.1, 0.7)})[0].describe()
    assert unclear.startswith("a and b are not distinguishable at n=2")
    assert "-100.0 to 100.0" in unclear


class TestPaired:
    def test_is_scipys_test_of_the_common_seeds(self):
        generator = np.random.default_rng(0)
        a = dict(enumerate(generator.normal(0.9, 0.04, 9)))
        b = {seed: score - 0.01 + generator.normal(0, 0.005) for seed, score in a.items() if seed != 4}
        comparison = paired({"a": a, "b": b})
        seeds = sorted(b)
        expected = stats.ttest_rel([a[s] for s in seeds], [b[s] for s in seeds])
        interval = expected.confidence_interval(0.95)
        assert (comparison.better, comparison.worse, comparison.n) == ("a", "b", 8)
        assert comparison.p == pytest.approx(expected.pvalue)
        assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))
        assert comparison.real
        # A common seed moves both scores, so a test without pairs would find nothing.
        assert stats.ttest_ind([a[s] for s in seeds], [b[s] for s in seeds]).pvalue > 0.05

    @pytest.mark.parametrize("direction", ["max", "min"])
    def test_the_better_comes_first(self, direction):
        comparison = paired({"a": {0: 1.0, 1: 1.1, 2: 0.9}, "b": {0: 2.0, 1: 2.3, 2: 2.1}}, direction)
        assert (comparison.better, comparison.worse) == (("b", "a") if direction == "max" else ("a", "b"))
        assert comparison.difference == pytest.approx(3.4 / 3)

    def test_without_a_spread_there_is_no_test(self):
        comparison = paired({"a": {0: 0.9, 1: 0.8}, "b": {0: 0.7, 1: 0.6}})
        assert not comparison.real
        assert "without a spread" in comparison.describe()

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

    def test_equal_trials_are_seldom_separated(self):
        generator = np.random.default_rng(0)
        wrong = sum(len(still_in(run_race(generator, (0, 0, 0)), "max")) < 3 for _ in range(200))
        # At most 10 of 200 races on average, plus three standard deviations.
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

    def test_a_trial_that_left_still_counts_in_the_level(self):
        scores = {0: {5: 0.85, 6: 1.0, 7: 1.2}, 1: {5: 0.0, 6: 0.0, 7: 0.0}}
        p = paired({str(n): s for n, s in scores.items()}).p
        assert level_of(3, 3) < p < level_of(2, 3)
        assert still_in(scores, "max") == [0]
        assert next_runs(scores, "max", [5, 6, 7, 8], 9) == []
        assert still_in(scores, "max", ever=3) == [0, 1]
        assert next_runs(scores, "max", [5, 6, 7, 8], 9, ever=3) == [(0, 8), (1, 8)]
        # A trial that joins later counts in the level of all looks as well.
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

    def test_rounding_errors_separate_nothing(self):
        # The second trial differs from the first in the last bit of float32.
        generator = np.random.default_rng(0)
        one = {seed: float(np.float32(v)) for seed, v in enumerate(generator.uniform(0.5, 0.9, 12))}
        two = {seed: float(np.nextafter(np.float32(v), np.float32(1))) for seed, v in one.items()}
        assert still_in({1: one, 2: two}, "max") == [1, 2]
        assert not paired({"a": one, "b": two}).real

    def test_the_sentence_names_the_level_of_the_interval(self):
        groups = {"a": {0: 2.0, 1: 2.2, 2: 2.1}, "b": {0: 4.0, 1: 4.1, 2: 4.3}}
        assert "98.33 % interval" in paired(groups, level=0.05 / 3).describe()
