"""Histograms of tensors: bounded, whatever their size."""

import numpy as np

from keras_initx._event_files import Histogram

BINS = 64
# More values than these say no more about a histogram of so many bins, and cost.
VALUES = 2**17


def thinned(values: np.ndarray) -> np.ndarray:
    """All values in a row, as float64; of more than `VALUES` as many, drawn with replacement.

    The draws are always the same: looking twice at the same tensor shows the same.
    """
    flat = np.reshape(values, -1)
    if flat.size > VALUES:
        # Not every n-th: that would be the same few units of a layer of n units.
        flat = flat[np.random.default_rng(0).integers(flat.size, size=VALUES)]
    return flat.astype("float64")


def histogram_of(values: np.ndarray) -> Histogram | None:
    """The histogram of the finite ones among the values, as `thinned`; None where there is none.

    Equal values are all in one bin, in the middle of a range of width 1, or less for small ones.

    Example:

    >>> found = histogram_of(np.array([0.0, 1.0, 1.0, float("nan")]))
    >>> found.edges[0], found.edges[-1], sum(found.counts)
    (0.0, 1.0, 3)
    """
    flat = thinned(values)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return None
    low, high = float(np.min(flat)), float(np.max(flat))
    # The edges must differ: a range of equal values, or of almost equal large ones, has no width.
    if high - low <= BINS * np.spacing(max(abs(low), abs(high))):
        reach = 0.5 * abs(low) if low else 0.5
        low, high = low - reach, high + reach
    counts, edges = np.histogram(flat, bins=BINS, range=(low, high))
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))
