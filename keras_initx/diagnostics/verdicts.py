"""From figures to words: what is wrong with a layer, and what helps."""

import math
from collections.abc import Sequence

from keras_initx.diagnostics.records import Finding, HeadSignal, LayerSignal

# Beyond these a layer is lost, by its own signal or by its gradient against the last layer's.
_VANISHED, _EXPLODED = 1e-3, 1e3
_GRADIENT_VANISHED, _GRADIENT_EXPLODED = 1e-5, 1e5
# Shares of units, and of entries.
_DEAD, _SATURATED = 0.5, 0.5
# What tells samples apart, against the signal; and the cosine of tokens.
_ALIKE, _TOKENS = 1e-3, 0.9999
_UNITS = 1e-4
_ENTROPY = 0.02
# The spread of queries below which a head's outputs have a cosine of `_TOKENS`, whatever its values.
_QUERIES = 1 - _TOKENS
_HELP = "try initialize(model)"
_CUT = "no gradient comes here at all: look for stop_gradient, rounding, or a branch that is closed behind it"


def verdicts_of(row: LayerSignal, rows: Sequence[LayerSignal]) -> tuple[str, ...]:
    """The words for one layer among `rows`, in the order of `VERDICTS`.

    non-finite    Any entry, or gradient, that is.
    exploding     std above 1e3, or a gradient above 1e5 times that of the last layer.
    vanishing     std below 1e-3, if no later layer has a larger one; or a gradient below 1e-5 times that of
                  the last layer, if no earlier layer has a larger one: a branch that begins closed is none.
    symmetric     More than one unit, all with the same values and the same gradient.
    inputs alike  What differs between samples is below a thousandth of the signal.
    dead          More than half of the units return the same for all samples.
    saturated     More than half of the entries within 1 % of a bound.

    Kernels of zeros whose units have different gradients, such as an output layer's, are left alone.
    """
    if row.not_finite > 0 or row.gradient_not_finite > 0:
        return ("non-finite",)
    last = next((r.gradient_rms for r in reversed(rows) if r.gradient_rms > 0), 0.0)
    growth = row.gradient_rms / last if last else math.nan
    closed = row.kernel_std == 0 and _opens(row, rows[-1])
    alike = row.spread < _ALIKE * math.sqrt(row.second_moment) and not row.looks_up
    found = {
        "exploding": row.std > _EXPLODED or growth > _GRADIENT_EXPLODED,
        "vanishing": not closed and (_is_lost(row, rows) or _is_cut_off(row, rows, last)),
        "symmetric": not closed
        and row.shape[-1] > 1
        and max(row.units_differ, row.gradient_units_differ) < _UNITS,
        "inputs alike": not closed and alike,
        "dead": not closed and row.dead > _DEAD and not row.looks_up,
        "saturated": row.saturated > _SATURATED,
        "rank collapse": row.tokens_alike > _TOKENS and not row.looks_up,
    }
    return tuple(word for word, is_so in found.items() if is_so)


def _opens(row: LayerSignal, last: LayerSignal) -> bool:
    """Whether a kernel of zeros is one that the first steps of a training open."""
    if row.gradient_rms > 0:
        return row.gradient_units_differ > _UNITS or row.shape[-1] == 1
    # A branch behind which the output layer is closed too, and opens first.
    return row.ends_branch and last.kernel_std == 0 and last.kernel_gradient > 0


def _is_lost(row: LayerSignal, rows: Sequence[LayerSignal]) -> bool:
    """Whether a signal is gone here, and does not go past it: no later layer has one."""
    later = [r for r in rows[row.number :] if r.kernel_std > 0]
    return row.std < _VANISHED and all(r.std < _VANISHED for r in later)


def _is_cut_off(row: LayerSignal, rows: Sequence[LayerSignal], last: float) -> bool:
    """Whether no gradient comes here, nor to any layer before; an output layer of zeros lets none through."""
    lets_through = rows[-1].kernel_std > 0
    earlier = [r for r in rows[: row.number] if math.isfinite(r.gradient_rms)]
    return lets_through and bool(earlier) and all(r.gradient_rms < _GRADIENT_VANISHED * last for r in earlier)


def verdicts_of_head(head: HeadSignal) -> tuple[str, ...]:
    """Whether each query of a head sees one key only, or all of them see the same."""
    found = {"entropy collapse": head.entropy < _ENTROPY, "rank collapse": head.spread < _QUERIES}
    return tuple(word for word, is_so in found.items() if is_so)


def explained_heads(word: str, heads: Sequence[HeadSignal]) -> Finding:
    """One finding for all heads with one verdict."""
    first = [h for h in heads if h.path == heads[0].path]
    names = f"`{heads[0].path}` head{'s' * (len(first) > 1)} {', '.join(str(h.head) for h in first)}"
    more = f" (and {len(heads) - len(first)} more)" if len(heads) > len(first) else ""
    measured = {
        "entropy collapse": f"entropy {heads[0].entropy:.2g} of 1, {word}; scale its queries and keys down",
        "rank collapse": f"its queries differ by {heads[0].spread:.2g} in what they see, {word}: all tokens "
        "get the same from it; scale its queries and keys up, or initialize(model)",
    }[word]
    return Finding(word, heads[0].path, f"{names}{more}: {measured}")


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
    "vanishing": lambda row, last: (
        _size(row, last),
        _HELP if row.gradient_rms > 0 or row.std < _VANISHED else _CUT,
    ),
    "symmetric": lambda row, last: (
        "all units have the same values",
        "draw its kernel: zeros and constants never part",
    ),
    "inputs alike": lambda row, last: (
        f"samples differ by {row.spread:.1g} in a signal of {math.sqrt(row.second_moment):.1g}",
        _HELP,
    ),
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
