"""What a tensor is reduced to inside of the compiled pass: a few numbers, whatever its size.

z is the tensor, with samples along its first axis and units along another; all else are positions.
"""

import math
from typing import Any

import numpy as np
from keras import ops

FORWARD = (
    "mean",
    "second_moment",
    "spread",
    "largest",
    "not_finite",
    "rank",
    "alike",
    "tokens_alike",
    "units",
)
AFTER = ("after_second_moment", "dead", "saturated")
GRADIENT = ("gradient_mean", "gradient_second_moment", "gradient_not_finite", "gradient_units")
# Of a histogram, and how many entries it counts: more say no more about so many bins.
BINS, COUNTED = 32, 4096
# Of what is the same for all samples rounding leaves this much.
_SAME = 1e-6
_TINY = 1e-30


def forward(z: Any, units: int) -> Any:
    """The numbers named in `FORWARD`, as a vector; the first three by the largest, as `unscaled` undoes.

    mean, second_moment   Of all entries.
    spread                sqrt(mean over entries of the variance over samples): what tells samples apart.
    largest               The largest absolute value.
    not_finite            The share of entries that are NaN or infinite.
    rank                  Effective rank (tr G)^2 / tr(G^2), G the samples' Gram matrix after the mean over
                          samples is taken off: in how many directions n samples differ, at most n - 1.
    alike                 The mean cosine between two different samples.
    tokens_alike          The same between two positions of one sample, where z is (samples, positions,
                          units); else 0.
    units                 sqrt(mean variance over units / second moment): 0 where all units are alike.

    Args:
        z: A tensor of floats, samples first.
        units: The axis of the units.
    """
    z = _units_last(z, units)
    samples = z.shape[0]
    largest = ops.max(ops.abs(z))
    # Ratios are of what is divided by the largest: the square of 1e-25, or of 1e25, has no place in 32 bits.
    size = ops.where(ops.isfinite(largest) & (largest > 0), largest, 1.0)
    z = z / size
    rows = ops.reshape(z, (samples, -1))
    second = ops.mean(ops.square(rows))
    centred = rows - ops.mean(rows, axis=0, keepdims=True)
    gram = ops.matmul(centred, ops.transpose(centred))
    trace = ops.trace(gram)
    return ops.stack(
        [
            ops.mean(rows),
            second,
            ops.sqrt(ops.mean(ops.square(centred))),
            largest,
            not_finite(rows),
            ops.square(trace / (ops.sqrt(ops.sum(ops.square(gram))) + _TINY)),
            _alike(rows[None]),
            _alike(z) if len(z.shape) == 3 and z.shape[1] > 1 else ops.zeros(()),
            ops.sqrt(ops.mean(ops.var(z, axis=-1)) / (second + _TINY)),
        ]
    )


def unscaled(found: dict[str, float]) -> dict[str, float]:
    """The numbers of `forward` with mean, second moment and spread as they are, and not by the largest.

    In 64 bits, where the square of what 32 bits hold has its place.
    """
    largest = found["largest"]
    size = largest if math.isfinite(largest) and largest > 0 else 1.0
    powers = {"mean": 1, "second_moment": 2, "spread": 1}
    return {name: value * size ** powers.get(name, 0) for name, value in found.items()}


def after(y: Any, units: int, bounds: tuple[float | None, float | None]) -> Any:
    """The numbers named in `AFTER`, of what an activation returns.

    after_second_moment   Of all entries.
    dead                  The share of units that are the same for all samples and positions.
    saturated             The share of entries within 1 % of a bound of the activation (0 where it has none).

    Args:
        y: What the activation returned.
        units: The axis of the units.
        bounds: The least and the largest value that the activation tends to; None where it has none.
    """
    y = _units_last(y, units)
    columns = ops.reshape(y, (-1, y.shape[-1]))
    least, most = ops.min(columns, axis=0), ops.max(columns, axis=0)
    dead = ops.cast(most - least <= _SAME * ops.max(ops.abs(columns)), "float32")
    low, high = bounds
    margin = 0.01 * (high - low) if low is not None and high is not None else 0.01 * abs(high or low or 0)
    outside = [y >= high - margin] if high is not None else []
    outside += [y <= low + margin] if low is not None else []
    saturated = sum((ops.mean(ops.cast(part, "float32")) for part in outside), ops.zeros(()))
    return ops.stack([ops.mean(ops.square(columns)), ops.mean(dead), saturated])


def extremes(y: Any, units: int) -> Any:
    """The least and the largest value of each unit, over samples and positions: (2, units)."""
    y = _units_last(y, units)
    columns = ops.reshape(y, (-1, y.shape[-1]))
    return ops.stack([ops.min(columns, axis=0), ops.max(columns, axis=0)])


