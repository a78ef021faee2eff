"""`rate_of_sgd`: the curvature of the loss, and what the first steps at a learning rate do to it."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch
from keras_initx._weights import Snapshot
from keras_initx.diagnostics.probe import Probe

# Power iterations from the gradient, which lies near the direction of the largest curvature.
_ITERATIONS = 3
# The length of a step along which the gradient changes, relative to the weights.
_STEP = 1e-3
# The steps that are tried at a learning rate.
_TRIED = 12
# A first loss above this multiple of the best constant's is far from it.
_FAR = 3.0
# A loss that rises by this factor, and then stays above this share of the first one, does not train.
_RISE, _STALLED, _BLOWN_UP = 1.5, 0.9, 10.0
# The rise of the loss that a recommended learning rate may cause.
_NO_RISE = 1.05
# A rate to recommend is this far below the current one and the bound, and lower by one of these factors.
_BELOW = 0.3
_FACTORS = (1.0, 0.1, 0.01, 1e-3)
# The steps at which a schedule is evaluated.
_EVALUATED = 200


@dataclass(frozen=True)
class Rate:
    """What gradient descent can use on one batch.

    Attributes:
        curvature: The largest absolute eigenvalue of the Hessian that was found; NaN if it was not measured.
        current: The learning rate of the model's optimizer if that is SGD; NaN else. Of a schedule it is the
            largest rate.
        usable: This rate, or the first of a few smaller ones at which the first steps do not raise the loss;
            NaN if none was found or the model's optimizer is not SGD.
        is_scheduled: Whether the learning rate is a schedule.
    """

    curvature: float = math.nan
    current: float = math.nan
    usable: float = math.nan
    is_scheduled: bool = False

    @property
    def largest(self) -> float:
        """Return 2 / curvature, above which plain gradient descent leaves a minimum of this curvature."""
        return 2 / self.curvature if self.curvature > 0 else math.nan


def rate_of_sgd(
    model: keras.Model,
    probe: Probe,
    batch: Batch,
    loss: float,
    constant_loss: float,
    jit_compile: bool = False,
) -> Rate:
    """Return the largest curvature of the loss on a batch, and try the first steps of the model's optimizer.

    The curvature comes from power iteration, H v = (g(w + eps v) - g(w)) / eps: a lower bound on the largest
    absolute eigenvalue, close because it begins at the gradient. On a quadratic loss, gradient descent is
    stable up to a rate of 2 / curvature, and up to (1 + m) times that with momentum m. Networks may train at
    larger rates: the first steps can take them to a place of lower curvature. Adam and its relatives scale
    each weight's step by its gradient, and have no such bound.

    If SGD is the model's optimizer, and its rate is above half of 2 / curvature, or the loss is far above the
    best constant's, its first steps are tried: large errors raise the curvature within a few of them. They
    are steps of a copy of the optimizer, so its clipping and weight decay count. A model with normalizations
    recovers from a rise of the loss, so only steps that blow it up count there.

    The weights are as before afterwards. The caller restores other state.

    References: Lewkowycz et al. 2020 (arXiv 2003.02218) for first steps that lower the curvature; Goh 2017
    (doi 10.23915/distill.00006) for momentum.

    Args:
        model: The model.
        probe: Its probe, which keeps gradients.
        batch: The batch, with targets.
        loss: The loss of the pass that the probe ran on it.
        constant_loss: The loss of the best constant prediction; NaN if it is not known.
        jit_compile: Whether to compile under XLA.
    """
    passes = _Passes(model, probe, batch, loss, jit_compile)
    try:
        curvature = passes.curvature()
        optimizer: Any = getattr(model, "optimizer", None)
        if not _is_sgd(optimizer):
            return Rate(curvature)
        current, is_scheduled = _largest_rate(optimizer)
        momentum = float(optimizer.momentum)
        if not (current * curvature > 1 or loss > _FAR * constant_loss):
            return Rate(curvature, current, current, is_scheduled)
        # A layer with constants from `adapt` normalizes the inputs only.
        is_normalized = any(
            step.is_normalization and not isinstance(step.operation, keras.layers.Normalization)
            for step in probe.graph.steps
        )
        if passes.rise(current, optimizer) < (math.inf if is_normalized else _RISE):
            return Rate(curvature, current, current, is_scheduled)
        # In the long run momentum multiplies each step by 1 / (1 - momentum).
        bound = (1 - momentum) * 2 / curvature if curvature > 0 else math.inf
        start = _BELOW * min(current, bound)
        rates = [factor * start for factor in _FACTORS]
        usable = next((rate for rate in rates if passes.rise(rate, optimizer) <= _NO_RISE), math.nan)
        return Rate(curvature, current, usable, is_scheduled)
    finally:
        passes.close()


class _Passes:
    """Passes of a probe at changed weights."""

    def __init__(
        self, model: keras.Model, probe: Probe, batch: Batch, loss: float, jit_compile: bool
    ) -> None:
        self._probe, self._batch, self._jit_compile = probe, batch, jit_compile
        self._state = Snapshot(model.non_trainable_variables)
        self._variables = probe.kept_variables
        self._start = [_array(v) for v in self._variables]
        self._loss, self._gradient = loss, self._kept()

    def _kept(self) -> list[np.ndarray]:
        """Return the gradients of the last pass."""
        return [_array(v) for v in self._probe.kept_gradients]

    def _at(self, weights: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """Return the loss and its gradient at some weights."""
        self._assign(weights)
        return self._run()

    def _assign(self, weights: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables, weights, strict=True):
            variable.assign(value)

    def _run(self) -> tuple[float, list[np.ndarray]]:
        loss, _ = self._probe.run(self._batch, self._jit_compile, measures=False)
        # Cells that remember the last batch would change the loss.
        self._state.restore()
        return loss, self._kept()

    def curvature(self) -> float:
        """Return the largest curvature by power iteration; NaN without a gradient."""
        size = _norm(self._gradient)
        reach = _STEP * max(_norm(self._start), 1e-3)
        direction, largest = self._gradient, 0.0
        for _ in range(_ITERATIONS):
            if not 0 < size < math.inf:
                break
            shifted = [w + reach / size * v for w, v in zip(self._start, direction, strict=True)]
            _, gradient = self._at(shifted)
            direction = [(g - g0) / reach for g, g0 in zip(gradient, self._gradient, strict=True)]
            size = _norm(direction)
            largest = max(largest, size) if math.isfinite(size) else math.nan
        return largest or math.nan

    def rise(self, rate: float, optimizer: Any) -> float:
        """Return the largest factor by which the loss rises during the first steps at a learning rate.

        A copy of the optimizer takes the steps, with its momentum, its clipping and its weight decay.

        A loss that rises on its way to a much lower one does not count: it trains.
        """
        steps = _copy(optimizer, rate)
        self._assign(self._start)
        steps.build(self._variables)
        gradient, losses = self._gradient, [self._loss]
        for _ in range(_TRIED):
            steps.apply([ops.convert_to_tensor(g) for g in gradient], self._variables)
            if not all(np.isfinite(_array(v)).all() for v in self._variables):
                return math.inf
            loss, gradient = self._run()
            losses.append(loss)
            # Beyond this, most units may be dead, and a low loss afterwards says nothing.
            if not math.isfinite(loss) or loss > _BLOWN_UP * abs(self._loss):
                return math.inf
        if min(losses) <= 0:
            # Losses such as log likelihoods have no ratio.
            return 1.0
        rise = max(later / min(losses[: n + 1]) for n, later in enumerate(losses))
        return 1.0 if losses[-1] < _STALLED * losses[0] else rise

    def close(self) -> None:
        """Put the weights back."""
        self._assign(self._start)
        self._state.restore()
        self._state.close()


def _is_sgd(optimizer: Any) -> bool:
    """Return whether an optimizer is Keras's SGD, not a subclass of the user's with steps of its own.

    On PyTorch, `keras.optimizers.SGD(...)` returns an instance of a subclass inside Keras.
    """
    return isinstance(optimizer, keras.optimizers.SGD) and type(optimizer).__module__.startswith("keras.")


def _copy(optimizer: Any, rate: float) -> Any:
    """Return an optimizer of the same options without its state, at a constant learning rate."""
    # Gradients are neither scaled nor different between the steps whose gradients would be averaged.
    options = {"learning_rate": rate, "loss_scale_factor": None, "gradient_accumulation_steps": None}
    return type(optimizer).from_config({**optimizer.get_config(), **options})


def _largest_rate(optimizer: Any) -> tuple[float, bool]:
    """Return the learning rate, of a schedule the largest one, and whether it is a schedule.

    A schedule is evaluated up to the last step that its own options name, such as `warmup_steps` and
    `decay_steps`; one that cannot be read counts by its present value.
    """
    current = float(ops.convert_to_numpy(optimizer.learning_rate))
    config = optimizer.get_config()["learning_rate"]
    if not isinstance(config, dict):
        return current, False
    try:
        schedule = keras.optimizers.schedules.deserialize(config)
        named = [n for n in keras.tree.flatten(config["config"]) if isinstance(n, int) and n > 0]
        steps = np.unique(np.linspace(0, sum(named), _EVALUATED).astype("int64"))
        steps = np.union1d(steps, [n + after for n in named for after in (0, 1)])
        rates = [float(ops.convert_to_numpy(schedule(int(step)))) for step in steps]
    except Exception:
        # Schedules of the user may need other arguments, or not be registered.
        return current, True
    return max(filter(math.isfinite, rates), default=current), True


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _norm(arrays: list[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.sum(np.square(a, dtype="float64"))) for a in arrays))
