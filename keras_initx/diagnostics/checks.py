"""Check what no single layer's signal shows: initializers, equal weights, residual scale, the whole model."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch
from keras_initx._weights import WeightIndex, draw_from, own_initializer
from keras_initx.diagnostics.batch import is_constant
from keras_initx.diagnostics.probe import ProbePoint, SingleEntries
from keras_initx.diagnostics.records import NOTED, Finding, LayerSignal
from keras_initx.diagnostics.verdicts import Advice
from keras_initx.initializers import is_overridden

# A larger kernel is not drawn a second time to compare.
_MAX_REDRAWN = 2**24
# The relative difference in std, beyond five standard errors, that counts as a mismatch.
_STD_MISMATCH = 0.2
# If more than this share of the kernels mismatch, they were changed on purpose.
_MAX_MISMATCHED = 0.5
# Fewer residual branches need no scaling.
_MIN_RESIDUALS = 4
# Unscaled branches add more than this to the stream, each on average.
_RESIDUAL_GROWTH = 0.5
# Kernel gradients below this are none: no smaller start learned, under Adam, in benchmarks/screening.py.
_NO_GRADIENT = 1e-9


def check_initializers(points: Sequence[ProbePoint], index: WeightIndex) -> Iterator[Finding]:
    """Find kernels whose standard deviation does not match a draw from their layer's initializer.

    Kernels that `initialize` drew are left out. If most of the others mismatch, there is no finding: training
    or a file of weights changed them on purpose.
    """
    kernels = {id(p.kernel): p.kernel for p in points if index.has(p.kernel)}
    findings: list[Finding] = []
    compared = 0
    for kernel in kernels.values():
        expected = None if is_overridden(kernel) else _expected_std(kernel, index)
        if expected is None:
            continue
        compared += 1
        std, name = expected
        measured = float(np.std(_values(kernel)))
        tolerance = _STD_MISMATCH + 5 / math.sqrt(2 * math.prod(kernel.shape))
        if abs(measured - std) > tolerance * std:
            text = f"`{kernel.path}` has std {measured:.2g}, but its initializer {name} gives {std:.2g}."
            findings.append(Finding("declared", kernel.path, text))
    if len(findings) <= _MAX_MISMATCHED * compared:
        yield from findings


def _expected_std(kernel: keras.Variable, index: WeightIndex) -> tuple[float, str] | None:
    """Return the std of a draw from the layer's initializer in the kernel's shape, and its name."""
    initializer = own_initializer(index.of(kernel)[0], kernel)
    if initializer is None or math.prod(kernel.shape) > _MAX_REDRAWN:
        return None
    try:
        drawn = _values(draw_from(initializer, kernel, 0))
    except Exception:
        # Some classes cannot be drawn a second time.
        return None
    return float(np.std(drawn)), getattr(initializer, "__name__", type(initializer).__name__)


def check_equal_weights(variables: Sequence[keras.Variable]) -> Iterator[Finding]:
    """Find weights with the same values, which one integer seed or one shared initializer gives."""
    first: dict[tuple[Any, bytes], keras.Variable] = {}
    for variable in variables:
        values = _values(variable)
        if values.ndim < 2 or values.size < 2 or np.ptp(values) == 0:
            # Many weights start from zeros or ones.
            continue
        if _is_identity(values):
            continue
        key = values.shape, hashlib.sha256(values.tobytes()).digest()
        if (other := first.setdefault(key, variable)) is not variable:
            text = (
                f"`{other.path}` and `{variable.path}` have the same values. "
                "Give each its own seed, or no seed at all."
            )
            yield Finding("identical", variable.path, text)


def _is_identity(values: np.ndarray) -> bool:
    """Return whether a weight is an identity matrix, which several layers may share on purpose."""
    flat = values.reshape(-1, values.shape[-1])
    return flat.shape[0] == flat.shape[1] and np.array_equal(flat, np.eye(len(flat), dtype=flat.dtype))


def check_residual_scale(
    points: Sequence[ProbePoint],
    rows: Sequence[LayerSignal],
    advice: Advice,
    input_rms: float = 1.0,
) -> Iterator[Finding]:
    """Find residual branches that do not end in a normalization and are not scaled down for their number N.

    Each branch adds its own second moment to the stream. Scaled by 1/sqrt(2N), all of them together add 0.5.

    Args:
        points: The weighted steps.
        rows: The signal at each of them.
        advice: The advice on the model's weights.
        input_rms: The root mean square of the inputs. A stream of larger inputs has a larger second moment.
    """
    ends = [
        (point, row)
        for point, row in zip(points, rows, strict=True)
        if point.context.residual_number and not point.context.normalized
    ]
    total = ends[0][0].context.residuals if ends else 0
    if total < _MIN_RESIDUALS:
        return
    added = sum(row.second_moment for _, row in ends if math.isfinite(row.second_moment))
    if added > _RESIDUAL_GROWTH * total * max(input_rms, 1.0) ** 2:
        path = ends[0][0].path
        would_draw = advice.draws(point.kernel for point, _ in ends)
        way = "Try initialize(model)." if would_draw else "Normalize the end of each branch."
        text = (
            f"{len(ends)} residual branches, `{path}` first, are not scaled down for their number: they add "
            f"{added:.2g} to the second moment of the stream, and would add 0.5 with a factor of 1/sqrt(2N). "
            f"{way}"
        )
        yield Finding("residual", path, text)


def check_single_entries(found: SingleEntries) -> Iterator[Finding]:
    """Find attentions over one position, and normalizations over one entry: their results are constants.

    They are notes where an input reaches the output around them, such as through a residual connection.
    """
    if found.normalizations:
        path, others = found.normalizations[0], _others(found.normalizations)
        text = (
            f"`{path}`{others} normalizes over a single entry, so it returns the same for every input "
            "and passes no gradient on. Normalize over another axis, widen its input, or remove it."
        )
        yield Finding("vanishing" if found.is_cut else "single entry", path, text)
    if found.attentions:
        path, others = found.attentions[0], _others(found.attentions)
        text = (
            f"`{path}`{others} attends to a single position, so its weights are always 1: its queries and "
            "keys change nothing and get no gradient. Only its values train."
        )
        yield Finding("single entry", path, text)


def _others(paths: Sequence[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""


def _values(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def check_model(
    model: keras.Model,
    batch: Batch,
    rows: Sequence[LayerSignal],
    findings: Sequence[Finding],
) -> Iterator[Finding]:
    """Find problems that concern no single layer, most serious first.

    Args:
        model: The model.
        batch: The batch that it was measured on.
        rows: The signal at each layer.
        findings: The findings on single layers.
    """
    inputs = keras.tree.flatten(batch.x)
    if len(inputs[0]) > 1 and all(map(is_constant, inputs)):
        text = "all samples in x are the same, so no weights can distinguish them. Pass samples that differ."
        yield Finding("same inputs", "", text)
    gradients = [row.kernel_gradient for row in rows if row.kernel_gradient >= 0]
    if not model.trainable_variables:
        yield Finding("frozen", "", "no weight is trainable: training would change nothing.")
    elif gradients and max(gradients) < _NO_GRADIENT and all(f.verdict in NOTED for f in findings):
        # With a serious finding the gradient is a consequence, and that finding names the cause.
        text = (
            f"no kernel has a gradient above {max(gradients):.1g}. Likely causes: targets that are already "
            "met, a constant loss, stop_gradient or rounding."
        )
        yield Finding("no gradient", "", text)
