"""Test which settings differ by more than chance, given a few runs of each."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from scipy import stats

# Equal scores may differ by this relative error, because they are computed in float32.
ROUNDING = 1e-6


def score_format(score: float) -> str:
    """Return how to print scores of this size: three decimals, fewer above 100, digits below 0.001.

    Example:

    >>> [format(score, score_format(score)) for score in (0.9876, 123.456, 23480.5, 0.00012)]
    ['0.988', '123.5', '23480', '0.00012']
    """
    size = abs(score)
    if size < 1e-3 and size > 0:
        return ".3g"
    return ".3f" if size < 100 else ".1f" if size < 1e4 else ".0f" if size < 1e9 else ".4g"


@dataclass(frozen=True)
class Sample:
    """The scores of one setting over several seeds.

    Example:

    >>> Sample((0.9, 0.92, 0.94)).describe()
    '0.920 ± 0.020 (n=3)'
    """

    scores: tuple[float, ...]

    @property
    def n(self) -> int:
        """Return the number of seeds."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """Return the mean, or NaN if there is no score."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def std(self) -> float:
        """Return the standard deviation (n - 1 in the denominator), or NaN below two scores."""
        return float(np.std(self.scores, ddof=1)) if self.n > 1 else float("nan")

    def interval(
        self, confidence: float = 0.95, within: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[float, float]:
        """Return Student's t interval for the mean, clipped to `within`; (NaN, NaN) below two scores."""
        if self.n < 2:
            return float("nan"), float("nan")
        half = stats.t.ppf((1 + confidence) / 2, self.n - 1) * self.std / np.sqrt(self.n)
        return max(within[0], self.mean - float(half)), min(within[1], self.mean + float(half))

    def describe(self) -> str:
        """Return the mean ± standard deviation, to three decimals unless they are large or tiny, and n."""
        form = score_format(self.mean)
        spread = f" ± {self.std:{form}}" if self.n > 1 else ""
        return f"{self.mean:{form}}{spread} (n={self.n})"


@dataclass(frozen=True)
class GroupComparison:
    """The test result for one pair of groups.

    Attributes:
        better, worse: The names of the groups, the better mean first.
        difference: Mean of the better minus mean of the worse.
        low, high: The interval for the difference; NaN if no group has a spread.
        p: The p-value, corrected for the number of pairs.
        real: Whether the interval excludes zero.
        n: The number of runs of the smaller group.
        simultaneous: Whether the interval is one of several that hold together.
        points: Whether the scores are shares between 0 and 1, to be shown in percentage points.
        level: The interval holds with probability 1 - level.
    """

    better: str
    worse: str
    difference: float
    low: float
    high: float
    p: float
    real: bool
    n: int
    simultaneous: bool = False
    points: bool = True
    level: float = 0.05

    def describe(self) -> str:
        """Return the result as a sentence."""
        form = score_format(self.difference) if abs(self.difference) >= 100 else ".3g"
        points = f"{100 * self.difference:.1f} points" if self.points else f"{self.difference:{form}}"
        if self.low != self.low:
            return (
                f"{self.better} and {self.worse} differ by {points}, but every run of each gave the same "
                f"score: without a spread, no test is possible at n={self.n}."
            )
        confidence = f"{100 * (1 - self.level):.4g} % interval"
        kind = f"simultaneous {confidence}" if self.simultaneous else confidence
        # Scores between 0 and 1 cannot differ by more than 1.
        interval = f"{kind} {100 * max(self.low, -1.0):.1f} to {100 * min(self.high, 1.0):.1f}"
        if not self.points:
            interval = f"{kind} {self.low:{form}} to {self.high:{form}}"
        if self.real:
            return f"{self.better} beats {self.worse} by {points} ({interval}): real at n={self.n}."
        return (
            f"{self.better} and {self.worse} are not distinguishable at n={self.n} "
            f"(difference {points}, {interval})."
        )


def compare(groups: Mapping[str, Sample], families: int = 1) -> list[GroupComparison]:
    """Compare all pairs of groups by the Games-Howell test, without assuming equal variances or equal n.

    Args:
        groups: The samples by name, at least two runs each. For two groups the test is Welch's.
        families: The number of such sets of groups that are tested together. Each gets 5 % / families
            (Bonferroni), so that at most 5 % of studies make any wrong claim.

    Example:

    >>> a, b = Sample((0.90, 0.91, 0.92)), Sample((0.70, 0.72, 0.71))
    >>> compare({"a": a, "b": b})[0].real
    True
    """
    names = list(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        test = stats.tukey_hsd(*(groups[name].scores for name in names), equal_var=False)
        interval = test.confidence_interval(1 - 0.05 / families)
    comparisons = []
    for one, two in combinations(names, 2):
        if groups[one].mean < groups[two].mean:
            one, two = two, one
        i, j = names.index(one), names.index(two)
        low, high = float(interval.low[i, j]), float(interval.high[i, j])
        p = min(1.0, float(test.pvalue[i, j]) * families)
        size = max(abs(score) for name in (one, two) for score in groups[name].scores)
        if max(groups[one].std, groups[two].std) <= ROUNDING * size:
            # Every run of a group gave the same score, as happens on small test sets: no spread, no test.
            low = high = p = float("nan")
        comparisons.append(
            GroupComparison(
                one,
                two,
                groups[one].mean - groups[two].mean,
                low,
                high,
                p,
                low > 0,
                min(groups[one].n, groups[two].n),
                families > 1 or len(names) > 2,
            )
        )
    return comparisons


# At most this share of races makes any wrong claim.
LEVEL = 0.05
# Fewer pairs do not determine a spread.
_MIN_PAIRS = 3

Scores = Mapping[int, float]


def paired(
    groups: Mapping[str, Scores], direction: str = "max", level: float = LEVEL, points: bool = True
) -> GroupComparison:
    """Compare two settings over their common seeds by Student's t test of the differences.

    A seed fixes the order of the batches and the dropout of both settings, so the differences vary less
    than the scores.

    Args:
        groups: Two names, each with its scores by seed; at least two seeds must be common.
        direction: "max" or "min", whichever mean is better.
        level: The interval holds with probability 1 - level.
        points: Whether the scores are shares, to be shown in percentage points.

    Example:

    >>> a, b = {0: 0.90, 1: 0.80, 2: 0.70}, {0: 0.89, 1: 0.785, 2: 0.69}
    >>> paired({"a": a, "b": b}).real
    True
    """
    one, two = groups
    sign = 1.0 if direction == "max" else -1.0
    seeds = sorted(groups[one].keys() & groups[two].keys())
    differences = sign * np.array([groups[one][seed] - groups[two][seed] for seed in seeds])
    if differences.mean() < 0:
        one, two, differences = two, one, -differences
    mean, low, high, p = float(differences.mean()), float("nan"), float("nan"), float("nan")
    # If all differences are equal, up to float32 rounding, there is no spread and no test.
    sizes = [abs(score) for scores in groups.values() for score in scores.values()]
    if np.ptp(differences) > ROUNDING * max(sizes):
        test = stats.ttest_1samp(differences, 0.0)
        interval = test.confidence_interval(1 - level)
        low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return GroupComparison(one, two, mean, low, high, p, low > 0, len(seeds), points=points, level=level)


def level_of(trials: int, seeds: int) -> float:
    """Return alpha_k of `still_in` for a race of `trials` trials, after `seeds` seeds of a pair."""
    look = seeds - _MIN_PAIRS + 1
    return LEVEL / (trials * (trials - 1) / 2) / (look * (look + 1)) if look > 0 else 0.0


def still_in(scores: Mapping[int, Scores], direction: str, ever: int = 0) -> list[int]:
    """Return the trials of a race that are not beaten yet.

    Each pair is tested after every seed from the third on. The worse trial is out if the p-value of the
    paired t test is below

        alpha_k = 0.05 / (m (m - 1) / 2) / (k (k + 1)),

    where m is the number of trials that have ever been in the race and k the number of the look. The terms
    1 / (k (k + 1)) sum to 1, so all looks at all pairs together err in at most 5 % of races (Bonferroni),
    however long the races last. m does not fall when a trial leaves, because the earlier looks have already
    spent their share of the 5 %.

    Args:
        scores: The scores of each trial by the seeds of the race. The seeds that a trial was selected on
            do not count: selection favors trials whose scores are high by chance.
        direction: "max" or "min".
        ever: m, if it exceeds the number of trials in `scores` because runs of other trials failed.

    Example:

    >>> still_in({3: {5: 0.90, 6: 0.91, 7: 0.92}, 4: {5: 0.50, 6: 0.52, 7: 0.51}}, "max")
    [3]
    """
    out: set[int] = set()
    for one, two in combinations(scores, 2):
        n = len(scores[one].keys() & scores[two].keys())
        if n < _MIN_PAIRS:
            continue
        comparison = paired({str(one): scores[one], str(two): scores[two]}, direction)
        if comparison.p < level_of(max(len(scores), ever), n):
            out.add(int(comparison.worse))
    return [trial for trial in scores if trial not in out]


def further_seeds(seeds: Sequence[int], count: int) -> list[int]:
    """Return `count` seeds that follow the last of `seeds` and are not among them.

    >>> further_seeds((0, 1, 2), 2)
    [3, 4]
    """
    return list(islice((s % 2**32 for s in itertools.count(seeds[-1] + 1) if s % 2**32 not in seeds), count))


def next_runs(
    scores: Mapping[int, Scores], direction: str, seeds: list[int], budget: int, ever: int = 0
) -> list[tuple[int, int]]:
    """Return the runs (trial, seed) that a race needs next: none if it is decided or its budget is spent.

    Every trial that is still in gets the same number of seeds, one seed after another.

    Args:
        scores: The scores so far, as in `still_in`.
        direction: "max" or "min".
        seeds: The seeds of the race, in order.
        budget: The number of runs that the race may have in total.
        ever: As in `still_in`.
    """
    left = budget - sum(len(s) for s in scores.values())
    racing = still_in(scores, direction, ever)
    if len(racing) < 2 or left < 1:
        return []
    fewest = min(len(scores[trial]) for trial in racing)
    if fewest >= len(seeds):
        return []
    waiting = [trial for trial in racing if len(scores[trial]) == fewest]
    # A round that the budget cuts short gives no pairs for its seed.
    complete = len(racing) - len(waiting) > 0 or left >= len(waiting)
    return [(trial, seeds[fewest]) for trial in waiting[:left]] if complete else []
