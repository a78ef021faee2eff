"""Which of several means differ for more than chance, from a few runs of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

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
