"""Deep Kernel Shaping: transform an activation affinely so that a signal survives any depth."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from keras_initx._theory.activation import Activation
from keras_initx._theory.custom_activation import CustomFunction
from keras_initx._theory.mean_field import function_of, times
from keras_initx._theory.moments import ActivationMoments, gaussian_moments
from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError, is_number

# The grid of the search: log10 of a, descending, and the centre, once as b and once as b / a, because the
# grid has to reach a kink however small a gets.
_SCALES = np.linspace(2.0, -3.0, 61)
_CENTRES = np.sinh(np.linspace(-3.0, 3.0, 61))
_NEWTON_STEPS = 10
# For a positively homogeneous phi only b / a counts. Beyond this many standard deviations phi is linear.
_SHIFT_MAX = 8.0
_X = np.linspace(-8.0, 8.0, 257)
_STEP = _X[1] - _X[0]
_WEIGHTS = np.exp(-np.square(_X) / 2) / math.sqrt(2 * math.pi) * _STEP
_MIDDLE_WEIGHTS = np.exp(-np.square(_X[1:] - _STEP / 2) / 2) / math.sqrt(2 * math.pi) * _STEP
# The smallest standard deviation of phi, relative to its mean, that is not just rounding error: in float64
# and in float32.
_FLATTEST, _FLATTEST_ROUNDED = 1e-9, 1e-4


@dataclass(frozen=True)
class DKSTransform:
    """The affine transform c (phi(a x + b) + d) of an activation phi, for a standard normal x.

    Attributes:
        input_scale: a, positive.
        input_shift: b.
        output_scale: c, positive.
        output_shift: d.

    Weights can realize the transform with phi unchanged. With orthogonal O, the kernel between two
    activations is a c O, the first kernel a O and the last one c O. The bias is b + d (column sums of the
    kernel), without d in the first layer and without b in the last one.
    """

    input_scale: float
    input_shift: float
    output_scale: float
    output_shift: float


def solve_dks(activation: Activation, depth: int, zeta: float = 1.5) -> DKSTransform:
    """Return the transform with which an activation passes a signal and its gradient through `depth` layers.

    phi^(x) = c (phi(a x + b) + d) with, for a standard normal x,
    E[phi^(x)] = 0, E[phi^(x)^2] = 1,
    Q'(1) = E[phi^(x) phi^'(x) x] = 1, C'(1) = E[phi^'(x)^2] = zeta^(1 / depth)

    The length of the signal is then a fixed point, deviations from it do not grow, and the angle between
    two signals (and the mean square of the gradient) grows by the factor zeta over the whole depth. If
    there are several solutions, the one with the smallest |c d| wins: the mean of the next kernel's inputs
    in standard deviations. The largest a would not do: for silu it lies on a flank so flat that the kernels
    become 13 times as large. Among solutions within a tenth of the smallest (a mirrored or periodic phi),
    the b nearest to 0 wins, and b > 0.

    A positively homogeneous phi (relu, leaky_relu) depends on b / a only and cannot have Q'(1) = 1. It gets
    the other three conditions with a = 1 and b > 0, where Q'(1) < 1: deviations of the length shrink.

    Args:
        activation: An elementwise activation phi.
        depth: The number of layers with this activation, at least 1.
        zeta: The nonlinearity of the whole network, above 1; a larger zeta bends more.

    Raises:
        InitxError: The activation has no solution (linear; linear between two corners, such as hard_tanh,
            hard_sigmoid and relu6; exponential; softmax; glu), `zeta` is too large for the depth or not
            above 1, or `depth` is not an integer >= 1.

    Example:

    >>> transform = solve_dks(Activation("tanh"), depth=50)
    >>> round(transform.input_scale, 4), round(transform.input_shift, 4)
    (0.1284, 0.5708)

    References: Martens et al. 2021 (arXiv 2110.01765), whose own package drops Q'(1) = 1 for relu too.
    """
    if not isinstance(depth, int | np.integer) or isinstance(depth, bool) or depth < 1:
        raise InitxError("depth", depth, "an integer >= 1 (the number of layers with the activation)")
    if not is_number(zeta) or not 1 < zeta < math.inf:
        raise InitxError("zeta", zeta, "a finite number > 1", "The default, 1.5, is the paper's value.")
    return _solve(activation, activation.function, int(depth), float(zeta))


# Activations of one name compare equal whatever their functions are, so the function is a separate cache key.
@functools.lru_cache(maxsize=256)
def _solve(activation: Activation, function: CustomFunction | None, depth: int, zeta: float) -> DKSTransform:
    phi, kinks = function_of(activation)
    equations = _Equations(phi, kinks, target=math.log(zeta) / depth)
    solution = equations.homogeneous() if equations.is_homogeneous() else equations.general()
    if solution is None:
        slope = f"the slope {zeta:g}^(1/{depth})"
        problem = f"`activation` {activation.name!r}: no c (phi(a x + b) + d) has {slope} and a fixed length"
        allowed = "an activation that Deep Kernel Shaping can transform"
        remedy = "Use a zeta nearer to 1, more layers, or another method."
        raise InitxError("activation", activation.name, allowed, remedy, problem)
    scale, shift = solution
    moments = equations.moments(scale, shift)
    return DKSTransform(scale, shift, 1 / math.sqrt(moments.variance), -moments.mean)


class _Equations:
    """The two equations that determine a and b; c and d then follow from the mean and the variance.

    log(E[f'^2] / Var f) = log(zeta) / depth and E[x^2 (f - E f)^2] / Var f = 3, with f(x) = phi(a x + b).

    The second equation is Q'(1) = 1, integrated by parts.
    """

    def __init__(self, phi: Function, kinks: tuple[float, ...], target: float) -> None:
        self.phi, self.kinks, self.target = phi, kinks, target
        rounded = np.asarray(phi(_X)).dtype != np.float64
        # The step of a difference quotient has to exceed the rounding error of the values.
        self.step, self.tolerance = (1e-3, min(1e-4, target / 20)) if rounded else (1e-6, 1e-9)

    def moments(self, scale: float, shift: float) -> ActivationMoments:
        """Return the moments of f."""
        kinks = [(kink - shift) / scale for kink in self.kinks]
        return gaussian_moments(lambda x: self.phi(scale * x + shift), kinks=kinks)

    def residuals(self, scale: float, shift: float) -> tuple[float, float]:
        """Return the residuals of the two equations; NaN if f has no moments."""
        try:
            f = self.moments(scale, shift)
            kinks = [(kink - shift) / scale for kink in self.kinks]
            product = gaussian_moments(lambda x: times(x, self.phi(scale * x + shift), f.mean), kinks=kinks)
        except InitxError:
            return math.nan, math.nan
        if f.variance == 0 or not 0 < f.slope_second_moment < math.inf:
            return math.nan, math.nan
        slope = math.log(f.slope_second_moment / f.variance)
        return slope - self.target, product.second_moment / f.variance - 3

    def is_homogeneous(self) -> bool:
        """Return whether phi(2 z) = 2 phi(z), which leaves a free."""
        z = np.array([-9.0, -2.5, -0.6, -0.03, 0.0, 0.03, 0.6, 2.5, 9.0])
        return bool(np.allclose(self.phi(2 * z), 2 * self.phi(z), rtol=1e-6, atol=0))

    def homogeneous(self) -> tuple[float, float] | None:
        """Return a = 1 with the b > 0 (b < 0 if the negative side is steeper) that gives the slope."""
        for side in (1.0, -1.0):
            # Far from the corner f is linear; at the corner the slope is the largest one with Q'(1) <= 1.
            ends = [self.residuals(1.0, side * shift) for shift in (0.0, _SHIFT_MAX)]
            if ends[0][0] >= 0 > ends[1][0] and self.residuals(1.0, side)[1] < 0:
                root = optimize.brentq(lambda b, s=side: self.residuals(1.0, s * b)[0], 0.0, _SHIFT_MAX)
                return 1.0, side * float(root)
        return None

    def general(self) -> tuple[float, float] | None:
        """Return the solution whose f has the smallest mean in standard deviations."""
        candidates = self._candidates()
        means = [self._mean(*candidate) for candidate in candidates]
        smallest = min(means, default=0.0)
        # Rounding and the grid cannot separate means that differ by less than a tenth.
        ranks = [
            (mean if mean > 1.1 * smallest else 0.0, round(abs(shift), 1), -shift)
            for mean, (_, shift) in zip(means, candidates, strict=True)
        ]
        for _, candidate in sorted(zip(ranks, candidates, strict=True)):
            solution = self._polished(*candidate)
            if solution is not None:
                return solution
        return None

    def _candidates(self) -> list[tuple[float, float]]:
        """Return rough solutions by Newton's method, from all cells at once to save calls of phi."""
        cells = self._cells()
        if not cells:
            return []
        log_scale, centre, relative = (np.array(column) for column in zip(*cells, strict=True))
        at = np.stack([log_scale, centre])
        step, least = np.zeros_like(at), np.full(len(cells), np.inf)
        for _ in range(_NEWTON_STEPS):
            trial = at - step
            # The point itself, then a small step along each axis.
            along = trial[0] + self.step * np.array([[0], [1], [0]])
            across = trial[1] + self.step * np.array([[0], [0], [1]])
            values = np.stack(self._on_grid(*_scale_and_shift(along, across, relative)))
            size = np.max(np.abs(values[:, 0]), axis=0)
            better = size < least
            at, least = np.where(better, trial, at), np.where(better, size, least)
            # Take Newton's step; if the last step made it worse, retry with half of it.
            step = np.where(better, self._newton(values, centre), step / 2)
        scales, shifts = _scale_and_shift(at[0], at[1], relative)
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
        """Return the cells in which both residuals change sign: log10 of a, a centre, whether it is b / a."""
        cells = []
        log_scales, centres = np.broadcast_arrays(_SCALES[:, None], _CENTRES)
        for relative in (False, True):
            scales, shifts = _scale_and_shift(log_scales, centres, np.array(relative))
            first, second = self._on_grid(scales, shifts)
            for row, column in np.argwhere(_changes_sign(first) & _changes_sign(second)):
                middle = np.mean(_SCALES[row : row + 2]), np.mean(_CENTRES[column : column + 2])
                cells.append((float(middle[0]), float(middle[1]), relative))
        return cells

    def _on_grid(self, scales: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the residuals at many points at once, by sums of equal steps: precise enough for a sign."""
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
            # Where phi saturates, its variation is only rounding error.
            variance = np.where(variance > np.square(rounding * mean), variance, np.nan)
            fourth = values @ (_WEIGHTS * np.square(_X))
            return np.log(slope / variance) - self.target, fourth / variance - 3

    def _polished(self, scale: float, shift: float) -> tuple[float, float] | None:
        def scale_and_shift(at: np.ndarray) -> tuple[float, float]:
            at_scale = float(np.exp(np.clip(at[0], -9, 4)))
            return at_scale, at_scale * float(at[1])

        start = [math.log(scale), shift / scale]
        options = {"eps": self.step, "xtol": 1e-11, "maxfev": 40}
        root = optimize.root(lambda at: self.residuals(*scale_and_shift(at)), start, options=options).x
        solution = scale_and_shift(root)
        return solution if np.max(np.abs(self.residuals(*solution))) <= self.tolerance else None

    def _mean(self, scale: float, shift: float) -> float:
        """Return |E f| in standard deviations of f."""
        values = np.asarray(self.phi(scale * _X + shift), dtype="float64")
        mean = values @ _WEIGHTS
        return float(abs(mean) / np.sqrt(np.square(values - mean) @ _WEIGHTS))


def _scale_and_shift(
    log_scale: np.ndarray, centre: np.ndarray, relative: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a and b; `centre` is b / a where `relative` holds, else b."""
    scale = 10.0**log_scale
    return scale, np.where(relative, scale * centre, centre)


def _changes_sign(values: np.ndarray) -> np.ndarray:
    """Return for each cell of a grid whether its corners differ in sign; False if a corner is NaN."""
    corners = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
    return (np.min(corners, axis=0) <= 0) & (np.max(corners, axis=0) >= 0)
