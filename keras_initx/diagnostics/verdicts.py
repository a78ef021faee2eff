"""Judge figures: the problems of a layer or an attention head, and the advice on each."""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

import keras
import numpy as np

from keras_initx._display import listed
from keras_initx._graph import steps_before
from keras_initx._weights import WeightIndex, is_zero
from keras_initx.diagnostics.probe import Probe, ProbePoint
from keras_initx.diagnostics.records import Finding, HeadSignal, LayerSignal
from keras_initx.errors import InitxError
from keras_initx.initializers import is_overridden
from keras_initx.model_init import statuses

# A layer is lost beyond these limits: its own std, or its gradient relative to the last layer's.
_VANISHED, _EXPLODED = 1e-3, 1e3
_GRADIENT_VANISHED, _GRADIENT_EXPLODED = 1e-5, 1e5
# A pre-activation that spreads over more periods has a phase that looks random. Networks of four layers of
# sin(30 z) fit an image to 40 dB at a third of a period, 27 at half of one, and only its mean at a whole one.
_PERIODS = 1.0
# The largest healthy share of dead units, and of saturated entries.
_DEAD, _SATURATED = 0.5, 0.5
# A random unit whose inputs hardly vary is off for all samples with probability 1/2. Only this many standard
# errors more than half are no longer chance.
_BEYOND_CHANCE = 3.0
# An output whose samples differ by less is at a bound because of its bias: the inputs did not take it there.
_OUTPUT_SPREAD = 1.0
# The smallest healthy spread of samples relative to the signal.
_SAMPLE_SPREAD = 1e-3
# The largest healthy cosine between tokens.
TOKEN_COSINE = 0.9999
# The smallest healthy spread of units relative to the signal, or to the gradient.
_UNIT_SPREAD = 1e-4
_ENTROPY = 0.02
# Below this spread of the queries a head's outputs have a cosine above `TOKEN_COSINE` for any values.
QUERY_SPREAD = 1 - TOKEN_COSINE
_DRAWN = (
    "initialize(model) has drawn these weights already: normalize the inputs or the layers, or add residual "
    "connections"
)
_KEPT = (
    "`initialize` keeps {path} as set on purpose. If it is not, name it in only=, or give the layer another "
    "initializer"
)
_FROZEN = (
    "These weights are frozen: load the pretrained ones, normalize the inputs, or make the layers trainable "
    "first"
)
_UNSEEN = "Normalize the inputs or the layers, or add residual connections"
_UNREACHED = (
    "No gradient arrives here at all: look for stop_gradient, rounding, or a branch that is closed after it"
)


