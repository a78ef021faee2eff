import numpy as np
import pytest
from keras_initx.tuning.stats import compare
from keras_initx.tuning.study.results import Sample
from scipy import stats

pytestmark = pytest.mark.one_backend


def sample(*values):
    return Sample(tuple(values))


def test_of_two_groups_it_is_welchs_test_with_welchs_interval():
    a, b = (0.91, 0.94, 0.90, 0.95, 0.93), (0.80, 0.88, 0.79, 0.91)
    found = compare({"a": sample(*a), "b": sample(*b)})[0]
    welch = stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert (found.better, found.worse, found.n) == ("a", "b", 4)
    assert found.p == pytest.approx(welch.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert found.real == (welch.pvalue < 0.05)
    assert not found.simultaneous


def test_of_three_groups_it_is_games_howell_by_hand():
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


def test_without_a_spread_nothing_is_claimed():
    found = compare({"a": sample(0.9, 0.9), "b": sample(0.8, 0.8)})[0]
    assert not found.real
    assert "no test is possible" in found.describe()
    assert compare({"a": sample(0.9, 0.9), "b": sample(0.1, 0.2)})[0].p > 0


def test_the_sentence_says_who_wins_by_how_much_and_whether_it_is_real():
    real = compare({"he": sample(0.95, 0.96, 0.95), "zeros": sample(0.10, 0.11, 0.12)})[0].describe()
    assert real.startswith("he beats zeros by 84.3 points (95 % interval ")
    assert real.endswith("real at n=3.")
    unclear = compare({"a": sample(0.2, 0.9), "b": sample(0.1, 0.7)})[0].describe()
    assert unclear.startswith("a and b are not distinguishable at n=2")
    assert "-100.0 to 100.0" in unclear
