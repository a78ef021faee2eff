"""A function of one variable cut into the pieces on which it is smooth, each with its derivative.

The cuts fall on the kinks and jumps, which nobody has to announce: a piece on which a polynomial of
degree 16 does not fit is halved, until it fits or until what is left is a kink. This is how chebfun
splits (Pachon, Platte & Trefethen 2010, "Piecewise-smooth chebfuns", section 3). A feature narrower than
1/50 of the pieces that the search starts from can fall between all points that are looked at.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

Function = Callable[[np.ndarray], np.ndarray]

_DEGREE = 16
_MAX_PIECES = 100_000
_TOO_NOISY = 0.02
# The outermost nodes lie at the ends, so that no kink hides between a node and an end; but inside of
# them, so that at a jump the value is that of the piece's own side.
_NODES = chebyshev.chebpts2(_DEGREE + 1) * (1 - 2e-9)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))
# Where the polynomial is held against the function; the offset keeps these off the nodes and off
# round numbers, where kinks like to be.
_CHECKS = -1 + 2 * (np.arange(47) + 0.4142) / 47
_POINTS = np.concatenate([_NODES, _CHECKS])
_AT_CHECKS = chebyshev.chebvander(_CHECKS, _DEGREE)


class TooRough(ArithmeticError):
    """The function cannot be cut into smooth pieces; the message says what it would have to be."""


@dataclass(frozen=True)
class Side:
    """One side of a kink, or of a pole of the derivative.

    Attributes:
        at: Where the kink is.
        width: How much of this side lies in the kink's neighbourhood, which is no smooth piece.
        slope: The derivative beside it.
        growth: e, where the squared derivative grows like distance^-e towards the kink: 0 at a kink of
            which both sides are smooth, 1 and more where the square cannot be integrated.
    """

    at: float
    width: float
    slope: float
    growth: float


@dataclass(frozen=True)
class Pieces:
    """The pieces of a function between two points, in order.

    Attributes:
        low, high: The ends of each piece, shape (pieces,).
        coefficients: Chebyshev coefficients on each piece, shape (17, pieces).
        kink: True where the piece is the neighbourhood of a kink or a jump, too short to matter.
        noise: The rounding error of the function, relative to its size: 1e-16 in float64, 1e-7 where it
            computes in float32.
    """

    low: np.ndarray
    high: np.ndarray
    coefficients: np.ndarray
    kink: np.ndarray
    noise: float

    @property
    def kinks(self) -> np.ndarray:
        """Where the function or its derivative jumps."""
        return (self.low + self.high)[self.kink] / 2

    def derivative(self, nodes: np.ndarray) -> np.ndarray:
        """The derivative at `nodes` in [-1, 1] of every piece, shape (pieces, nodes); 0 in kinks."""
        slopes = chebyshev.chebval(nodes, chebyshev.chebder(self.coefficients)).reshape(-1, len(nodes))
        return np.where(self.kink[:, None], 0.0, slopes * (2 / (self.high - self.low))[:, None])

    def sides(self) -> list[Side]:
        """Both sides of every kink."""
        # The mean slope of a whole piece: at one point rounding could drown it.
        ends = chebyshev.chebval(np.array([-1.0, 1.0]), self.coefficients).reshape(-1, 2)
        slopes = (ends[:, 1] - ends[:, 0]) / (self.high - self.low)
        centres = (self.low + self.high) / 2
        found = []
        kinks = np.flatnonzero(self.kink)
        # Neighbouring neighbourhoods are one kink.
        for run in np.split(kinks, np.flatnonzero(np.diff(kinks) > 1) + 1) if len(kinks) else ():
            first, last = run[0], run[-1]
            at = (self.low[first] + self.high[last]) / 2
            for near, step in ((first - 1, -1), (last + 1, 1)):
                if not 0 <= near < len(slopes):
                    continue
                # Some halvings away, where it does not matter that `at` is only known to a width.
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
                found.append(Side(float(at), width, float(slopes[near]), growth))
        return found


def pieces(function: Function, edges: Iterable[float]) -> Pieces:
    """Cuts `function` into smooth pieces, starting from the given edges.

    Args:
        function: From float64 array to array of the same shape.
        edges: At least two points: the ends, known kinks, and points that shorten the search.

    Raises:
        TooRough: More kinks than can be told apart, or a value that is not finite.
    """
    bounds = np.unique(np.fromiter(edges, dtype="float64"))
    low, high = bounds[:-1], bounds[1:]
    noise = _noise(function, bounds)
    if noise > _TOO_NOISY:
        raise TooRough("a function of which the same z gives the same value")
    # A rounding error of e becomes about 256 e / width in the derivative: below these widths it would
    # weigh more than what the neighbourhood of a kink leaves out.
    shortest = 1e-9 if noise < 1e-12 else 1e-4
    tolerance = max(1e-12, 30 * noise)
    size = 0.0
    done: list[tuple[np.ndarray, ...]] = []
    count = 0
    while len(low):
        width = high - low
        # At once: a user's function costs by the call.
        points = _finite(function, low[:, None] + width[:, None] / 2 * (1 + _POINTS))
        values, checks = np.split(points, [len(_NODES)], axis=1)
        coefficients = _TO_COEFFICIENTS @ values.T
        own = np.max(np.abs(values), axis=1)
        size = size or float(np.median(own))
        rest = np.max(np.abs(coefficients[-4:]), axis=0)
        rest = np.maximum(rest, np.max(np.abs(_AT_CHECKS @ coefficients - checks.T), axis=0) / 4)
        # The argument is rounded too, and where the function is steep that shows in its values.
        reach = np.maximum(np.abs(low), np.abs(high))
        rounded = 8 * max(noise, 1.1e-16) * (np.ptp(values, axis=1) * reach / width + size)
        fits = rest <= np.maximum(tolerance * np.maximum(own, 1e-4 * size), 4 * rounded)
        # What rounding alone could make is no slope.
        coefficients[1:] = np.where(
            np.max(np.abs(coefficients[1:]), axis=0) <= 4 * max(noise, 1e-15) * own, 0.0, coefficients[1:]
        )
        kink = ~fits & (width <= shortest * np.maximum(1, np.abs(low)))
        settled = fits | kink
        done.append((low[settled], high[settled], coefficients[:, settled], kink[settled]))
        low, high = low[~settled], high[~settled]
        count += len(low)
        if count > _MAX_PIECES:
            raise TooRough("a function that is smooth but for some kinks")
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    columns = [np.concatenate(parts, axis=-1) for parts in zip(*done, strict=True)]
    order = np.argsort(columns[0])
    low, high, coefficients, kink = (part[..., order] for part in columns)
    return Pieces(low, high, coefficients, kink, noise)


def _finite(function: Function, points: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.asarray(function(points.ravel()), dtype="float64").reshape(points.shape)
    if not np.all(np.isfinite(values)):
        raise TooRough("a function that is finite everywhere")
    return values


def _noise(function: Function, bounds: np.ndarray) -> float:
    """The rounding error of `function`, relative to its size.

    From third differences so close that nothing else is left of them, and from the precision of its
    values: what they are of, or what all of them fit into.
    """
    width = (bounds[1:] - bounds[:-1])[:, None, None]
    places = np.array([0.19, 0.37, 0.83])[:, None]
    points = bounds[:-1, None, None] + width * (places + 1e-5 * np.array([0.0, 1.0, 2.0, 3.0]))
    values = _finite(function, points).reshape(-1, 4)
    with np.errstate(all="ignore"):
        size = np.asarray(function(points.ravel()[:4])).dtype.itemsize
    differences = np.abs(values @ np.array([-1.0, 3.0, -3.0, 1.0])) / np.sqrt(20)
    # Where a function saturates it rounds to the same number, and shows no error at all.
    used = differences > 0
    seen = float(np.median(differences[used] / np.max(np.abs(values[used]), axis=1))) if used.any() else 0.0
    different = np.unique(values)
    for dtype in ("float16", "float32"):
        # A step function has few values, which fit into anything.
        with np.errstate(over="ignore"):
            fits = len(different) > 16 and np.array_equal(different, different.astype(dtype))
        if fits or size <= np.dtype(dtype).itemsize:
            return max(seen, float(np.finfo(dtype).eps) / 2)
    return seen
