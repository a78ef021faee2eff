"""A function of one variable cut into the pieces on which it is smooth, each with its derivative.

The cuts fall on the kinks and jumps, which nobody has to announce: a piece on which a polynomial of
degree 16 does not fit is halved, until it fits or until what is left is a kink. This is how chebfun
splits (Pachon, Platte & Trefethen 2010, "Piecewise-smooth chebfuns", section 3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

Function = Callable[[np.ndarray], np.ndarray]

_DEGREE = 16
_MAX_PIECES = 100_000
_TOO_NOISY = 0.02
_UNSTEADY = "a function of which the same z gives the same value, smooth but for some kinks"
# The nodes lie inside of a piece, so that the value at a jump is never asked for.
_NODES = chebyshev.chebpts1(_DEGREE + 1)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))


class TooRough(ArithmeticError):
    """The function cannot be cut into smooth pieces; the message says what it would have to be."""


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
        """The derivative at `nodes` in [-1, 1] of every piece, shape (pieces, nodes).

        The neighbourhood of a kink takes it from the smooth pieces beside it, half from each.
        """
        slopes = chebyshev.chebval(nodes, chebyshev.chebder(self.coefficients)).reshape(-1, len(nodes))
        slopes = slopes * (2 / (self.high - self.low))[:, None]
        ends = chebyshev.chebval([-1, 1], chebyshev.chebder(self.coefficients)).reshape(-1, 2)
        ends = ends * (2 / (self.high - self.low))[:, None]
        smooth = np.flatnonzero(~self.kink)
        for at in np.flatnonzero(self.kink):
            after = np.searchsorted(smooth, at)
            left = ends[smooth[after - 1], 1] if after else 0.0
            right = ends[smooth[after], 0] if after < len(smooth) else 0.0
            slopes[at] = np.where(nodes < 0, left, right)
        return slopes


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
        raise TooRough(_UNSTEADY)
    # A rounding error of e becomes about 256 e / width in the derivative: below these widths it would
    # weigh more than what the neighbourhood of a kink leaves out.
    shortest = 1e-9 if noise < 1e-12 else 1e-4
    tolerance = max(1e-12, 30 * noise)
    size = 0.0
    done: list[tuple[np.ndarray, ...]] = []
    count = 0
    while len(low):
        half = (high - low)[:, None] / 2
        values = _finite(function, low[:, None] + half * (1 + _NODES))
        coefficients = _TO_COEFFICIENTS @ values.T
        own = np.max(np.abs(values), axis=1)
        size = size or float(np.median(own))
        rest = np.max(np.abs(coefficients[-4:]), axis=0)
        fits = rest <= np.maximum(tolerance * np.maximum(own, 1e-4 * size), 30 * noise * size)
        kink = ~fits & (high - low <= shortest * np.maximum(1, np.abs(low)))
        settled = fits | kink
        done.append((low[settled], high[settled], coefficients[:, settled], kink[settled]))
        low, high = low[~settled], high[~settled]
        count += len(low)
        if count > _MAX_PIECES:
            raise TooRough(_UNSTEADY)
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
    """The rounding error of `function`, from third differences so close that nothing else is left."""
    spacing = 1e-5 * (bounds[1:] - bounds[:-1])
    start = bounds[:-1] + 0.37 * (bounds[1:] - bounds[:-1])
    values = _finite(function, start[:, None] + spacing[:, None] * np.array([0.0, 1.0, 2.0, 3.0]))
    size = np.max(np.abs(values), axis=1)
    differences = np.abs(values @ np.array([-1.0, 3.0, -3.0, 1.0])) / np.sqrt(20)
    # Where a function saturates it rounds to the same number, and shows no error at all.
    used = differences > 0
    return float(np.median(differences[used] / size[used])) if used.any() else 0.0