def layer_verdicts(row: LayerSignal, rows: Sequence[LayerSignal]) -> tuple[str, ...]:
    """Return the verdicts on one layer among `rows`, in the order of `VERDICTS`.

    non-finite     An entry, or its gradient, is NaN or infinite.
    exploding      The std is above 1e3, or the gradient above 1e5 times the last layer's; or the std between
                   two periodic activations is above a period, so that close inputs have unrelated outputs.
    vanishing      The std is below 1e-3, here and in all later layers; or the gradient is below 1e-5 times
                   the last layer's, here and in all earlier layers. A single branch that starts closed does
                   not count.
    symmetric      The layer has several units, all with the same values and the same gradient.
    inputs alike   The part that differs between samples is below a thousandth of the signal, here and in all
                   later layers. Neither a gate that starts the same for all samples counts, nor an output
                   that only its bias makes alike, as for the prior of a rare class.
    dead           More than half of the units, and more of them than chance explains, return the same value
                   for all samples: of 64 units more than 69 %; of 9 or fewer all of them.
    saturated      More than half of the entries are within 1 % of a bound of the activation. An output that
                   its bias alone takes there, as for the prior of a rare class, does not count.
    rank collapse  The tokens of a sample have a mean cosine above 0.9999, here and in all later layers with
                   tokens, and no residual connection around them carries what differs between tokens.

    A kernel of zeros whose units have different gradients, such as an output layer's, is healthy. So is a
    layer behind trainable zeros, a gain or a kernel, at the end of its branch.
    """
    if row.not_finite > 0 or row.gradient_not_finite > 0:
        return ("non-finite",)
    last = next((r.gradient_rms for r in reversed(rows) if r.gradient_rms > 0), 0.0)
    growth = row.gradient_rms / last if last else math.nan
    opens = row.kernel_std == 0 and _opens(row, rows[-1])
    is_cut_off = not (row.is_behind_zero or row.is_idle) and _is_cut_off(row, rows, last)
    # What is lost in a branch, or restored by a normalization, is not lost for the model.
    later = [r for r in rows[row.number - 1 :] if r is row or (r.kernel_std > 0 and not r.is_lookup)]
    applies = {
        "exploding": row.std > _EXPLODED or growth > _GRADIENT_EXPLODED or row.periods > _PERIODS,
        "vanishing": not opens and (_is_lost(row, rows) or is_cut_off),
        "symmetric": not opens
        and row.shape[-1] > 1
        and max(row.unit_spread, row.gradient_unit_spread) < _UNIT_SPREAD,
        "inputs alike": not opens
        and not row.is_lookup
        and all(is_alike(r) for r in later)
        # Its bias alone makes an output alike that reads samples which differ.
        and not (row.is_output and row.reads_differences),
        "dead": not opens and _is_dead(row) and not row.is_lookup,
        # The spread of a single sample is NaN.
        "saturated": row.saturated > _SATURATED and (not row.is_output or row.spread >= _OUTPUT_SPREAD),
        # The cosine of a layer without tokens is NaN.
        "rank collapse": row.token_cosine > TOKEN_COSINE
        and not row.is_lookup
        and not row.is_bypassed
        and not any(r.token_cosine <= TOKEN_COSINE for r in later),
    }
    return tuple(verdict for verdict, is_so in applies.items() if is_so)


def _is_dead(row: LayerSignal) -> bool:
    """Return whether more than half of the units are dead, by more than chance, or all of them."""
    units = row.shape[-1]
    return row.dead > min(_DEAD + _BEYOND_CHANCE * math.sqrt(0.25 / units), 1 - 0.5 / units)


def is_alike(row: LayerSignal) -> bool:
    """Return whether all samples have the same signal."""
    return row.spread < _SAMPLE_SPREAD * math.sqrt(row.second_moment)


def _opens(row: LayerSignal, last: LayerSignal) -> bool:
    """Return whether the first training steps move a kernel of zeros away from zero."""
    if row.gradient_rms > 0:
        return row.gradient_unit_spread > _UNIT_SPREAD or row.shape[-1] == 1
    # The output layer after this branch is closed too, and opens first.
    return row.ends_branch and last.kernel_std == 0 and last.kernel_gradient > 0


def _is_lost(row: LayerSignal, rows: Sequence[LayerSignal]) -> bool:
    """Return whether the signal is gone here and in every later layer."""
    later = [r for r in rows[row.number :] if r.kernel_std > 0]
    return all(map(_is_small, (row, *later)))


def _is_small(row: LayerSignal) -> bool:
    """Return whether hardly any signal is left at a layer."""
    # A single number has no standard deviation.
    size = row.std if math.prod(row.shape) > 1 else math.sqrt(row.second_moment)
    return size < _VANISHED * min(row.unit, 1.0)


def _is_cut_off(row: LayerSignal, rows: Sequence[LayerSignal], last: float) -> bool:
    """Return whether no gradient reaches this layer or any earlier one.

    An output layer of zeros passes no gradient on, so it is not counted.
    """
    passes_gradient = rows[-1].kernel_std > 0
    earlier = [r for r in rows[: row.number] if math.isfinite(r.gradient_rms)]
    return (
        passes_gradient and bool(earlier) and all(r.gradient_rms < _GRADIENT_VANISHED * last for r in earlier)
    )


def head_verdicts(head: HeadSignal) -> tuple[str, ...]:
    """Return the verdicts on one head.

    entropy collapse  Each query attends to a single key: the entropy is below 2 % of its maximum.
    rank collapse     All queries attend alike: their spread is below 0.0001, and no residual connection
                      carries tokens that differ around the attention.
    """
    applies = {
        "entropy collapse": head.entropy < _ENTROPY,
        "rank collapse": head.spread < QUERY_SPREAD and not head.is_bypassed,
    }
    return tuple(verdict for verdict, is_so in applies.items() if is_so)


