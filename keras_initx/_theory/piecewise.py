"""Split a function of one variable into the pieces on which it is smooth, each with its derivative.

The search finds kinks and jumps by itself: it halves every piece on which a polynomial of degree 16 does
not fit, until it fits or until the piece is so short that it is a kink. chebfun splits in the same way
(Pachon, Platte & Trefethen 2010, "Piecewise-smooth chebfuns", section 3). A feature narrower than 1/50 of
the pieces at the start of the search can fall between all sample points.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

Function = Callable[[np.ndarray], np.ndarray]

_DEGREE = 16
_MAX_PIECES = 100_000
_ROUNDING_MAX = 0.02
# The outermost nodes lie at the ends, so that no kink hides between a node and an end. They lie just inside,
# so that at a jump they take the value on the side of the piece.
_NODES = chebyshev.chebpts2(_DEGREE + 1) * (1 - 2e-9)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))
# Points at which the polynomial is compared with the function. The offset keeps them off the nodes and off
# round numbers, where kinks tend to be.
_CHECKS = -1 + 2 * (np.arange(47) + 0.4142) / 47
_POINTS = np.concatenate([_NODES, _CHECKS])
_AT_CHECKS = chebyshev.chebvander(_CHECKS, _DEGREE)


class TooRough(ArithmeticError):
    """The function cannot be split into smooth pieces; the message states what it would have to be."""


@dataclass(frozen=True)
class Side:
    """A side of a kink, or of a pole of the derivative.

    Attributes:
        at: The position of the kink.
        width: The length of the kink's neighbourhood on this side; the neighbourhood is not a smooth piece.
        slope: The derivative next to the neighbourhood.
        growth: The exponent e with which the squared derivative grows like distance^-e towards the kink:
            0 at a kink between two smooth sides, 1 or more if the square cannot be integrated.
    """

    at: float
    width: float
    slope: float
    growth: float


@dataclass(frozen=True)
class Pieces:
    """The pieces of a function between two points, in ascending order.

    Attributes:
        low, high: The ends of each piece, shape (pieces,).
        coefficients: Chebyshev coefficients on each piece, shape (17, pieces).
        kink: True for a piece that is the neighbourhood of a kink or a jump, too short to matter.
        rounding: The rounding error of the function, relative to its size: 1e-16 for a function that
            computes in float64, 1e-7 in float32.
    """

    low: np.ndarray
    high: np.ndarray
    coefficients: np.ndarray
    kink: np.ndarray
    rounding: float

    @property
    def kinks(self) -> np.ndarray:
        """The points at which the function or its derivative jumps."""
        return (self.low + self.high)[self.kink] / 2

    def derivative(self, nodes: np.ndarray) -> np.ndarray:
        """Return the derivative at `nodes` in [-1, 1] of every piece, shape (pieces, nodes); 0 in kinks."""
        slopes = chebyshev.chebval(nodes, chebyshev.chebder(self.coefficients)).reshape(-1, len(nodes))
        return np.where(self.kink[:, None], 0.0, slopes * (2 / (self.high - self.low))[:, None])

    def sides(self) -> list[Side]:
        """Return both sides of every kink."""
        # Take the mean slope of a whole piece: at a single point rounding could drown it.
        ends = chebyshev.chebval(np.array([-1.0, 1.0]), self.coefficients).reshape(-1, 2)
        slopes = (ends[:, 1] - ends[:, 0]) / (self.high - self.low)
        centres = (self.low + self.high) / 2
        sides = []
        kinks = np.flatnonzero(self.kink)
        # Adjacent neighbourhoods belong to one kink.
        for run in np.split(kinks, np.flatnonzero(np.diff(kinks) > 1) + 1) if len(kinks) else ():
            first, last = run[0], run[-1]
            at = (self.low[first] + self.high[last]) / 2
            for near, step in ((first - 1, -1), (last + 1, 1)):
                if not 0 <= near < len(slopes):
                    continue
                # Measure a few halvings away, where the uncertainty of `at` (one width) does not matter.
                close, far, growth = near + 3 * step, near + 9 * step, 0.0
                if (
                    0 <= far < len(slopes)
                    and not self.kink[min(near, far) : max(near, far) + 1].any()
                    and slopes[close] * slopes[far] > 0
                ):
                    ratio = slopes[close] / slopes[far]
                    distances = abs(centres[far] - at) / abs(centres[close] - at)
                    growth = max(0.0, 2 * float(np.log(ratio) / np.log(distances)))
                width = float(abs((self.low[near] if step > 0 else self.high[near]) - at))
                sides.append(Side(float(at), width, float(slopes[near]), growth))
        return sides


def pieces(function: Function, edges: Iterable[float]) -> Pieces:
    """Split `function` into smooth pieces, starting from the given edges.

    Args:
        function: A function from float64 array to array of the same shape.
        edges: At least two points: the ends, known kinks, and points that shorten the search.

    Raises:
        TooRough: The function has more kinks than the search can separate, or a value that is not finite.
    """
    bounds = np.unique(np.fromiter(edges, dtype="float64"))
    low, high = bounds[:-1], bounds[1:]
    rounding = _rounding(function, bounds)
    if rounding > _ROUNDING_MAX:
        raise TooRough("a function that returns the same value for the same z")
    # A rounding error of e becomes about 256 e / width in the derivative. In a piece shorter than this it
    # would outweigh the error of leaving out the neighbourhood of a kink.
    shortest = 1e-9 if rounding < 1e-12 else 1e-4
    tolerance = max(1e-12, 30 * rounding)
    size = 0.0
    done: list[tuple[np.ndarray, ...]] = []
    count = 0
    while len(low):
        width = high - low
        # One call for all pieces, because every call of a user's function is expensive.
        points = _finite(function, low[:, None] + width[:, None] / 2 * (1 + _POINTS))
        values, checks = np.split(points, [len(_NODES)], axis=1)
        coefficients = _TO_COEFFICIENTS @ values.T
        sizes = np.max(np.abs(values), axis=1)
        size = size or float(np.median(sizes))
        misfit = np.max(np.abs(coefficients[-4:]), axis=0)
        misfit = np.maximum(misfit, np.max(np.abs(_AT_CHECKS @ coefficients - checks.T), axis=0) / 4)
        # The argument is rounded too, which shows in the values of a steep function.
        reach = np.maximum(np.abs(low), np.abs(high))
        rounded = 8 * max(rounding, 1.1e-16) * (np.ptp(values, axis=1) * reach / width + size)
        fits = misfit <= np.maximum(tolerance * np.maximum(sizes, 1e-4 * size), 4 * rounded)
        # A variation that rounding alone could produce is not a slope.
        flat = np.max(np.abs(coefficients[1:]), axis=0) <= 4 * max(rounding, 1e-15) * sizes
        coefficients[1:] = np.where(flat, 0.0, coefficients[1:])
        kink = ~fits & (width <= shortest * np.maximum(1, np.abs(low)))
        final = fits | kink
        done.append((low[final], high[final], coefficients[:, final], kink[final]))
        low, high = low[~final], high[~final]
        count += len(low)
        if count > _MAX_PIECES:
            raise TooRough("a function that is smooth except for a few kinks")
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    columns = [np.concatenate(parts, axis=-1) for parts in zip(*done, strict=True)]
    order = np.argsort(columns[0])
    low, high, coefficients, kink = (part[..., order] for part in columns)
    return Pieces(low, high, coefficients, kink, rounding)


def _finite(function: Function, points: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.asarray(function(points.ravel()), dtype="float64").reshape(points.shape)
    if not np.all(np.isfinite(values)):
        raise TooRough("a function that is finite everywhere")
    return values


def _rounding(function: Function, bounds: np.ndarray) -> float:
    """Return the rounding error of `function`, relative to its size.

    It is the larger of two estimates: third differences over steps so small that they consist of rounding
    error, and the precision of the narrowest dtype that represents all values exactly.
    """
    width = (bounds[1:] - bounds[:-1])[:, None, None]
    places = np.array([0.19, 0.37, 0.83])[:, None]
    points = bounds[:-1, None, None] + width * (places + 1e-5 * np.array([0.0, 1.0, 2.0, 3.0]))
    values = _finite(function, points).reshape(-1, 4)
    with np.errstate(all="ignore"):
        size = np.asarray(function(points.ravel()[:4])).dtype.itemsize
    differences = np.abs(values @ np.array([-1.0, 3.0, -3.0, 1.0])) / np.sqrt(20)
    # A function that saturates rounds to one number and shows no error there.
    used = differences > 0
    seen = float(np.median(differences[used] / np.max(np.abs(values[used]), axis=1))) if used.any() else 0.0
    distinct = np.unique(values)
    for dtype in ("float16", "float32"):
        # A step function has few values, which fit into any dtype.
        with np.errstate(over="ignore"):
            fits = len(distinct) > 16 and np.array_equal(distinct, distinct.astype(dtype))
        if fits or size <= np.dtype(dtype).itemsize:
            return max(seen, float(np.finfo(dtype).eps) / 2)
    return seen
