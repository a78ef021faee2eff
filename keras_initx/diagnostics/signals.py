"""Turn the numbers that a probe measured into one record for each layer and each attention head."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import keras
from keras import ops

from keras_initx._graph import Graph, steps_before, steps_behind_zeros
from keras_initx._theory import natural_std, period
from keras_initx._weights import WeightIndex, mean_square
from keras_initx.diagnostics.probe import AttentionStep, Probe, ProbePoint, normalized_moments, reductions
from keras_initx.diagnostics.records import HeadSignal, LayerSignal
from keras_initx.diagnostics.verdicts import (
    QUERY_SPREAD,
    TOKEN_COSINE,
    head_verdicts,
    is_alike,
    layer_verdicts,
)
from keras_initx.errors import InitxError


def layer_signals(probe: Probe, gradients: dict[int, list[float]], index: WeightIndex) -> list[LayerSignal]:
    """Return the signal at each weighted layer in the probe's last pass, with its verdicts.

    Args:
        probe: The probe after a pass.
        gradients: The reduced gradients that the pass returned.
        index: The model's weights by layer.
    """
    rows = [_layer_signal(number, probe, gradients, index) for number in range(len(probe.points))]

    def moves(weight: keras.Variable) -> bool:
        numbers = dict(zip(reductions.GRADIENT, gradients.get(id(weight), ()), strict=False))
        return numbers.get("gradient_second_moment", 0.0) > 0

    behind = steps_behind_zeros(probe.graph, moves)
    idle = probe.single_entries.behind
    rows = [
        replace(row, is_behind_zero=point.context.step in behind, is_idle=point.context.step in idle)
        for row, point in zip(rows, probe.points, strict=True)
    ]
    differing = {
        point.context.step
        for row, point in zip(rows, probe.points, strict=True)
        if row.kernel_std > 0 and not row.is_lookup and not is_alike(row)
    }
    rows = [
        replace(row, reads_differences=not differing.isdisjoint(_steps_before(probe.graph, point)))
        if row.is_output
        else row
        for row, point in zip(rows, probe.points, strict=True)
    ]
    if _passes_tokens(probe, rows, ()):
        rows = [replace(row, is_bypassed=row.token_cosine > TOKEN_COSINE) for row in rows]
    return [replace(row, verdicts=layer_verdicts(row, rows)) for row in rows]


def _steps_before(graph: Graph, point: ProbePoint) -> list[int]:
    """Return the numbers of the steps before a point, up to the nearest weighted ones."""
    return [step.number for step in steps_before(graph, graph.steps[point.context.step].inputs)]


def _passes_tokens(probe: Probe, rows: Sequence[LayerSignal], closed: Collection[int]) -> bool:
    """Return whether tokens that differ reach the outputs around all layers whose tokens are alike.

    Inside a branch of the residual stream tokens may be alike; they collapse only if the stream itself does.

    Args:
        probe: The probe after a pass.
        rows: The signal at each of its points.
        closed: The numbers of further steps whose tokens are alike.
    """
    cosines = {p.context.step: row.token_cosine for p, row in zip(probe.points, rows, strict=True)}
    tensors, seen = list(probe.graph.outputs), set(probe.graph.outputs)
    inputs = zip(probe.graph.inputs, keras.tree.flatten(probe.graph.symbolic), strict=True)
    tokens = {
        n for n, t in inputs if len(t.shape) == 3 and "float" in keras.backend.standardize_dtype(t.dtype)
    }
    while tensors:
        tensor = tensors.pop()
        if tensor in tokens:
            return True
        step = probe.graph.producer(tensor)
        if step is None or step.number in closed or cosines.get(step.number, 0.0) > TOKEN_COSINE:
            continue
        if cosines.get(step.number, 1.0) <= TOKEN_COSINE:
            return True
        new = [tensor for tensor in step.inputs if tensor not in seen]
        seen.update(new)
        tensors += new
    return False


def _layer_signal(
    number: int, probe: Probe, gradients: dict[int, list[float]], index: WeightIndex
) -> LayerSignal:
    point = probe.points[number]
    missing = [math.nan] * len(reductions.GRADIENT)
    forward = reductions.unscaled(_named(reductions.FORWARD, floats(probe.pre_activations[number])))
    output = dict.fromkeys(reductions.OUTPUT, math.nan)
    if point.output is not None:
        output = _named(reductions.OUTPUT, floats(probe.activation_outputs[number]))
    if forward["not_finite"] > 0:
        # No comparison with NaN holds, which would look like live units.
        output |= dict.fromkeys(("dead", "saturated"), math.nan)
    gradient = _named(reductions.GRADIENT, gradients[id(probe.gradient_taps[number])])
    # With details a histogram follows the numbers.
    kernel_numbers = gradients.get(id(point.kernel), missing)[: len(reductions.GRADIENT)]
    kernel_gradient = _named(reductions.GRADIENT, kernel_numbers)
    shape = tuple(n or 1 for n in probe.graph.steps[point.context.step].shapes[0])
    variance = max(forward["second_moment"] - forward["mean"] ** 2, 0.0)
    if math.isnan(forward["second_moment"]):
        variance = math.nan
    return LayerSignal(
        number=number + 1,
        path=point.path,
        kind=point.context.kind,
        activation=point.activation.name,
        shape=shape,
        mean=forward["mean"],
        std=math.sqrt(variance),
        second_moment=forward["second_moment"],
        spread=forward["spread"],
        not_finite=forward["not_finite"],
        effective_rank=forward["effective_rank"],
        sample_cosine=forward["sample_cosine"] if shape[0] > 1 else math.nan,
        token_cosine=forward["token_cosine"] if len(shape) == 3 and shape[1] > 1 else math.nan,
        unit_spread=forward["unit_spread"],
        output_second_moment=output["output_second_moment"],
        dead=output["dead"],
        saturated=output["saturated"],
        gradient_mean=gradient["gradient_mean"],
        gradient_second_moment=gradient["gradient_second_moment"],
        gradient_not_finite=gradient["gradient_not_finite"],
        gradient_unit_spread=gradient["gradient_unit_spread"],
        kernel_std=float(ops.convert_to_numpy(ops.std(ops.cast(point.kernel, "float32")))),
        kernel_gradient=math.sqrt(kernel_gradient["gradient_second_moment"]),
        chi=_chi(probe.graph, point, forward["mean"], variance, index),
        periods=math.sqrt(variance) / _period_between(probe.points, point),
        is_lookup="embedding" in point.context.roles or not point.depends_on_data,
        ends_branch=bool(point.context.residual_number),
        is_output="head" in point.context.roles,
        unit=_unit(probe.points, point),
    )


def _unit(points: Sequence[ProbePoint], point: ProbePoint) -> float:
    """Return the natural standard deviation of the signal at a point; for an output also of what it sums."""
    read = [p for p in points if point.context.depends_on >> p.context.step & 1]
    summed = read if "head" in point.context.roles else []
    return min(natural_std(p.activation) for p in (point, *summed))


def _period_between(points: Sequence[ProbePoint], point: ProbePoint) -> float:
    """Return the period of the activation after a point, if one before it is periodic too; else infinity."""
    length = period(point.activation)
    read = [p for p in points if point.context.depends_on >> p.context.step & 1]
    is_between = length is not None and any(period(p.activation) is not None for p in read)
    return length if length is not None and is_between else math.inf


def _chi(graph: Graph, point: ProbePoint, mean: float, variance: float, index: WeightIndex) -> float:
    """Return fan_in E[w^2] E[phi'(z)^2] at a point, or NaN if it is not the product with one kernel."""
    if not point.is_product or not index.has(point.kernel) or not 0 < variance < math.inf:
        return math.nan
    gain = index.fans(point.kernel).fan_in * mean_square(point.kernel)
    moments = [(1.0, mean, variance)]
    if point.context.normalized:
        # The normalization divides the product by its standard deviation before the activation sees it.
        gain, moments = gain / variance, normalized_moments(graph, point.context.step)
    try:
        slopes = [factor * point.activation.moments(m, v).slope_second_moment for factor, m, v in moments]
    except InitxError:
        return math.nan
    return gain * sum(slopes) / len(slopes)


def head_signals(probe: Probe, rows: Sequence[LayerSignal]) -> list[HeadSignal]:
    """Return the signal of each attention head in the probe's last pass, with its verdicts.

    Args:
        probe: The probe after a pass.
        rows: The signal at each of its points.
    """
    heads, alike = [], set()
    for step, numbers in zip(probe.attention_steps, probe.attention, strict=True):
        entropies, spreads = ops.convert_to_numpy(numbers)
        if (spreads < QUERY_SPREAD).all():
            alike |= _averages(probe.graph, step)
        for number, (entropy, spread) in enumerate(zip(entropies, spreads, strict=True)):
            heads.append(HeadSignal(step.path, number, float(entropy), float(spread)))
    if alike and _passes_tokens(probe, rows, alike):
        heads = [replace(head, is_bypassed=head.spread < QUERY_SPREAD) for head in heads]
    return [replace(head, verdicts=head_verdicts(head)) for head in heads]


def _averages(graph: Graph, attention: AttentionStep) -> set[int]:
    """Return the numbers of the steps that average values by attention weights."""
    if attention.source != "softmax":
        return {attention.number}
    tensors, products = list(graph.steps[attention.number].outputs), set()
    while tensors:
        for reader in graph.consumers(tensors.pop()):
            if len(set(reader.inputs)) > 1:
                products.add(reader.number)
            else:
                tensors += reader.outputs
    return products


def floats(variable: keras.Variable) -> list[float]:
    """Return a vector's entries as Python floats."""
    return [float(n) for n in ops.convert_to_numpy(variable)]


def _named(names: tuple[str, ...], numbers: list[float]) -> dict[str, float]:
    return dict(zip(names, numbers, strict=True))
