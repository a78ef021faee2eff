"""From figures to words: what is wrong with a layer, and what helps."""

import math
from collections.abc import Sequence

from keras_initx.diagnostics.report import Finding, HeadSignal, LayerSignal

# The standard deviations of pre-activations that are healthy: the band of the plots.
HEALTHY = (0.03, 30.0)
# Beyond these a layer is lost, by its own signal or by its gradient against the last layer's.
_VANISHED, _EXPLODED = 1e-3, 1e3
_GRADIENT_VANISHED, _GRADIENT_EXPLODED = 1e-5, 1e5
# Shares of units, and of entries.
_DEAD, _SATURATED = 0.5, 0.5
_ALIKE = 0.9999
_UNITS = 1e-4
_ENTROPY = 0.02
_HELP = "try initialize(model)"


def verdicts_of(row: LayerSignal, rows: Sequence[LayerSignal]) -> tuple[str, ...]:
    """The words for one layer among `rows`, in the order of `VERDICTS`.

    non-finite    Any entry, or gradient, that is.
    exploding     std above 1e3, or a gradient above 1e5 times that of the last layer.
    vanishing     std below 1e-3, or a gradient below 1e-5 times that of the last layer.
    symmetric     More than one unit, all with the same values.
    inputs alike  A mean cosine of two samples above 0.9999.
    dead          More than half of the units return the same for all samples.
    saturated     More than half of the entries within 1 % of a bound.
    """
    if row.not_finite > 0 or row.gradient_not_finite > 0 or math.isinf(row.second_moment):
        return ("non-finite",)
    last = next((r.gradient_rms for r in reversed(rows) if r.gradient_rms > 0), 0.0)
    growth = row.gradient_rms / last if last else math.nan
    found = {
        "exploding": row.std > _EXPLODED or growth > _GRADIENT_EXPLODED,
        "vanishing": row.std < _VANISHED or growth < _GRADIENT_VANISHED,
        "symmetric": row.shape[-1] > 1 and row.second_moment >= 0 and row.units_differ < _UNITS,
        "inputs alike": row.alike > _ALIKE,
        "dead": row.dead > _DEAD,
        "saturated": row.saturated > _SATURATED,
        "rank collapse": row.tokens_alike > _ALIKE,
    }
    return tuple(word for word, is_so in found.items() if is_so)


def verdicts_of_head(head: HeadSignal) -> tuple[str, ...]:
    """Whether each query of a head sees one key only."""
    return ("entropy collapse",) if head.entropy < _ENTROPY else ()


def explained(word: str, rows: Sequence[LayerSignal], last: LayerSignal) -> Finding:
    """One finding for all layers with one verdict: what is measured at the worst, and what helps."""
    first = rows[0]
    worst = {
        # A signal is carried on, a gradient carried back: there they began.
        "non-finite": next((r for r in rows if r.not_finite > 0), rows[-1]),
        "exploding": max(rows, key=lambda r: _largest(r)),
        "vanishing": min(rows, key=lambda r: min(r.std, r.gradient_rms)),
        "dead": max(rows, key=lambda r: r.dead),
        "saturated": max(rows, key=lambda r: r.saturated),
    }.get(word, first)
    measured, advice = _TEXTS[word](worst, last)
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return Finding(
        word, worst.path, f"layer {worst.number} `{worst.path}`{more}: {measured}, {word}; {advice}"
    )


def _largest(row: LayerSignal) -> float:
    return max((v for v in (row.std, row.gradient_rms) if math.isfinite(v)), default=math.inf)


def _size(row: LayerSignal, last: LayerSignal) -> str:
    gradient = f"gradient {row.gradient_rms:.1g} against {last.gradient_rms:.1g} at the last layer"
    return f"pre-activation std {row.std:.1g}, {gradient}"


_TEXTS = {
    "non-finite": lambda row, last: (
        f"{100 * max(row.not_finite, row.gradient_not_finite):.0f} % of the values, or of their gradients, "
        "are NaN or infinite",
        "here it begins: look at its weights",
    ),
    "exploding": lambda row, last: (_size(row, last), _HELP),
    "vanishing": lambda row, last: (_size(row, last), _HELP),
    "symmetric": lambda row, last: (
        "all units have the same values",
        "draw its kernel: zeros and constants never part",
    ),
    "inputs alike": lambda row, last: (f"two samples have a cosine of {row.alike:.6g} here", _HELP),
    "dead": lambda row, last: (
        f"{100 * row.dead:.0f} % of the units return the same for every sample",
        f"{_HELP}, a smaller learning rate, or an activation with a slope everywhere",
    ),
    "saturated": lambda row, last: (
        f"{100 * row.saturated:.0f} % of the entries are within 1 % of the bounds of {row.activation}",
        _HELP,
    ),
    "rank collapse": lambda row, last: (
        f"the tokens of a sample have a cosine of {row.tokens_alike:.6g}",
        "add residual connections, or fewer attention layers in a row",
    ),
}
