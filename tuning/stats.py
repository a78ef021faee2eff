"""Which of several means differ for more than chance, from a few runs of each."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from scipy import stats

# By what part float32 may tell equal scores apart.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Sample:
    """Scores of one setting over seeds, and what they say of its mean.

    Example:

    >>> Sample((0.9, 0.92, 0.94)).describe()
    '0.920 ± 0.020 (n=3)'
    """

    scores: tuple[float, ...]

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """The mean; NaN of no score."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def std(self) -> float:
        """The standard deviation (n - 1 in the denominator); NaN below two scores."""
        return float(np.std(self.scores, ddof=1)) if self.n > 1 else float("nan")

    def interval(
        self, confidence: float = 0.95, within: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[float, float]:
        """Student's t interval for the mean, cut to what the metric can be; (NaN, NaN) below two scores."""
        if self.n < 2:
            return float("nan"), float("nan")
        half = stats.t.ppf((1 + confidence) / 2, self.n - 1) * self.std / np.sqrt(self.n)
        return max(within[0], self.mean - float(half)), min(within[1], self.mean + float(half))

    def describe(self) -> str:
        """Mean ± standard deviation and n, in three digits."""
        spread = f" ± {self.std:.3f}" if self.n > 1 else ""
        return f"{self.mean:.3f}{spread} (n={self.n})"


@dataclass(frozen=True)
class Comparison:
    """One pair of groups.

    Attributes:
        better, worse: Their names, the higher mean first.
        difference: Mean of the better minus mean of the worse.
        low, high: The interval for the difference; NaN where no group has a spread.
        p: The p-value, corrected for the number of pairs.
        real: Whether the interval leaves zero out.
        n: The runs of the smaller group.
        simultaneous: Whether the interval is one of several that hold together.
        points: Whether the figures are shares between 0 and 1, to be told in percentage points.
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
        """The finding in a sentence."""
        points = f"{100 * self.difference:.1f} points" if self.points else f"{self.difference:.3g}"
        if self.low != self.low:
            return (
                f"{self.better} and {self.worse}: every run of each gave the same figure, {points} apart: "
                f"without a spread nothing can be tested at n={self.n}."
            )
        confidence = f"{100 * (1 - self.level):.4g} % interval"
        kind = f"simultaneous {confidence}" if self.simultaneous else confidence
        # Of figures between 0 and 1, differences beyond +-1 cannot be.
        interval = f"{kind} {100 * max(self.low, -1.0):.1f} to {100 * min(self.high, 1.0):.1f}"
        if not self.points:
            interval = f"{kind} {self.low:.3g} to {self.high:.3g}"
        if self.real:
            return f"{self.better} beats {self.worse} by {points} ({interval}): real at n={self.n}."
        return (
            f"{self.better} and {self.worse} are not distinguishable at n={self.n} "
            f"(difference {points}, {interval})."
        )


def compare(groups: Mapping[str, Sample], families: int = 1) -> list[Comparison]:
    """All pairs of groups, by the Games-Howell test: neither equal variances nor equal n assumed.

    Args:
        groups: At least two runs of each; of two groups the test is Welch's.
        families: How many such sets of groups are tested together. Each gets 5 % / families
            (Bonferroni), so that all claims together are wrong in at most 5 % of studies.

    Example:

    >>> a, b = Sample((0.90, 0.91, 0.92)), Sample((0.70, 0.72, 0.71))
    >>> compare({"a": a, "b": b})[0].real
    True
    """
    names = list(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        test = stats.tukey_hsd(*(groups[name].scores for name in names), equal_var=False)
        interval = test.confidence_interval(1 - 0.05 / families)
    found = []
    for one, two in combinations(names, 2):
        if groups[one].mean < groups[two].mean:
            one, two = two, one
        i, j = names.index(one), names.index(two)
        low, high = float(interval.low[i, j]), float(interval.high[i, j])
        p = min(1.0, float(test.pvalue[i, j]) * families)
        size = max(abs(score) for name in (one, two) for score in groups[name].scores)
        if max(groups[one].std, groups[two].std) <= ROUNDING * size:
            # Every run of a group gave the same figure, which small test sets do: no spread, no test.
            low = high = p = float("nan")
        found.append(
            Comparison(
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
    return found


# All claims of a race together are wrong in at most so many of 100 searches.
LEVEL = 0.05


# Fewer pairs tell nothing of a spread.
_FEWEST = 3


Scores = Mapping[int, float]


def paired(
    groups: Mapping[str, Scores], direction: str = "max", level: float = LEVEL, points: bool = True
) -> Comparison:
    """Two settings over the seeds that both have run: Student's t test of the differences.

    A seed decides the order of the batches and the dropout of both, so that the differences vary less than
    the scores do.

    Args:
        groups: Two names, each with its score for each seed; at least two seeds in common.
        direction: "max" or "min": which of the two means is the better.
        level: The interval holds with probability 1 - level.
        points: Whether the scores are shares, to be told in percentage points.

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
    # Where all differences are the same there is no spread, and no test; rounding in float32 is none.
    sizes = [abs(score) for scores in groups.values() for score in scores.values()]
    if np.ptp(differences) > ROUNDING * max(sizes):
        test = stats.ttest_1samp(differences, 0.0)
        interval = test.confidence_interval(1 - level)
        low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return Comparison(one, two, mean, low, high, p, low > 0, len(seeds), points=points, level=level)


def level_of(trials: int, seeds: int) -> float:
    """alpha_k of `still_in`, for so many trials in a race and so many seeds that two of them have run."""
    look = seeds - _FEWEST + 1
    return LEVEL / (trials * (trials - 1) / 2) / (look * (look + 1)) if look > 0 else 0.0


def still_in(scores: Mapping[int, Scores], direction: str, ever: int = 0) -> list[int]:
    """Which trials of a race are not yet beaten.

    Every pair is looked at after each seed from the third on, and one of the two is out when the paired t
    test's p is below

        alpha_k = 0.05 / (m (m - 1) / 2) / (k (k + 1)),

    m the number of trials that have ever been in the race, k the number of the look. The 1 / (k (k + 1)) add
    up to 1, so that all looks at all pairs together err in at most 5 % of races (Bonferroni), however long
    they last. Were m to fall when a trial leaves the race, the looks before would have spent what those
    after it are given.

    Args:
        scores: For each trial its scores for the seeds of the race: not those by which it came to it, since
            a trial that was chosen for its scores is flattered by them.
        direction: "max" or "min".
        ever: m, where trials have left the race that are not in `scores`, since a run of theirs failed.

    Example:

    >>> still_in({3: {5: 0.90, 6: 0.91, 7: 0.92}, 4: {5: 0.50, 6: 0.52, 7: 0.51}}, "max")
    [3]
    """
    out: set[int] = set()
    for one, two in combinations(scores, 2):
        n = len(scores[one].keys() & scores[two].keys())
        if n < _FEWEST:
            continue
        found = paired({str(one): scores[one], str(two): scores[two]}, direction)
        if found.p < level_of(max(len(scores), ever), n):
            out.add(int(found.worse))
    return [trial for trial in scores if trial not in out]


def further_seeds(seeds: Sequence[int], count: int) -> list[int]:
    """So many seeds that are none of the given ones, from the last of them on.

    >>> further_seeds((0, 1, 2), 2)
    [3, 4]
    """
    return list(islice((s % 2**32 for s in itertools.count(seeds[-1] + 1) if s % 2**32 not in seeds), count))


def next_runs(
    scores: Mapping[int, Scores], direction: str, seeds: list[int], budget: int, ever: int = 0
) -> list[tuple[int, int]]:
    """The runs (trial, seed) that a race needs next; none where it is decided, or its budget spent.

    Each trial that is still in gets the same number of seeds, one after another.

    Args:
        scores: As in `still_in`: what has been run.
        direction: "max" or "min".
        seeds: The seeds of the race, in their order.
        budget: How many runs the race may have in all.
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
    # A seed that only some of the pairs have run is no pair.
    whole = len(racing) - len(waiting) > 0 or left >= len(waiting)
    return [(trial, seeds[fewest]) for trial in waiting[:left]] if whole else []
