"""Findings on inputs and targets off scale, on the first loss and on the learning rate."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Batch
from keras_initx.diagnostics.batch import are_weighted_one_hot, has_loss, is_constant
from keras_initx.diagnostics.first_steps.best_constant import neutral_loss
from keras_initx.diagnostics.first_steps.curvature import Rate
from keras_initx.diagnostics.probe import Probe
from keras_initx.diagnostics.records import Finding, LayerSignal
from keras_initx.diagnostics.verdicts import Advice

# Inputs and targets are off scale by more than this factor.
_SCALE = 30.0
# The first loss of targets off scale is above this multiple of the best constant's, and of others above this.
_TARGETS, _FAR = 2.0, 10.0
_SERIOUS = frozenset({"exploding", "vanishing", "inputs alike", "saturated"})


def check_first_steps(
    probe: Probe,
    batch: Batch,
    rows: Sequence[LayerSignal],
    loss: float,
    constant_loss: float,
    input_rms: float,
    outputs: Sequence[tuple[float, float]],
    rate: Rate,
    findings: Sequence[Finding],
    advice: Advice,
) -> Iterator[Finding]:
    """Find a learning rate that is too large, and data off scale; these are notes if nothing else is wrong.

    Args:
        probe: The probe after a pass.
        batch: The batch that it measured.
        rows: The signal at each layer.
        loss: The loss; NaN without targets.
        constant_loss: The loss of the best constant prediction; NaN if it is not known.
        input_rms: The root mean square of the inputs of the first weighted layer; 0 if they have no scale.
        outputs: The root mean square and the standard deviation of each output.
        rate: What gradient descent can use.
        findings: The findings on single layers.
        advice: The advice on the model's weights.
    """
    # Without a usable rate, no smaller one of those that were tried lowers the loss.
    is_too_fast = rate.current > 0 and not rate.usable >= rate.current
    if is_too_fast:
        way = f"; {rate.usable:.2g} lowers it" if rate.usable > 0 else ""
        of = ", the largest of its schedule," if rate.is_scheduled else ""
        text = (
            f"at a learning rate of {rate.current:.2g}{of} the first steps of SGD raise the loss on this "
            f"batch{way} (2 / the largest curvature is {rate.largest:.2g}). Lower the rate, or use Adam."
        )
        yield Finding("learning rate", "", text)
    serious = bool(_SERIOUS & {f.verdict for f in findings})
    is_far = loss > _TARGETS * constant_loss
    # A normalization after the first layer removes the scale of the inputs.
    is_normalized = any(p.context.normalized for p in probe.points if p.depends_on_data and probe.is_first(p))
    named = False
    if input_rms > 0 and not 1 / _SCALE <= input_rms <= _SCALE:
        large = input_rms > _SCALE and not is_normalized
        if named := serious or is_too_fast or large:
            verdict = "input scale" if serious or is_too_fast else "scale"
            first = [p.kernel for p in probe.points if probe.is_first(p)]
            yield Finding(verdict, "", _of_inputs(input_rms, advice.draws(first)))
    for number, size in _off_scale(probe, batch, rows, outputs):
        if is_far or is_too_fast:
            named = True
            text = (
                f"the targets{number} have a {size}, but weights are drawn for outputs near 1. Scale "
                "the targets to mean 0 and standard deviation 1: adapt a keras.layers.Normalization layer "
                "to them, and undo it with Normalization(invert=True)."
            )
            yield Finding("target scale" if is_too_fast else "scale", "", text)
    last = next((row for row in reversed(rows) if row.is_output), rows[-1])
    # Zeros cannot be scaled.
    is_far_off = loss > _FAR * constant_loss > 0 and last.kernel_std > 0
    # Soft labels may differ by little, which favours a constant, and probabilities are never off scale.
    is_soft = last.activation in ("softmax", "sigmoid") and _are_soft(batch.y)
    if is_far_off and not named and _differ(batch.y) and not is_soft:
        std = max((std for _, std in outputs), default=last.std)
        is_scaled = last.std > 0 and not 1 / _FAR < std / last.std < _FAR
        scaled = f", which the model scales to {std:.2g}" if is_scaled else ""
        text = (
            f"the first loss is {loss / constant_loss:.2g} times the loss of the best constant prediction: "
            f"`{last.path}` returns values of standard deviation {last.std:.2g}{scaled}. "
            f"{_remedy_of_first_loss(probe, batch, last, loss, constant_loss)}."
        )
        yield Finding("first loss", last.path, text)


def _remedy_of_first_loss(
    probe: Probe, batch: Batch, last: LayerSignal, loss: float, constant_loss: float
) -> str:
    """Return what lowers the first loss: smaller outputs, outputs around another value, or both."""
    neutral = neutral_loss(probe, batch)
    is_bias = neutral > _TARGETS * constant_loss
    scale = "Scale its kernel down" if not is_bias or loss > _TARGETS * neutral else ""
    if not is_bias:
        return scale
    is_class = last.activation in ("softmax", "sigmoid") or has_loss(
        probe.model, probe.loss_argument, "crossentropy"
    )
    bias = "the mean of the targets as its bias, or subtract it from them"
    if is_class:
        bias = (
            'the class frequencies as its bias: initialize(model, output_bias="prior", labels=y), or a '
            "PriorBias"
        )
    return f"{scale}, and give it {bias}" if scale else f"Give it {bias}"


def _differ(targets: Any) -> bool:
    """Return whether the targets of a batch differ: a constant predicts equal ones without an error."""
    return not all(map(is_constant, keras.tree.flatten(targets)))


def _are_soft(targets: Any) -> bool:
    """Return whether targets are probabilities other than 0 and 1."""
    values = [np.asarray(ops.convert_to_numpy(y), "float64") for y in keras.tree.flatten(targets)]
    return all(v.size > 0 and 0 <= v.min() <= v.max() <= 1 and not np.isin(v, (0, 1)).all() for v in values)


def _of_inputs(input_rms: float, would_draw: bool) -> str:
    data = ", or call initialize(model, data=x)" if would_draw else ""
    return (
        f"the first weighted layer receives inputs with a root mean square of {input_rms:.2g}, which its "
        "gradients grow or shrink with. Rescale the inputs to about 1 (keras.layers.Rescaling, or "
        f"keras.layers.Normalization after adapt(x)){data}."
    )


def _off_scale(
    probe: Probe, batch: Batch, rows: Sequence[LayerSignal], sizes: Sequence[tuple[float, float]]
) -> Iterator[tuple[str, str]]:
    """Yield (output, size) for targets that are far larger than 1, or that differ by far less than 1.

    The model may scale the results of its last weights itself, by a factor that the targets then have too.
    """
    targets, outputs = keras.tree.flatten(batch.y), keras.tree.flatten(probe.graph.results)
    if batch.y is None or len(targets) != len(outputs):
        return
    heads = [row for row in rows if row.is_output] or [rows[-1]]
    largest = max(math.sqrt(row.second_moment) for row in heads)
    least = min(row.std for row in heads)
    is_categorical = has_loss(probe.model, probe.loss_argument, "categorical")
    for number, (y, out, (out_rms, out_std)) in enumerate(zip(targets, outputs, sizes, strict=True)):
        values = np.asarray(ops.convert_to_numpy(y), "float64")
        # Other sizes, zeros and ones, and one-hot rows times a weight are classes.
        is_other_size = values.size != math.prod(out.shape)
        is_weighted = is_categorical and are_weighted_one_hot(values)
        if is_other_size or np.isin(values, (0, 1)).all() or is_weighted:
            continue
        name = f" of output {number}" if len(targets) > 1 else ""
        # How much the model enlarges or shrinks the results of its last weights.
        larger = max(1.0, out_rms / largest) if largest else 1.0
        smaller = min(1.0, out_std / least) if least else 1.0
        if (rms := math.sqrt(np.mean(np.square(values)))) > _SCALE * larger:
            yield name, f"root mean square of {rms:.2g}"
            continue
        std = float(np.max(np.std(values.reshape(len(values), -1), axis=0)))
        # Values within [0, 1] may be probabilities.
        if 0 < std < smaller / _SCALE and not 0 <= values.min() <= values.max() <= 1:
            yield name, f"standard deviation of {std:.2g}"
