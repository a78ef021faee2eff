"""Tells before training, from one batch, that a model cannot learn."""

import math

from .signal import Signal

# Found by `benchmarks/screening.py --thresholds`; docs/screening.md has the runs.
FARTHEST = 1e6
SAME = 1e-7
SMALLEST = 1e-9


def doom(signal: Signal) -> str | None:
    """Why a model cannot learn, in words; None where nothing speaks against it.

    Only what is sure: what may still train is left alone, however badly it starts. A model is doomed

    - if its loss, or a gradient, is not finite;
    - if the units of every hidden kernel are alike, in weights and gradient, and to the last kernel too: they
      stay so for ever;
    - if its outputs are the same for all samples (their spread is below 1e-7) and no gradient of a hidden
      kernel is above 1e-9 (root mean square): nothing but the output layer can learn. Where the last kernel
      is zero, as in networks that are meant to begin so, this says nothing;
    - if its loss is more than 1e6 times that of constant outputs: it starts too far away.

    Args:
        signal: What `SignalProbe` measured.

    Example:

    >>> doom(Signal(loss=float("nan"), constant=2.3, spread=1.0, kernels=()))
    'the loss is nan on the first batch'
    """
    if not math.isfinite(signal.loss):
        return f"the loss is {signal.loss} on the first batch"
    for kernel in signal.kernels:
        if not math.isfinite(kernel.gradient):
            return f"the gradient of {kernel.path} is not finite"
    hidden, last = signal.kernels[:-1], signal.kernels[-1:]
    if hidden and all(k.units_alike for k in hidden) and last[0].inputs_alike:
        return (
            f"symmetric: the units of {hidden[0].path} and of all after it are alike, weights and gradients"
        )
    if hidden and last[0].weight > 0 and signal.spread < SAME:
        largest = max(kernel.gradient for kernel in hidden)
        if largest < SMALLEST:
            return (
                "vanished: the outputs are the same for all samples, and no gradient of a hidden kernel is "
                f"above {largest:.1e}"
            )
    if 0 < signal.constant < signal.loss / FARTHEST:
        return f"exploded: the loss is {signal.loss:.1e}, that of constant outputs {signal.constant:.2g}"
    return None
