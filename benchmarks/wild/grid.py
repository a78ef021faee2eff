"""The rates that a model is trained at: 1/3, 1 and 3 times the source's, and further where needed."""

import math
from collections.abc import Iterator

import numpy as np

from wild.registry import MODELS

STARTS = ("keras", "initialize")
FACTORS = (1 / 3, 1.0, 3.0)
WIDEST = 27.0


def scaled(row: dict, start: str) -> dict[float, np.ndarray]:
    """Return the measure by factor, one value a seed: its logarithm, or nats; inf if it is not finite."""
    in_nats = MODELS[row["model"]].in_nats
    values: dict[float, list[float]] = {}
    for run in row["runs"]:
        if run["start"] == start:
            last = math.inf if run["last"] is None else run["last"]
            last = last if in_nats or last == math.inf else math.log(max(last, 1e-12))
            values.setdefault(run["factor"], []).append(last)
    return {factor: np.array(values[factor]) for factor in sorted(values)}


def best_factor(row: dict, start: str) -> float | None:
    """Return the factor with the best mean over the seeds; None if none ends finite on every seed."""
    means = {factor: float(np.mean(values)) for factor, values in scaled(row, start).items()}
    best = min(means, key=means.get, default=None)
    return best if best is not None and math.isfinite(means[best]) else None


def next_factor(row: dict) -> float | None:
    """Return a factor beyond the edge of the grid where a start is best; None if there is none to try."""
    for start in STARTS:
        tried = list(scaled(row, start))
        if not tried:
            continue
        best = best_factor(row, start)
        if best == tried[-1] and tried[-1] < WIDEST:
            return _power_of_3(tried[-1], 1)
        if best in (None, tried[0]) and tried[0] > 1 / WIDEST:
            return _power_of_3(tried[0], -1)
    return None


def _power_of_3(factor: float, more: int) -> float:
    # Powers, not products: a row that was read from a file must meet exactly the same factors again.
    return 3.0 ** (round(math.log(factor, 3)) + more)


def factors(row: dict, first: tuple[float, ...], *, widens: bool) -> Iterator[float]:
    """Yield the factors to train at, `first` and then those that the runs of the row ask for by then."""
    yield from first
    while widens and (factor := next_factor(row)) is not None:
        yield factor
