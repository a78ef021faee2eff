"""`diagnose`: predict from one forward and one backward pass whether a model would learn."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_initx._graph import Batch, Graph
from keras_initx._weights import WeightIndex, all_layers, untouched
from keras_initx.diagnostics.batch import batch_for, check_classes
from keras_initx.diagnostics.checks import (
    check_equal_weights,
    check_initializers,
    check_model,
    check_residual_scale,
    check_single_entries,
)
from keras_initx.diagnostics.first_steps import Rate, best_constant_loss, check_first_steps, rate_of_sgd
from keras_initx.diagnostics.non_finite import has_nan, non_finite_cause, non_finite_state, state_finding
from keras_initx.diagnostics.probe import Probe, build_probe
from keras_initx.diagnostics.records import VERDICTS, Finding, HeadSignal, LayerSignal
from keras_initx.diagnostics.report import Report
from keras_initx.diagnostics.signals import head_signals, layer_signals
from keras_initx.diagnostics.verdicts import Advice, head_finding, layer_finding, origin
from keras_initx.errors import InitxError, check_built

SAMPLES = 64


def diagnose(
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    loss: Any = None,
    samples: int = SAMPLES,
    jit_compile: bool = False,
) -> Report:
    """Predict from one batch whether a model would learn, and report which layer hinders it and what helps.

    It runs one forward and backward pass, which reduces every tensor to a few numbers. For each
    weighted layer, with pre-activation z, activation output y and loss L, it measures:

        mean, std, E[z^2]; the share of units of y that are dead, of entries that are saturated;
        the effective rank and the mean cosine of the samples; E[(dL/dz)^2]; chi = fan_in E[w^2] E[phi'(z)^2]

    Layers compute as in inference, except batch normalization, which normalizes by its batch. The model, its
    optimizer, its statistics and the state of all random generators are unchanged afterwards.

    Args:
        model: A built functional, Sequential or subclassed model. It must be compiled only if its own loss
            is to be used.
        x: Arrays as the model takes them; or a tf.data.Dataset, a `keras.utils.PyDataset` or a generator of
            batches x, (x, y) or (x, y, weights), whose targets and sample weights are used if present. None
            uses noise of the kind that each input takes, as in `initialize`.
        y: The targets, if x is arrays. Without targets the gradients are of a random projection of the
            outputs.
        loss: The name of a Keras loss, a Keras loss object, or a function (y, outputs). None uses the model's
            own loss.
        samples: The largest number of samples to use.
        jit_compile: Whether to compile under XLA, which costs more than it saves in a few passes. JAX always
            compiles, TensorFlow (without XLA) from the fifth pass on or for a loop over time.

    Returns:
        The report: print it, or use `report.table()`, `report.summary()` and `report.plot()`.

    Raises:
        InitxError: If the model is not built, has no weighted layer or returns no floats; if the data are
            empty or the model cannot be called on them; if there is a loss without targets, or targets
            without a loss; if a crossentropy does not take the labels.

    Example:

    >>> layers = [keras.layers.Dense(64, activation="relu", kernel_initializer="zeros") for _ in range(3)]
    >>> model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
    >>> report = diagnose(model)
    >>> report.healthy, report.rows[0].verdicts
    (False, ('vanishing', 'symmetric', 'dead'))

    References: Glorot & Bengio 2010 and He et al. 2015 for the moments through depth; Poole et al. 2016
    (arXiv 1606.05340) and Schoenholz et al. 2017 (arXiv 1611.01232) for chi; Dong et al. 2021 (arXiv
    2103.03404) for rank collapse; Zhai et al. 2023 (arXiv 2303.06296) for entropy collapse.
    """
    check_arguments(model, samples)
    with untouched(model):
        return diagnose_batch(model, batch_for(model, x, y, loss, samples), loss, jit_compile)


def diagnose_batch(model: keras.Model, batch: Batch, loss: Any, jit_compile: bool = False) -> Report:
    """Return the report on one batch. The caller restores the model's state."""
    # Gradients of half precision are too coarse for their differences.
    is_precise = keras.backend.standardize_dtype(model.compute_dtype) in ("float32", "float64")
    probe = build_probe(model, batch.x, loss, keep_gradients=is_precise and batch.y is not None)
    if batch.y is not None:
        check_classes(model, batch.y, batch.weights, loss, probe.graph.results)
    value, gradients = probe.run(batch, jit_compile)
    index = WeightIndex(all_layers(model))
    rows = layer_signals(probe, gradients, index)
    heads = head_signals(probe, rows)
    cause = None
    is_bad_loss = batch.y is not None and not math.isfinite(value)
    # Training does not read some of the states, such as moving averages, but prediction does.
    is_bad_state = any(map(has_nan, model.non_trainable_variables))
    if is_bad_loss or is_bad_state or any("non-finite" in row.verdicts for row in rows):
        cause = non_finite_cause(model, probe.graph, batch, value)
    elif state := non_finite_state(model):
        cause = state_finding(state)
    advice = Advice(probe, index)
    findings = _findings(model, probe, rows, heads, index, cause, advice)
    findings = [*check_model(model, batch, rows, findings), *findings]
    # Later passes measure other weights.
    input_rms, outputs = probe.measured_input_rms(), probe.measured_outputs()
    constant, rate = math.nan, Rate()
    if batch.y is not None and math.isfinite(value):
        constant = best_constant_loss(probe, batch)
        if cause is None and probe.kept_variables:
            rate = rate_of_sgd(model, probe, batch, value, constant, jit_compile)
    first = check_first_steps(probe, batch, rows, value, constant, input_rms, outputs, rate, findings, advice)
    return Report(
        model=model.name,
        samples=len(keras.tree.flatten(batch.x)[0]),
        loss=math.nan if batch.y is None else value,
        constant_loss=constant,
        curvature=rate.curvature,
        loss_of="of a random projection of the outputs" if batch.y is None else "of the loss",
        rows=tuple(rows),
        heads=tuple(heads),
        findings=(*first, *findings),
        notes=tuple(_notes(probe.graph)),
        closed=probe.graph.closed,
    )


def _findings(
    model: keras.Model,
    probe: Probe,
    rows: Sequence[LayerSignal],
    heads: Sequence[HeadSignal],
    index: WeightIndex,
    cause: Finding | None,
    advice: Advice,
) -> list[Finding]:
    """Return the findings on layers, heads and weights, most serious first.

    `cause` is the finding on the cause of values that are not finite, if it is known.
    """
    findings = [] if cause is None else [cause]
    findings += check_single_entries(probe.single_entries)
    for verdict in VERDICTS:
        affected_rows = [row for row in rows if verdict in row.verdicts]
        # The cause of NaN says more than the layer where it is noticed.
        if affected_rows and (verdict != "non-finite" or cause is None):
            points = [probe.points[row.number - 1] for row in affected_rows]
            if verdict == "symmetric":
                remedy = advice.against_symmetry(points[0])
            else:
                first = origin(verdict, affected_rows)
                begins_at = None if first is None else probe.points[first.number - 1].kernel
                remedy = advice.on([point.kernel for point in points], begins_at)
            findings.append(layer_finding(verdict, affected_rows, rows[-1], remedy))
        if affected_heads := [head for head in heads if verdict in head.verdicts]:
            paths = {head.path for head in affected_heads}
            numbers = [step.number for step in probe.attention_steps if step.path in paths]
            findings.append(head_finding(verdict, affected_heads, advice.draws_scores(numbers)))
    findings += check_equal_weights([v for v in model.trainable_variables if len(v.shape) > 1])
    findings += check_residual_scale(probe.points, rows, advice, probe.measured_input_rms())
    findings += check_initializers(probe.points, index)
    return findings


def _notes(graph: Graph) -> list[str]:
    return [
        f"{step.path}: measured as one layer, because its inside could not be traced ({step.opaque})"
        for step in graph.steps
        if step.opaque
    ]


def check_arguments(model: Any, samples: Any) -> None:
    """Raise an `InitxError` for arguments that `diagnose` rejects before it computes anything."""
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    check_built(model)
    if not model.weights:
        remedy = "Call it once on a batch: model(x)."
        problem = f"`model` {model.name!r} has no weights, or its layers are not built"
        raise InitxError("model", model.name, "a model with weights", remedy, problem)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise InitxError("samples", samples, "an integer >= 2")
