"""Decide from two batches, before training, whether a model cannot learn."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_initx.errors import error_line

from ..data import Batch
from .signal_probe import Signal, SignalProbe

# From `benchmarks/screening.py --thresholds`; docs/tuning.md lists the runs.
# A loss above LOSS_MAX and above LOSS_RATIO_MAX times the loss of constant outputs starts too far away.
LOSS_RATIO_MAX = 1e6
LOSS_MAX = 1e3
# The spread of the outputs and the largest hidden gradient below which no hidden layer can learn.
SPREAD_MIN = 1e-7
GRADIENT_MIN = 1e-9


class Screen:
    """A check for models that cannot learn; all of its batches must agree.

    Args:
        samples: One or two batches.

    Attributes:
        signal: The signal of the last model on the first batch; None if it could not be measured.
    """

    def __init__(self, samples: Sequence[Batch]) -> None:
        self._probes = [SignalProbe(sample) for sample in samples]
        self._has_warned = False
        self.signal: Signal | None = None

    def __call__(self, model: keras.Model, scratch: dict[str, Any] | None = None) -> str | None:
        """Return why a model cannot learn, or None if it may.

        A model that cannot be measured also returns None; the first one issues a warning.

        Args:
            model: A built and compiled model. Its state is restored afterwards.
            scratch: As in `SignalProbe`.
        """
        reason = self.signal = None
        for probe in self._probes:
            try:
                signal = probe(model, scratch)
                self.signal = self.signal or signal
                reason = untrainable_reason(signal)
            except Exception as error:
                if not self._has_warned:
                    warnings.warn(
                        f"{model.name!r} cannot be screened, so it is trained without: "
                        f"{error_line(error)}. Pass screening=False to silence this.",
                        stacklevel=2,
                    )
                self._has_warned = True
                return None
            if reason is None:
                return None
        return reason


def untrainable_reason(signal: Signal) -> str | None:
    """Return why a model cannot learn, in words, or None.

    A model that may still learn passes, however badly it starts. A model cannot learn

    - if its loss or a gradient is not finite (in float16 only the loss counts: training skips a step with
      such a gradient and lowers the loss scale);
    - if the units of every hidden kernel are equal, in weights and gradients, and so are the inputs of the
      last kernel: they stay equal, and each layer acts as a single unit;
    - if its outputs are the same for all samples (their spread is below 1e-7) and no gradient of a hidden
      kernel is above 1e-9 (root mean square): only the output layer could learn. Networks that start this
      way on purpose pass: a last kernel of zeros, a gate at zero that has a gradient;
    - if its loss is above 1e3 and more than 1e6 times the loss of constant outputs: it starts too far off.

    Args:
        signal: The measurement of a `SignalProbe`.

    Example:

    >>> untrainable_reason(Signal(loss=float("nan"), constant=2.3, spread=1.0, kernels=()))
    'the loss is nan on the first batch'
    """
    if not math.isfinite(signal.loss):
        return f"the loss is {signal.loss} on the first batch"
    for kernel in signal.kernels:
        if not signal.half and not math.isfinite(kernel.gradient):
            return f"the gradient of {kernel.path} is not finite"
    hidden, last = signal.kernels[:-1], signal.kernels[-1:]
    if hidden and all(k.units_equal for k in hidden) and last[0].inputs_equal:
        return (
            f"symmetric: all units of {hidden[0].path} and of every later layer have equal weights and "
            "equal gradients"
        )
    if hidden and last[0].weight > 0 and not signal.opens and signal.spread < SPREAD_MIN:
        largest = max(kernel.gradient for kernel in hidden)
        if largest < GRADIENT_MIN:
            return (
                "vanished: the outputs are the same for all samples, and no gradient of a hidden kernel is "
                f"above {largest:.1e}"
            )
    if signal.loss > LOSS_MAX and 0 < signal.constant < signal.loss / LOSS_RATIO_MAX:
        return f"exploded: the loss is {signal.loss:.1e}, but {signal.constant:.2g} for constant outputs"
    return None
