"""More seeds for the best trials, until they separate: a race whose error is known beforehand."""

import itertools
from collections.abc import Mapping, Sequence
from itertools import combinations, islice

import numpy as np
from scipy import stats

from .comparison import ROUNDING, Comparison

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
