"""Declared against measured: kernels that are not what their initializers promise, equal weights."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch
from keras_initx._weights import WeightIndex, draw_again, known_initializer
from keras_initx.diagnostics.batch import are_same
from keras_initx.diagnostics.probe.points import ProbePoint
from keras_initx.diagnostics.records import NOTED, Finding, LayerSignal
from keras_initx.initializers import is_overridden

# A larger kernel is not drawn once more to compare.
_LARGEST = 2**24
# What is a difference, beyond five standard errors.
_OFF = 0.2
# Where more kernels than this share differ, that was meant.
_MOST = 0.5
_RESIDUALS, _GROWTH = 4, 0.5


def declared(places: Sequence[ProbePoint], owners: WeightIndex) -> Iterator[Finding]:
    """Kernels whose standard deviation is not that of a draw from the initializer of their layer.

    Nothing of those that `initialize` drew, and nothing where most of the others are so.
    """
    kernels = {id(p.kernel): p for p in places if owners.has(p.kernel)}
    found: list[tuple[str, str]] = []
    known = 0
    for place in kernels.values():
        promised = None if is_overridden(place.kernel) else _promised(place.kernel, owners)
        if promised is None:
            continue
        known += 1
        measured = float(np.std(_values(place.kernel)))
        count = math.prod(place.kernel.shape)
        if abs(measured - promised[0]) > (_OFF + 5 / math.sqrt(2 * count)) * promised[0]:
            said = f"std {measured:.2g}, where {promised[1]} gives {promised[0]:.2g}"
            found.append((place.kernel.path, f"`{place.kernel.path}`: {said}"))
    if len(found) > _MOST * known:
        # Training, or a file of weights, changed them on purpose.
        return
    for path, said in found:
        yield Finding("declared", path, said)


def _promised(kernel: keras.Variable, owners: WeightIndex) -> tuple[float, str] | None:
    """The standard deviation that the layer's initializer gives a kernel of that shape, and its name."""
    initializer = known_initializer(owners.of(kernel)[0], kernel)
    if initializer is None or math.prod(kernel.shape) > _LARGEST:
        return None
    try:
        drawn = _values(draw_again(initializer, kernel, 0))
    except Exception:
        # Not every class can be drawn a second time.
        return None
    return float(np.std(drawn)), getattr(initializer, "__name__", type(initializer).__name__)


def identical(variables: Sequence[keras.Variable]) -> Iterator[Finding]:
    """Weights with the same values: one integer seed, or one shared initializer, gives equal shapes those."""
    seen: dict[tuple[Any, bytes], keras.Variable] = {}
    for variable in variables:
        values = _values(variable)
        if values.ndim < 2 or values.size < 2 or np.ptp(values) == 0:
            # Zeros and ones are what many weights begin with.
            continue
        if _is_given(values):
            continue
        key = values.shape, hashlib.sha256(values.tobytes()).digest()
        if (other := seen.setdefault(key, variable)) is not variable:
            text = (
                f"`{other.path}` and `{variable.path}` have the same values: give each its own seed, or none"
            )
            yield Finding("identical", variable.path, text)


def _is_given(values: np.ndarray) -> bool:
    """Whether a matrix is the identity, which is meant."""
    flat = values.reshape(-1, values.shape[-1])
    return flat.shape[0] == flat.shape[1] and np.array_equal(flat, np.eye(len(flat), dtype=flat.dtype))


def residuals(places: Sequence[ProbePoint], second_moments: Sequence[float]) -> Iterator[Finding]:
    """Residual branches without a normalization at their end that were not scaled down for their number N.

    Each adds its own second moment to the stream; scaled by 1/sqrt(2N) all of them together add a half.

    Args:
        places: The weighted steps.
        second_moments: Those of their results.
    """
    ends = [
        (p, m)
        for p, m in zip(places, second_moments, strict=True)
        if p.site.residual_number and not p.site.normalized
    ]
    total = ends[0][0].site.residuals if ends else 0
    if total < _RESIDUALS:
        return
    added = sum(m for _, m in ends if math.isfinite(m))
    if added > _GROWTH * total:
        path = ends[0][0].path
        text = (
            f"{len(ends)} residual branches, from `{path}` on, were not scaled down for it: they add "
            f"{added:.2g} to the second moment of the stream (with 1/sqrt(2N), 0.5); try initialize(model)"
        )
        yield Finding("residual", path, text)


def _values(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


# How far from 1 inputs may be before they are named where something is wrong.
_FAR = 30.0


# Of kernels: no start with less learned anything, under Adam, in benchmarks/screening.py.
_NO_GRADIENT = 1e-9


def whole(
    model: keras.Model,
    batch: Batch,
    rows: Sequence[LayerSignal],
    received: float,
    findings: Sequence[Finding],
) -> Iterator[Finding]:
    """The findings that are about no layer, most serious first.

    Args:
        model: The model.
        batch: What it was looked at on.
        rows: Its layers.
        received: The root mean square of what the first weights are given; 0 where that are no floats.
        findings: What is wrong with layers.
    """
    if all(are_same(values) for values in keras.tree.flatten(batch.x)):
        text = "all samples in x are the same: nothing can tell them apart, whatever the weights; pass others"
        yield Finding("same inputs", "", text)
    gradients = [row.kernel_gradient for row in rows if row.kernel_gradient >= 0]
    if not model.trainable_variables:
        yield Finding("frozen", "", "no weight is trainable: a training would change nothing")
    elif gradients and max(gradients) < _NO_GRADIENT and all(f.verdict in NOTED for f in findings):
        # Where a signal vanishes that is why, and said already.
        measured = f"no kernel has a gradient above {max(gradients):.1g}"
        text = f"{measured}: targets that are met already, a constant loss, stop_gradient or rounding"
        yield Finding("no gradient", "", text)
    serious = {"exploding", "vanishing", "inputs alike", "saturated"} & {f.verdict for f in findings}
    if serious and received > 0 and not 1 / _FAR <= received <= _FAR:
        text = (
            f"the first weights are given inputs of root mean square {received:.2g}, and are drawn for 1: "
            "rescale them (keras.layers.Rescaling, Normalization), or initialize(model, data=x)"
        )
        yield Finding("input scale", "", text)