class Advice:
    """Advice on the weights of a finding, given what `initialize(model)` would do with each of them.

    Args:
        probe: The probe of the model.
        index: The model's weights by layer.
    """

    def __init__(self, probe: Probe, index: WeightIndex) -> None:
        self._graph, self._index = probe.graph, index
        self._contexts = {point.context.step: point.context for point in probe.points}

    @cached_property
    def _statuses(self) -> dict[int, str]:
        try:
            return statuses(self._graph, self._contexts, self._index)
        except InitxError:
            # `initialize` refuses this model too.
            return {}

    def draws(self, kernels: Iterable[keras.Variable]) -> bool:
        """Return whether `initialize(model)` would draw one of some weights, and has not done so before."""
        return any(not is_overridden(k) and self._statuses.get(id(k)) == "drawn" for k in kernels)

    def on(self, kernels: Sequence[keras.Variable], origin: keras.Variable | None = None) -> str:
        """Return the advice on some weights, without a full stop.

        `origin` is the weight whose result shows the problem first, if later ones only receive it.
        """
        if origin is not None and self._statuses.get(id(origin)) in ("frozen", "adapted"):
            return _FROZEN
        kept = {self._statuses.get(id(kernel), ""): kernel.path for kernel in reversed(kernels)}
        # The signal and the gradient must pass these: while they stay, no draw of the others helps.
        if path := kept.get("small", kept.get("zeros")):
            return _KEPT.format(path=f"`{path}`")
        if self.draws(kernels):
            return "Try initialize(model)"
        if path := kept.get("structured", kept.get("given", kept.get("frequencies"))):
            return _KEPT.format(path=f"`{path}`")
        if all(map(is_overridden, kernels)):
            return _DRAWN
        return _UNSEEN if any(kernel.trainable for kernel in kernels) else _FROZEN

    def against_symmetry(self, point: ProbePoint) -> str:
        """Return the advice on a layer whose units are all alike, without a full stop."""
        values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(point.kernel, "float32")))
        # A depthwise kernel has its units along another axis.
        if not np.ptp(values, axis=-1 if values.shape[-1] > 1 else None).any():
            return "Draw the kernel at random: units that start from zeros or another constant stay equal"
        # Learned queries reach the graph as constants, so they are no kernels of a step.
        before = steps_before(self._graph, self._graph.steps[point.context.step].inputs)
        seen = {id(kernel) for step in self._graph.steps for kernel in step.kernels}
        unseen = [
            v for v in self._index.variables() if id(v) not in seen and v.trainable and len(v.shape) > 1
        ]
        zeros = [v for v in [*(k for s in before for k in s.kernels), *unseen] if is_zero(v)]
        if not zeros:
            return "Its inputs are zeros, or its bias hides them: look at the layers before it"
        names = listed([f"`{v.path}`" for v in zeros])
        return f"It reads zeros: start {names} at random"

    def draws_scores(self, numbers: Iterable[int]) -> bool:
        """Return whether `initialize(model)` would draw a kernel of the queries or keys of some attentions.

        Args:
            numbers: The numbers of the steps that compute or apply the attention weights.
        """
        tensors = [tensor for number in numbers for tensor in self._graph.steps[number].inputs]
        before = [step for step in steps_before(self._graph, tensors) if step.number in self._contexts]
        compared = [s for s in before if {"query", "key"} & set(self._contexts[s.number].roles)]
        return self.draws(kernel for step in compared for kernel in step.kernels)


def origin(verdict: str, rows: Sequence[LayerSignal]) -> LayerSignal | None:
    """Return the first of some rows whose signal has a problem that passes on to the rows after it.

    None is returned if only gradients have it, which come from the other side.
    """
    shows = {
        "exploding": lambda row: row.std > _EXPLODED,
        "vanishing": _is_small,
        "inputs alike": is_alike,
    }.get(verdict)
    return None if shows is None else next(filter(shows, rows), None)


