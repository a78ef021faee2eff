"""Tells before training, from two batches, that a model cannot learn."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from .signal_probe import Batch, Signal, SignalProbe

# Found by `benchmarks/screening.py --thresholds`; docs/tuning.md has the runs.
LOSS_RATIO_MAX = 1e6
LOSS_MAX = 1e3
SPREAD_MIN = 1e-7
GRADIENT_MIN = 1e-9


class Screen:
    """Why models are not worth their training, by two batches that both say so.

    Args:
        samples: The two batches (x, y).

    Attributes:
        seen: What the first batch showed of the last model; None where that could not be looked at.
    """

    def __init__(self, samples: Sequence[Batch]) -> None:
        self._probes = [SignalProbe(sample) for sample in samples]
        self._works = True
        self.seen: Signal | None = None

    def __call__(self, model: keras.Model, beside: dict[str, Any] | None = None) -> str | None:
        """The reason, or None; also where the model cannot be looked at, with a warning the first time.

        Args:
            model: A built and compiled model, which is as it was afterwards.
            beside: As in `SignalProbe`.
        """
        reason = self.seen = None
        for probe in self._probes:
            try:
                signal = probe(model, beside)
                self.seen = self.seen or signal
                reason = untrainable_reason(signal)
            except Exception as error:
                if self._works:
                    text = " ".join(str(error).split())[:200]
                    warnings.warn(
                        f"{model.name!r} cannot be looked at before its training, and is trained: "
                        f"{type(error).__name__}: {text}. Pass screening=False to silence this.",
                        stacklevel=2,
                    )
                self._works = False
                return None
            if reason is None:
                return None
        return reason


def untrainable_reason(signal: Signal) -> str | None:
    """Why a model is not worth its training, in words; None where nothing speaks against it.

    What may still train is left alone, however badly it starts. A model is doomed

    - if its loss, or a gradient, is not finite (in float16 only the loss: training skips such a step, and
      lowers the scale of its gradients);
    - if the units of every hidden kernel are alike, in weights and gradient, and to the last kernel too: they
      stay so, and the layers are worth one unit each;
    - if its outputs are the same for all samples (their spread is below 1e-7) and no gradient of a hidden
      kernel is above 1e-9 (root mean square): nothing but the output layer can learn. Networks that are meant
      to begin so are left alone: a last kernel of zeros, a gate at zero that has a gradient;
    - if its loss is above 1e3 and more than 1e6 times that of constant outputs: it starts too far away.

    Args:
        signal: What `SignalProbe` measured.

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
    if hidden and all(k.units_alike for k in hidden) and last[0].inputs_alike:
        return (
            f"symmetric: the units of {hidden[0].path} and of all after it are alike, weights and gradients"
        )
    if hidden and last[0].weight > 0 and not signal.opens and signal.spread < SPREAD_MIN:
        largest = max(kernel.gradient for kernel in hidden)
        if largest < GRADIENT_MIN:
            return (
                "vanished: the outputs are the same for all samples, and no gradient of a hidden kernel is "
                f"above {largest:.1e}"
            )
    if signal.loss > LOSS_MAX and 0 < signal.constant < signal.loss / LOSS_RATIO_MAX:
        return f"exploded: the loss is {signal.loss:.1e}, that of constant outputs {signal.constant:.2g}"
    return None