def gradient(g: Any, units: int = -1) -> Any:
    """The numbers named in `GRADIENT`.

    Mean and second moment of all entries, the share that is not finite, and how much the units differ, as in
    `forward`.

    Args:
        g: A gradient.
        units: The axis of the units.
    """
    g = _units_last(g, units)
    second = ops.mean(ops.square(g))
    # Divided by the largest: the square of a gradient of 1e-20 is zero.
    scaled = g / (ops.max(ops.abs(g)) + _TINY)
    differ = ops.sqrt(ops.mean(ops.var(scaled, axis=-1)) / (ops.mean(ops.square(scaled)) + _TINY))
    return ops.stack([ops.mean(g), second, not_finite(g), differ])


def histogram(values: Any) -> Any:
    """Least and most of all entries, and the counts of `BINS` bins between them, of up to `COUNTED`.

    Entries that are not finite are left out.
    """
    flat = ops.reshape(ops.cast(values, "float32"), (-1,))
    finite = ops.isfinite(flat)
    least = ops.min(ops.where(finite, flat, math.inf))
    most = ops.max(ops.where(finite, flat, -math.inf))
    size = flat.shape[0]
    if size > COUNTED:
        # Not every n-th: that would be the same few units of a layer of n units.
        flat = ops.take(flat, np.random.default_rng(0).integers(size, size=COUNTED).astype("int32"))
        finite = ops.isfinite(flat)
    width = ops.maximum((most - least) / BINS, _TINY)
    place = ops.clip(ops.floor(ops.where(finite, flat - least, 0.0) / width), 0, BINS - 1)
    counts = ops.segment_sum(ops.cast(finite, "float32"), ops.cast(place, "int32"), num_segments=BINS)
    return ops.concatenate([ops.stack([least, most]), counts])


def not_finite(values: Any) -> Any:
    """The share of entries that are NaN or infinite."""
    return ops.mean(ops.cast(ops.logical_not(ops.isfinite(values)), "float32"))


def attention(weights: Any, visible: Any = None) -> Any:
    """Of each head the normalized entropy and the spread between queries: (2, heads).

    entropy   mean over queries of -sum_k a_k log a_k / log(keys), of the keys that a query may see: 1 where
              all of them weigh alike, 0 where each query looks at one.
    spread    1 - |mean over queries of a|^2 / mean over queries of |a|^2: 0 where all queries look alike.

    Queries that may see one key, or none, count in nothing: they have no choice. NaN where no other is left.

    Args:
        weights: Attention weights a of shape (samples, heads, queries, keys), whose rows sum to 1.
        visible: Which keys each query may see, in a shape that broadcasts to it; None is all.
    """
    weights = ops.cast(weights, "float32")
    visible = ops.ones((1, 1, 1, 1), dtype="bool") if visible is None else ops.cast(visible, "bool")
    keys = ops.sum(ops.cast(ops.broadcast_to(visible, weights.shape), "float32"), axis=-1)
    seen = ops.cast(keys > 1, "float32")
    weights = weights * seen[..., None]
    entropy = -ops.sum(weights * ops.log(ops.maximum(weights, _TINY)), axis=-1) / ops.log(
        ops.maximum(keys, 2.0)
    )
    # By samples, of which those with one query tell nothing of how queries differ.
    count = ops.sum(seen, axis=2)
    alone = ops.sum(ops.square(weights), axis=(2, 3)) / ops.maximum(count, 1.0)
    together = ops.sum(ops.square(ops.sum(weights, axis=2) / ops.maximum(count, 1.0)[..., None]), axis=-1)
    several = ops.cast(count > 1, "float32")
    spread = 1 - _ratio(ops.sum(together * several, axis=0), ops.sum(alone * several, axis=0))
    return ops.stack([_ratio(ops.sum(entropy, axis=(0, 2)), ops.sum(seen, axis=(0, 2))), spread])


def _ratio(part: Any, whole: Any) -> Any:
    return ops.where(whole > 0, part / ops.maximum(whole, _TINY), math.nan)


def _alike(rows: Any) -> Any:
    """The mean cosine between two different rows of each (n, d) of a batch; by the sum of all n."""
    n = rows.shape[1]
    if n < 2:
        return ops.zeros(())
    length = ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True))
    # A row of zeros has no direction, and counts as none.
    unit = rows / (length + _TINY)
    total = ops.sum(ops.square(ops.sum(unit, axis=1)), axis=-1)
    own = ops.sum(ops.square(unit), axis=(1, 2))
    return ops.mean((total - own) / (n * (n - 1)))


def _units_last(z: Any, units: int) -> Any:
    z = ops.cast(z, "float32")
    if len(z.shape) < 2:
        # A vector of samples has one unit, and so has a scalar weight.
        z = ops.reshape(z, (-1, 1))
    return ops.moveaxis(z, units, -1) if units % len(z.shape) != len(z.shape) - 1 else z