def head_finding(verdict: str, heads: Sequence[HeadSignal], would_draw: bool) -> Finding:
    """Return one finding for all heads with the same verdict.

    `would_draw` says whether `initialize` would draw their queries or keys.
    """
    worst = heads[0]
    numbers = [head.head for head in heads if head.path == worst.path]
    names = f"`{worst.path}` head{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    other = ", or call initialize(model)" if would_draw else ""
    text = {
        "entropy collapse": f"the entropy is {worst.entropy:.2g} of its maximum. "
        "Scale the queries and keys down.",
        "rank collapse": f"the queries differ by only {worst.spread:.2g} in what they attend to, so all "
        f"tokens get the same output. Scale the queries and keys up{other}.",
    }[verdict]
    return Finding(verdict, worst.path, f"{names}{_more(len(heads) - len(numbers))}, {verdict}: {text}")


def layer_finding(verdict: str, rows: Sequence[LayerSignal], last: LayerSignal, remedy: str) -> Finding:
    """Return one finding for all layers with the same verdict: the figures of the worst, and advice.

    Args:
        verdict: The verdict that all of them have.
        rows: The layers.
        last: The last layer of the model, whose gradient is the reference.
        remedy: The advice on their weights, from `Advice`.
    """
    worst = {
        # Bad values spread forward from the first layer and bad gradients backward from the last.
        "non-finite": next((r for r in rows if r.not_finite > 0), rows[-1]),
        "exploding": max(rows, key=lambda r: _largest(r)),
        "vanishing": min(rows, key=lambda r: min(r.std, r.gradient_rms)),
        "dead": max(rows, key=lambda r: r.dead),
        "saturated": max(rows, key=lambda r: r.saturated),
    }.get(verdict, rows[0])
    figures, advice = _TEXTS[verdict](worst, last, remedy)
    layer = f"layer {worst.number} `{worst.path}`{_more(len(rows) - 1)}"
    return Finding(verdict, worst.path, f"{layer}, {verdict}: {figures}. {advice}.")


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _largest(row: LayerSignal) -> float:
    return max((v for v in (row.std, row.gradient_rms) if math.isfinite(v)), default=math.inf)


def _size(row: LayerSignal, last: LayerSignal) -> str:
    gradient = f"gradient rms {row.gradient_rms:.1g} ({last.gradient_rms:.1g} at the last layer)"
    return f"pre-activation std {row.std:.1g}, {gradient}"


# Verdict -> the figures of a layer and the advice, given the last layer too, and the advice to initialize.
_TEXTS = {
    "non-finite": lambda row, last, remedy: (
        f"{100 * max(row.not_finite, row.gradient_not_finite):.0f} % of the values or of their gradients "
        "are NaN or infinite",
        "They first appear here: check this layer's weights",
    ),
    "exploding": lambda row, last, remedy: (
        f"pre-activation std {row.periods:.2g} periods of its activation"
        if row.periods > _PERIODS
        else _size(row, last),
        remedy if row.periods > _PERIODS else f"{remedy}. A smaller learning rate helps too",
    ),
    "vanishing": lambda row, last, remedy: (
        _size(row, last),
        remedy if row.gradient_rms > 0 or row.std < _VANISHED else _UNREACHED,
    ),
    "symmetric": lambda row, last, remedy: ("all units have the same values", remedy),
    "inputs alike": lambda row, last, remedy: (
        f"samples differ by only {row.spread:.1g} in a signal of {math.sqrt(row.second_moment):.1g}",
        remedy,
    ),
    "dead": lambda row, last, remedy: (
        f"{100 * row.dead:.0f} % of the units return the same value for every sample",
        f"{remedy}. A smaller learning rate, or an activation with a slope everywhere, helps too",
    ),
    "saturated": lambda row, last, remedy: (
        f"{100 * row.saturated:.0f} % of the entries are within 1 % of the bounds of {row.activation}",
        remedy,
    ),
    "rank collapse": lambda row, last, remedy: (
        f"the tokens of a sample have a mean cosine of {row.token_cosine:.6g}",
        "Add residual connections, or stack fewer attention layers",
    ),
}
