"""Deep Kernel Shaping: the affine change of an activation that lets a signal through any depth."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from keras_initx._theory.activation import Activation
from keras_initx._theory.custom_activation import Probed
from keras_initx._theory.mean_field import elementwise, times
from keras_initx._theory.moments import PASS_GAIN, ActivationMoments, gaussian_moments
from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError, is_number

# Where the search looks: log10 of a, descending, and the centre, once in the units of phi and once in
# those of a, because a kink has to stay in sight however small a gets.
_SCALES = np.linspace(2.0, -3.0, 61)
_CENTRES = np.sinh(np.linspace(-3.0, 3.0, 61))
_NEWTON_STEPS = 10
# Of a positively homogeneous phi only b / a counts; beyond this many standard deviations it is linear.
_FARTHEST = 8.0
_X = np.linspace(-8.0, 8.0, 257)
_STEP = _X[1] - _X[0]
_WEIGHTS = np.exp(-np.square(_X) / 2) / math.sqrt(2 * math.pi) * _STEP
_MIDDLE_WEIGHTS = np.exp(-np.square(_X[1:] - _STEP / 2) / 2) / math.sqrt(2 * math.pi) * _STEP
# How small a standard deviation of phi, relative to its mean, still has a shape in float64 and in float32.
_FLATTEST, _FLATTEST_ROUNDED = 1e-9, 1e-4


@dataclass(frozen=True)
class DKSTransform:
    """The transformed activation c (phi(a x + b) + d) of a standard normal x.

    Attributes:
        input_scale: a, positive.
        input_shift: b.
        output_scale: c, positive.
        output_shift: d.

    Weights realize it, with orthogonal O and the activation as it is: a c O as the kernel between two
    activations, a O as the first and c O as the last one; b + d (column sums of the kernel) as the bias,
    without d in the first layer and without b in the last one.
    """

    input_scale: float
    input_shift: float
    output_scale: float
    output_shift: float


def solve_dks(activation: Activation, depth: int, zeta: float = 1.5) -> DKSTransform:
    """The shape in which an activation hands on a signal, and its gradient, through `depth` layers.

    phi^(x) = c (phi(a x + b) + d) with, for a standard normal x,
    E[phi^(x)] = 0, E[phi^(x)^2] = 1,
    Q'(1) = E[phi^(x) phi^'(x) x] = 1, C'(1) = E[phi^'(x)^2] = zeta^(1 / depth)

    So the length of the signal is a fixed point, errors of it do not grow, and the angle between two
    signals (with the mean square of the gradient) grows by zeta over the whole depth. Of several
    solutions the one with the least |c d| is taken, the mean of the next kernel's inputs in their standard
    deviations: with silu the largest a alone would choose a flank so flat that the kernels are 13 times
    as large. Of those within a tenth of it (of a mirrored or periodic phi) it is the b nearest to 0, and
    b > 0.

    A positively homogeneous phi (relu, leaky_relu) depends on b / a only, and cannot have Q'(1) = 1. It
    is given the other three conditions with a = 1 and b > 0, where Q'(1) < 1: errors of the length shrink.

    Args:
        activation: An elementwise activation phi.
        depth: The number of layers with this activation, at least 1.
        zeta: How far from linear the whole network is, above 1; the larger, the more it bends.

    Raises:
        InitxError: An activation with no solution: a linear one, one that is linear between two corners
            (hard_tanh, hard_sigmoid, relu6), exponential, softmax, glu; a zeta too large for so few
            layers; a depth that is no positive integer; a zeta that is not above 1.

    Example:

    >>> found = shape(Activation("tanh"), depth=50)
    >>> round(found.input_scale, 4), round(found.input_shift, 4)
    (0.1284, 0.5708)

    References: Martens et al. 2021 (arXiv 2110.01765), whose own package drops Q'(1) = 1 for relu too.
    """
    if not isinstance(depth, int | np.integer) or isinstance(depth, bool) or depth < 1:
        raise InitxError("depth", depth, "a positive integer, the number of layers with the activation")
    if not is_number(zeta) or not 1 < zeta < math.inf:
        raise InitxError("zeta", zeta, "a number above 1", "The paper, and the default, use 1.5.")
    return _shape(activation, activation.function, int(depth), float(zeta))


# An Activation is equal to another of the same name, whatever their functions: those are keys of their own.
@functools.lru_cache(maxsize=256)
def _shape(activation: Activation, function: Probed | None, depth: int, zeta: float) -> DKSTransform:
    known = elementwise(activation)
    if known is None:
        allowed = "an elementwise activation: this one acts on a whole row"
        raise InitxError("activation", activation.name, allowed, PASS_GAIN)
    problem = _Problem(*known, target=math.log(zeta) / depth)
    at = problem.homogeneous() if problem.is_homogeneous() else problem.general()
    if at is None:
        allowed = f"one that c (phi(a x + b) + d) can give the slope {zeta:g}^(1/{depth}) and a fixed length"
        remedy = "Use a zeta nearer to 1 or more layers, or another method: no weights shape this activation."
        raise InitxError("activation", activation.name, allowed, remedy)
    scale, shift = at
    moments = problem.moments(scale, shift)
    return DKSTransform(scale, shift, 1 / math.sqrt(moments.variance), -moments.mean)


class _Problem:
    """The two equations that are left for a and b, since c and d follow from mean and variance.

    log(E[f'^2] / Var f) = log(zeta) / depth and E[x^2 (f - E f)^2] / Var f = 3, with f(x) = phi(a x + b).

    The second one is Q'(1) = 1, integrated by parts.
    """

    def __init__(self, phi: Function, kinks: tuple[float, ...], target: float) -> None:
        self.phi, self.kinks, self.target = phi, kinks, target
        rounded = np.asarray(phi(_X)).dtype != np.float64
        # Differences have to be larger than the rounding of what they are of.
        self.step, self.tolerance = (1e-3, min(1e-4, target / 20)) if rounded else (1e-6, 1e-9)

    def moments(self, scale: float, shift: float) -> ActivationMoments:
        """The moments of f."""
        kinks = [(kink - shift) / scale for kink in self.kinks]
        return gaussian_moments(lambda x: self.phi(scale * x + shift), kinks=kinks)

    def equations(self, scale: float, shift: float) -> tuple[float, float]:
        """What the two equations are wrong by; NaN where f has no moments."""
        try:
            own = self.moments(scale, shift)
            kinks = [(kink - shift) / scale for kink in self.kinks]
            product = gaussian_moments(lambda x: times(x, self.phi(scale * x + shift), own.mean), kinks=kinks)
        except InitxError:
            return math.nan, math.nan
        if own.variance == 0 or not 0 < own.slope_second_moment < math.inf:
            return math.nan, math.nan
        slope = math.log(own.slope_second_moment / own.variance)
        return slope - self.target, product.second_moment / own.variance - 3

    def is_homogeneous(self) -> bool:
        """Whether phi(2 z) = 2 phi(z), so that a is free."""
        z = np.array([-9.0, -2.5, -0.6, -0.03, 0.0, 0.03, 0.6, 2.5, 9.0])
        return bool(np.allclose(self.phi(2 * z), 2 * self.phi(z), rtol=1e-6, atol=0))

    def homogeneous(self) -> tuple[float, float] | None:
        """a = 1 and the b > 0 (or < 0, where the steeper side is that) that gives the slope."""
        for side in (1.0, -1.0):
            # Away from the corner f is linear, at it the slope is the largest with Q'(1) <= 1.
            ends = [self.equations(1.0, side * shift) for shift in (0.0, _FARTHEST)]
            if ends[0][0] >= 0 > ends[1][0] and self.equations(1.0, side)[1] < 0:
                root = optimize.brentq(lambda b, s=side: self.equations(1.0, s * b)[0], 0.0, _FARTHEST)
                return 1.0, side * float(root)
        return None

    def general(self) -> tuple[float, float] | None:
        """The solution whose f has the least mean, in standard deviations."""
        rough = self._rough()
        ratios = [self._mean(*place) for place in rough]
        least = min(ratios, default=0.0)
        # Rounding, and the grid, tell no more than a tenth apart.
        ranks = [
            (ratio if ratio > 1.1 * least else 0.0, round(abs(shift), 1), -shift)
            for ratio, (_, shift) in zip(ratios, rough, strict=True)
        ]
        for _, place in sorted(zip(ranks, rough, strict=True)):
            found = self._polished(*place)
            if found is not None:
                return found
        return None

    def _rough(self) -> list[tuple[float, float]]:
        """The solutions of the equations on the grid: from all cells at once, since phi costs by the call."""
        cells = self._cells()
        if not cells:
            return []
        log_scale, centre, relative = (np.array(column) for column in zip(*cells, strict=True))
        at = np.stack([log_scale, centre])
        step, least = np.zeros_like(at), np.full(len(cells), np.inf)
        for _ in range(_NEWTON_STEPS):
            trial = at - step
            # At the point, and a little to both sides of it.
            along = trial[0] + self.step * np.array([[0], [1], [0]])
            across = trial[1] + self.step * np.array([[0], [0], [1]])
            values = np.stack(self._on_grid(*_place(along, across, relative)))
            size = np.max(np.abs(values[:, 0]), axis=0)
            better = size < least
            at, least = np.where(better, trial, at), np.where(better, size, least)
            # Newton's step; but half of the last one where that led astray.
            step = np.where(better, self._newton(values, centre), step / 2)
        scales, shifts = _place(at[0], at[1], relative)
        solved = least <= 0.2 * self.target
        return list(zip(scales[solved].tolist(), shifts[solved].tolist(), strict=True))

    def _newton(self, values: np.ndarray, centre: np.ndarray) -> np.ndarray:
        (p, q), (r, t) = (values[:, 1] - values[:, 0]) / self.step, (values[:, 2] - values[:, 0]) / self.step
        x, y = values[:, 0]
        with np.errstate(all="ignore"):
            step = np.stack([t * x - r * y, p * y - q * x]) / (p * t - q * r)
        most = np.stack([np.full_like(centre, 0.2), 0.3 * (1 + np.abs(centre))])
        return np.clip(np.nan_to_num(step), -most, most)

    def _cells(self) -> list[tuple[float, float, bool]]:
        """Where both equations change sign on a grid: log10 of a, with b or b / a."""
        cells = []
        log_scales, centres = np.broadcast_arrays(_SCALES[:, None], _CENTRES)
        for relative in (False, True):
            scales, shifts = _place(log_scales, centres, np.array(relative))
            first, second = self._on_grid(scales, shifts)
            for row, column in np.argwhere(_changes_sign(first) & _changes_sign(second)):
                middle = np.mean(_SCALES[row : row + 2]), np.mean(_CENTRES[column : column + 2])
                cells.append((float(middle[0]), float(middle[1]), relative))
        return cells

    def _on_grid(self, scales: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`equations` at many points at once, by sums of equal steps: good enough for a sign."""
        with np.errstate(all="ignore"):
            points = scales[..., None] * _X + shifts[..., None]
            values = np.asarray(self.phi(points.ravel())).reshape(points.shape)
            rounding = _FLATTEST if values.dtype == np.float64 else _FLATTEST_ROUNDED
            values = values.astype("float64")
            mean = values @ _WEIGHTS
            values -= mean[..., None]
            slope = np.square(np.diff(values) / _STEP) @ _MIDDLE_WEIGHTS
            np.square(values, out=values)
            variance = values @ _WEIGHTS
            # Where phi saturates, what is left of its shape is rounding.
            variance = np.where(variance > np.square(rounding * mean), variance, np.nan)
            fourth = values @ (_WEIGHTS * np.square(_X))
            return np.log(slope / variance) - self.target, fourth / variance - 3

    def _polished(self, scale: float, shift: float) -> tuple[float, float] | None:
        def place(at: np.ndarray) -> tuple[float, float]:
            at_scale = float(np.exp(np.clip(at[0], -9, 4)))
            return at_scale, at_scale * float(at[1])

        start = [math.log(scale), shift / scale]
        options = {"eps": self.step, "xtol": 1e-11, "maxfev": 40}
        at = optimize.root(lambda at: self.equations(*place(at)), start, options=options).x
        off = np.max(np.abs(self.equations(*place(at))))
        return place(at) if off <= self.tolerance else None

    def _mean(self, scale: float, shift: float) -> float:
        """|E f| in standard deviations of f."""
        values = np.asarray(self.phi(scale * _X + shift), dtype="float64")
        mean = values @ _WEIGHTS
        return float(abs(mean) / np.sqrt(np.square(values - mean) @ _WEIGHTS))


def _place(log_scale: np.ndarray, centre: np.ndarray, relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = 10.0**log_scale
    return scale, np.where(relative, scale * centre, centre)


def _changes_sign(values: np.ndarray) -> np.ndarray:
    """Of every cell of a grid; never where a corner is NaN."""
    corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
    return (np.min(corners, axis=0) <= 0) & (np.max(corners, axis=0) >= 0)
