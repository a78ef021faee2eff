"""Reduce a tensor to a few numbers inside the pass, whatever its size.

In the functions below, z is the tensor. Its first axis holds samples and one other axis units; any further
axes are positions.

Large tensors are reduced in parts, so that no copy of the whole is needed: a pass is to fit where a training
step fits.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

FORWARD = (
    "mean",
    "second_moment",
    "spread",
    "largest",
    "not_finite",
    "effective_rank",
    "sample_cosine",
    "token_cosine",
    "unit_spread",
)
OUTPUT = ("output_second_moment", "dead", "saturated")
GRADIENT = ("gradient_mean", "gradient_second_moment", "gradient_not_finite", "gradient_unit_spread")
# The bins of a histogram, and the entries that it counts: more entries hardly change such coarse bins.
BINS, COUNTED = 32, 4096
# The samples among which the effective rank is measured: TimeDistributed turns every time into a sample.
RANKED = 512
# The number of entries that are reduced at once.
PART = 2**17
# The relative difference that rounding leaves between equal values.
_ROUNDING = 1e-6
_TINY = 1e-30


def forward(z: Any, units: int) -> Any:
    """Return the numbers named in `FORWARD` as a vector.

    Mean, second moment and spread are of z divided by its largest entry; `unscaled` undoes that.

    mean, second_moment   Over all entries.
    spread                sqrt(mean over entries of the variance over samples): what distinguishes samples;
                          NaN for one sample.
    largest               The largest absolute value.
    not_finite            The share of entries that are NaN or infinite.
    effective_rank        (tr G)^2 / tr(G^2), where G is the Gram matrix of the samples after their mean is
                          subtracted: the number of directions in which n samples differ, at most n - 1;
                          NaN for one sample. Of more than `RANKED` samples, or `PART` entries, a
                          random choice counts.
    sample_cosine         The mean cosine between two different samples.
    token_cosine          The mean cosine between two positions of one sample if z is (samples, positions,
                          units); else 0.
    unit_spread           sqrt(mean variance over units / second moment): 0 if all units are equal.

    Args:
        z: A tensor of floats, samples first.
        units: The axis of the units.
    """
    z = ops.stop_gradient(_units_last(z, units))
    samples, entries = z.shape[0], math.prod(z.shape)
    largest, size = _size(z)
    mean_sample = ops.mean(ops.reshape(z, (samples, -1)), axis=0) / size
    has_tokens = len(z.shape) == 3 and z.shape[1] > 1

    def part(start: Any, count: int) -> tuple[Any, Any]:
        # Divide by the largest entry first: the square of 1e-25, or of 1e25, does not fit into 32 bits.
        values = _rows(z, start, count) / size
        rows = ops.reshape(values, (count, -1))
        directions = _directions(rows)
        sums = [
            ops.sum(rows),
            ops.sum(ops.square(rows)),
            ops.sum(ops.square(rows - mean_sample)),
            not_finite(rows) * math.prod(rows.shape),
            ops.sum(ops.square(directions)),
            ops.sum(_cosines(values)) if has_tokens else ops.zeros(()),
            ops.sum(ops.var(values, axis=-1)) * values.shape[-1],
        ]
        return ops.stack(sums), ops.sum(directions, axis=0)

    sums, direction = _summed(part, samples, entries)
    total, squares, centred, bad, with_itself, cosines, unit_squares = ops.unstack(sums, num=7)
    # One sample alone shows nothing of how samples differ.
    several = 1.0 if samples > 1 else math.nan
    pairs = max(samples * (samples - 1), 1)
    return ops.stack(
        [
            total / entries,
            squares / entries,
            several * ops.sqrt(centred / entries),
            largest,
            bad / entries,
            several * _effective_rank(z, size, mean_sample),
            (ops.sum(ops.square(direction)) - with_itself) / pairs,
            cosines / samples,
            ops.sqrt(unit_squares / (squares + _TINY * entries)),
        ]
    )


def _effective_rank(z: Any, size: Any, mean_sample: Any) -> Any:
    rows = ops.reshape(z, (z.shape[0], -1))
    rng = np.random.default_rng(0)
    if rows.shape[0] > RANKED:
        # The Gram matrix grows with the square of the number of samples.
        chosen = np.sort(rng.choice(rows.shape[0], RANKED, replace=False))
        rows = ops.take(rows, chosen.astype("int32"), axis=0)
    if rows.shape[1] > (most := max(1, PART // rows.shape[0])):
        features = np.sort(rng.integers(rows.shape[1], size=most)).astype("int32")
        rows, mean_sample = ops.take(rows, features, axis=1), ops.take(mean_sample, features)
    centred = rows / size - mean_sample
    gram = ops.matmul(centred, ops.transpose(centred))
    return ops.square(ops.trace(gram) / (ops.sqrt(ops.sum(ops.square(gram))) + _TINY))


def unscaled(numbers: dict[str, float]) -> dict[str, float]:
    """Return the numbers of `forward` with mean, second moment and spread multiplied back to scale.

    This happens in 64 bits, where the square of any 32-bit number fits.
    """
    largest = numbers["largest"]
    size = largest if math.isfinite(largest) and largest > 0 else 1.0
    powers = {"mean": 1, "second_moment": 2, "spread": 1}
    return {name: value * size ** powers.get(name, 0) for name, value in numbers.items()}


def output(y: Any, units: int, bounds: tuple[float | None, float | None], targets: Any = None) -> Any:
    """Return the numbers named in `OUTPUT`, for the output of an activation.

    output_second_moment  The second moment over all entries.
    dead                  The share of units that are the same for all samples and positions; NaN for one
                          sample without positions.
    saturated             The share of entries within 1 % of a bound of the activation; 0 without bounds. With
                          targets, an entry that is within 10 % of its target does not count.

    Args:
        y: The activation's output.
        units: The axis of the units.
        bounds: The lower and the upper limit of the activation; None on an unbounded side.
        targets: What y is meant to be, in the same shape; None if y is not an output of the model.
    """
    y = _units_last(y, units)
    columns = ops.reshape(y, (-1, y.shape[-1]))
    least, most = ops.min(columns, axis=0), ops.max(columns, axis=0)
    several = 1.0 if columns.shape[0] > 1 else math.nan
    largest = ops.maximum(ops.max(most), -ops.min(least))
    dead = several * ops.cast(most - least <= _ROUNDING * largest, "float32")
    low, high = bounds
    margin = 0.01 * (high - low) if low is not None and high is not None else 0.01 * abs(high or low or 0)
    if targets is not None:
        targets = _units_last(targets, units)

    def part(start: Any, count: int) -> Any:
        values = _rows(y, start, count)
        outside = [values >= high - margin] if high is not None else []
        outside += [values <= low + margin] if low is not None else []
        if targets is not None:
            is_wrong = ops.abs(values - _rows(targets, start, count)) > 10 * margin
            outside = [ops.logical_and(one, is_wrong) for one in outside]
        saturated = sum((ops.sum(ops.cast(one, "float32")) for one in outside), ops.zeros(()))
        return ops.stack([ops.sum(ops.square(values)), saturated])

    second, saturated = ops.unstack(_summed(part, y.shape[0], math.prod(y.shape)) / math.prod(y.shape), num=2)
    return ops.stack([second, ops.mean(dead), saturated])


def extremes(y: Any, units: int) -> Any:
    """Return the least and the largest value of each unit over samples and positions: (2, units)."""
    y = _units_last(y, units)
    columns = ops.reshape(y, (-1, y.shape[-1]))
    return ops.stack([ops.min(columns, axis=0), ops.max(columns, axis=0)])


def gradient(g: Any, units: int = -1) -> Any:
    """Return the numbers named in `GRADIENT`.

    gradient_mean, gradient_second_moment   Over all entries.
    gradient_not_finite                     The share of entries that are NaN or infinite.
    gradient_unit_spread                    The spread over units, as in `forward`.

    Args:
        g: A gradient.
        units: The axis of the units.
    """
    g = _units_last(g, units)
    _, size = _size(g)
    entries = math.prod(g.shape)

    def part(start: Any, count: int) -> Any:
        # Divide by the largest entry first: the square of a gradient of 1e-20 is zero in 32 bits.
        values = _rows(g, start, count) / size
        sums = [
            ops.sum(values),
            ops.sum(ops.square(values)),
            not_finite(values) * math.prod(values.shape),
            ops.sum(ops.var(values, axis=-1)) * values.shape[-1],
        ]
        return ops.stack(sums)

    total, squares, bad, unit_squares = ops.unstack(_summed(part, g.shape[0], entries) / entries, num=4)
    unit_spread = ops.sqrt(unit_squares / (squares + _TINY))
    return ops.stack([total * size, squares * size * size, bad, unit_spread])


def after(tensor: Any, numbers: Any) -> Any:
    """Return a tensor once its numbers are computed.

    While a tensor waits to be reduced, the next operation cannot overwrite it and needs as much memory again.
    """
    first = ops.stop_gradient(numbers[0])
    zero = 0.0 * ops.where(ops.isfinite(first), first, 0.0)
    return ops.add(tensor, ops.cast(zero, tensor.dtype))


def histogram(values: Any) -> Any:
    """Return the least and the largest entry, and the counts of `BINS` equal bins between them.

    At most `COUNTED` entries are counted, and only finite ones.
    """
    flat = ops.reshape(ops.cast(values, "float32"), (-1,))
    finite = ops.isfinite(flat)
    least = ops.min(ops.where(finite, flat, math.inf))
    most = ops.max(ops.where(finite, flat, -math.inf))
    size = flat.shape[0]
    if size > COUNTED:
        # A random sample: every n-th entry would be the same few units of a layer of n units.
        flat = ops.take(flat, np.random.default_rng(0).integers(size, size=COUNTED).astype("int32"))
        finite = ops.isfinite(flat)
    width = ops.maximum((most - least) / BINS, _TINY)
    bins = ops.clip(ops.floor(ops.where(finite, flat - least, 0.0) / width), 0, BINS - 1)
    counts = ops.segment_sum(ops.cast(finite, "float32"), ops.cast(bins, "int32"), num_segments=BINS)
    return ops.concatenate([ops.stack([least, most]), counts])


def not_finite(values: Any) -> Any:
    """Return the share of entries that are NaN or infinite."""
    return ops.mean(ops.cast(ops.logical_not(ops.isfinite(values)), "float32"))


def _size(values: Any) -> tuple[Any, Any]:
    """Return the largest absolute value, and the number to divide by."""
    largest = ops.maximum(ops.max(values), -ops.min(values))
    return largest, ops.where(ops.isfinite(largest) & (largest > 0), largest, 1.0)


def _rows(values: Any, start: Any, count: int) -> Any:
    """Return `count` entries of the first axis."""
    if count == values.shape[0]:
        return values
    rest = len(values.shape) - 1
    return ops.slice(values, [start, *[0] * rest], (count, *values.shape[1:]))


def _summed(part: Callable[[Any, int], Any], rows: int, entries: int) -> Any:
    """Return the sum of part(start, count) over parts of some rows of about `PART` entries."""
    count = max(1, rows * PART // max(entries, 1))
    if count >= rows:
        return part(0, rows)

    def added(one: Any, other: Any) -> Any:
        return keras.tree.map_structure(ops.add, one, other)

    whole = rows // count
    total = ops.fori_loop(1, whole, lambda n, total: added(total, part(n * count, count)), part(0, count))
    return added(total, part(whole * count, rows % count)) if rows % count else total


def attention(weights: Any, visible: Any = None) -> Any:
    """Return the normalized entropy of each head and the spread between its queries: (2, heads).

    entropy   The mean over queries of -sum_k a_k log a_k / log(keys), over the keys that a query may see: 1
              if all of them have equal weight, 0 if each query attends to one.
    spread    1 - |mean over queries of a|^2 / mean over queries of |a|^2: 0 if all queries attend alike.

    Queries that may see at most one key have no choice and are left out. The result is NaN if no query is
    left.

    Args:
        weights: Attention weights a of shape (samples, heads, queries, keys), whose rows sum to 1.
        visible: The mask of keys that each query may see, in a shape that broadcasts to `weights`; None if
            all are visible.
    """
    weights = ops.cast(weights, "float32")
    visible = ops.ones((1, 1, 1, 1), dtype="bool") if visible is None else ops.cast(visible, "bool")
    keys = ops.sum(ops.cast(ops.broadcast_to(visible, weights.shape), "float32"), axis=-1)
    chooses = ops.cast(keys > 1, "float32")
    weights = weights * chooses[..., None]
    entropy = -ops.sum(weights * ops.log(ops.maximum(weights, _TINY)), axis=-1) / ops.log(
        ops.maximum(keys, 2.0)
    )
    # A sample with a single query does not show how queries differ.
    count = ops.sum(chooses, axis=2)
    alone = ops.sum(ops.square(weights), axis=(2, 3)) / ops.maximum(count, 1.0)
    together = ops.sum(ops.square(ops.sum(weights, axis=2) / ops.maximum(count, 1.0)[..., None]), axis=-1)
    several = ops.cast(count > 1, "float32")
    spread = 1 - _ratio(ops.sum(together * several, axis=0), ops.sum(alone * several, axis=0))
    return ops.stack([_ratio(ops.sum(entropy, axis=(0, 2)), ops.sum(chooses, axis=(0, 2))), spread])


def _ratio(part: Any, total: Any) -> Any:
    return ops.where(total > 0, part / ops.maximum(total, _TINY), math.nan)


def _cosines(rows: Any) -> Any:
    """Return the mean cosine between two different rows of each (n, d) matrix of a batch, n at least 2.

    The squared norm of the sum of n unit vectors contains all their cosines at once.
    """
    n = rows.shape[1]
    directions = _directions(rows)
    total = ops.sum(ops.square(ops.sum(directions, axis=1)), axis=-1)
    with_itself = ops.sum(ops.square(directions), axis=(1, 2))
    return (total - with_itself) / (n * (n - 1))


def _directions(rows: Any) -> Any:
    """Return rows of length 1. A row of zeros has no direction; its cosines count as 0."""
    return rows / (ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True)) + _TINY)


def _units_last(z: Any, units: int) -> Any:
    z = ops.cast(z, "float32")
    if len(z.shape) < 2:
        # A vector of samples, or a scalar weight, has one unit.
        z = ops.reshape(z, (-1, 1))
    return ops.moveaxis(z, units, -1) if units % len(z.shape) != len(z.shape) - 1 else z
