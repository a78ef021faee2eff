"""`diagnose`: would a model learn? One forward and one backward pass on one batch, before any training."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from keras_initx._graph import Batch, Graph, trace
from keras_initx._weights import Snapshot, WeightIndex, all_layers, mean_square, untouched
from keras_initx.diagnostics import checks
from keras_initx.diagnostics.batch import are_same, batch_for
from keras_initx.diagnostics.checks import whole
from keras_initx.diagnostics.probe import reductions
from keras_initx.diagnostics.probe.attention import Heads, heads
from keras_initx.diagnostics.probe.model import Probe
from keras_initx.diagnostics.probe.points import ProbePoint, normalized_moments, probe_points
from keras_initx.diagnostics.records import VERDICTS, Finding, HeadSignal, LayerSignal
from keras_initx.diagnostics.report import Report
from keras_initx.diagnostics.verdicts import explained, explained_heads, verdicts_of, verdicts_of_head
from keras_initx.errors import InitxError

SAMPLES = 64


def diagnose(
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    loss: Any = None,
    samples: int = SAMPLES,
    jit_compile: bool = False,
) -> Report:
    """Tells from one batch whether a model would learn, which layer is in the way, and what helps.

    One forward and one backward pass, compiled; every tensor is reduced to a few numbers inside of it. For
    each weighted layer, z its pre-activation, y what its activation returns, L the loss:

        mean, std, E[z^2]; the share of units of y that are dead, of entries that are saturated;
        the effective rank and the mean cosine of the samples; E[(dL/dz)^2]; chi = fan_in E[w^2] E[phi'(z)^2]

    It is computed as in inference, but for batch normalization, which sees its batch. The model, its
    optimizer, its statistics and the state of the generators of random numbers are as they were.

    Args:
        model: Functional, Sequential or subclassed; built. Compiled only if its own loss is to be used.
        x: Arrays as the model takes them; or a tf.data.Dataset, a `keras.utils.PyDataset` or a generator of
            batches x, (x, y) or (x, y, weights), whose y and weights of samples are taken where there are
            some. None is noise of the kind that each input takes, as in `initialize`.
        y: The targets, where x is arrays. Without any the gradients are those of a random projection of the
            outputs.
        loss: A loss of Keras, by name or as an object, or a function (y, outputs); None is the model's own.
        samples: The most samples to look at.
        jit_compile: Whether to compile under XLA, which for one pass costs more than it saves. JAX always
            compiles.

    Returns:
        The report: print it, or see `report.table()`, `report.summary()`, `report.plot()`.

    Raises:
        InitxError: A model that is not built, has no weighted layer or returns no floats; data that is
            empty or on which the model cannot be called; a loss without targets; targets without a loss.

    Example:

    >>> layers = [keras.layers.Dense(64, activation="relu", kernel_initializer="zeros") for _ in range(3)]
    >>> model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
    >>> report = diagnose(model)
    >>> report.healthy, report.rows[0].verdicts
    (False, ('vanishing', 'symmetric', 'dead'))

    References: Glorot & Bengio 2010 and He et al. 2015 for the moments through depth; Poole et al. 2016
    (arXiv 1606.05340) and Schoenholz et al. 2017 (arXiv 1611.01232) for chi; Dong et al. 2021 (arXiv
    2103.03404) for rank collapse, Zhai et al. 2023 (arXiv 2303.06296) for that of the entropy.
    """
    check(model, loss, samples)
    with untouched(model):
        return diagnosed(model, batch_for(model, x, y, loss, samples), loss, jit_compile)


def diagnosed(model: keras.Model, batch: Batch, loss: Any, jit_compile: bool = False) -> Report:
    """The report on one batch; the model is not put back."""
    probe = probe_of(model, batch.x, loss)
    value, gradients = probe.run(batch, jit_compile)
    owners = WeightIndex(all_layers(model))
    rows = rows_of(probe, gradients, owners)
    shown = [h for n, head in enumerate(probe.heads) for h in _heads(head, probe.attention[n])]
    findings = _findings(model, rows, shown, probe.places, owners)
    of = "of a random projection of the outputs" if batch.y is None else "of the loss"
    return Report(
        model=model.name,
        samples=len(keras.tree.flatten(batch.x)[0]),
        loss=math.nan if batch.y is None else value,
        loss_of=of,
        rows=tuple(rows),
        heads=tuple(shown),
        findings=(*whole(model, batch, rows, _numbers(probe.received)[0], findings), *findings),
        notes=tuple(_notes(probe.graph)),
    )


def probe_of(model: keras.Model, inputs: Any, loss: Any, details: bool = False) -> Probe:
    """The compiled pass over a model, for batches of the size of `inputs`.

    Raises:
        InitxError: Inputs that the model cannot be called on; no weighted layer; no output of floats.
    """
    try:
        with Snapshot(model.non_trainable_variables) as before:
            graph = trace(model, inputs)
            before.restore()
    except InitxError as error:
        # Here it is called otherwise.
        argument = "x" if error.argument == "data" else error.argument
        remedy = error.remedy.replace("data=", "x=")
        raise InitxError(argument, error.received, error.allowed, remedy) from error
    found = probe_points(graph, _varying(graph, inputs))
    if not found:
        raise InitxError("model", model.name, "a model with kernels")
    types = [keras.backend.standardize_dtype(t.dtype) for t in keras.tree.flatten(graph.results)]
    if not any("float" in name for name in types):
        remedy = "Look at the model before its argmax: keras.Model(model.inputs, logits)."
        allowed = "outputs of floats, through which gradients flow"
        raise InitxError("model", f"{model.name} with outputs of {', '.join(types)}", allowed, remedy)
    return Probe(model, graph, found, heads(graph), loss, details)


def _varying(graph: Graph, inputs: Any) -> set[int]:
    """The inputs that are not the same for all samples; all of them, where each is."""
    pairs = zip(graph.inputs, keras.tree.flatten(inputs), strict=True)
    return {number for number, values in pairs if not are_same(values)} or set(graph.inputs)


def rows_of(probe: Probe, gradients: dict[int, list[float]], owners: WeightIndex) -> list[LayerSignal]:
    """What the last pass measured of each weighted layer, with its verdicts."""
    rows = [_row(n, place, probe, gradients, owners) for n, place in enumerate(probe.places)]
    return [replace(row, verdicts=verdicts_of(row, rows)) for row in rows]


def _row(
    number: int, place: ProbePoint, probe: Probe, gradients: dict[int, list[float]], owners: WeightIndex
) -> LayerSignal:
    forward = reductions.unscaled(dict(zip(reductions.FORWARD, _numbers(probe.signal[number]), strict=True)))
    met = place.met is not None
    after = dict(zip(reductions.AFTER, _numbers(probe.after[number]) if met else [math.nan] * 3, strict=True))
    backward = dict(zip(reductions.GRADIENT, gradients[id(probe.upstream[number])], strict=True))
    kernel = dict(zip(reductions.GRADIENT, gradients.get(id(place.kernel), [math.nan] * 4)[:4], strict=True))
    shape = tuple(n or 1 for n in probe.graph.steps[place.site.step].shapes[0])
    variance = max(forward["second_moment"] - forward["mean"] ** 2, 0.0)
    if math.isnan(forward["second_moment"]):
        variance = math.nan
    return LayerSignal(
        number=number + 1,
        path=place.path,
        kind=place.site.kind,
        activation=place.activation.name,
        shape=shape,
        mean=forward["mean"],
        std=math.sqrt(variance),
        second_moment=forward["second_moment"],
        spread=forward["spread"],
        not_finite=forward["not_finite"],
        effective_rank=forward["rank"],
        alike=forward["alike"] if shape[0] > 1 else math.nan,
        tokens_alike=forward["tokens_alike"] if len(shape) == 3 and shape[1] > 1 else math.nan,
        units_differ=forward["units"],
        ends_branch=bool(place.site.residual_number),
        looks_up="embedding" in place.site.roles or not place.on_data,
        after=after["after_second_moment"],
        dead=after["dead"],
        saturated=after["saturated"],
        gradient_mean=backward["gradient_mean"],
        gradient_second_moment=backward["gradient_second_moment"],
        gradient_not_finite=backward["gradient_not_finite"],
        gradient_units_differ=backward["gradient_units"],
        kernel_std=float(ops.convert_to_numpy(ops.std(ops.cast(place.kernel, "float32")))),
        kernel_gradient=math.sqrt(kernel["gradient_second_moment"]),
        chi=_chi(probe.graph, place, forward["mean"], variance, owners),
    )


def _chi(graph: Graph, place: ProbePoint, mean: float, variance: float, owners: WeightIndex) -> float:
    if not place.multiplies or not owners.has(place.kernel) or not 0 < variance < math.inf:
        return math.nan
    size = owners.fans(place.kernel).fan_in * mean_square(place.kernel)
    arriving = [(1.0, mean, variance)]
    if place.site.normalized:
        # What the kernel gives is divided by its standard deviation before the activation sees it.
        size, arriving = size / variance, normalized_moments(graph, place.site.step)
    try:
        slopes = [factor * place.activation.moments(m, v).slope_second_moment for factor, m, v in arriving]
    except InitxError:
        return math.nan
    return size * sum(slopes) / len(slopes)


def _heads(head: Heads, kept: keras.Variable) -> list[HeadSignal]:
    entropies, spreads = ops.convert_to_numpy(kept)
    found = [
        HeadSignal(head.path, n, float(e), float(s))
        for n, (e, s) in enumerate(zip(entropies, spreads, strict=True))
    ]
    return [replace(h, verdicts=verdicts_of_head(h)) for h in found]


def _findings(
    model: keras.Model,
    rows: Sequence[LayerSignal],
    shown: Sequence[HeadSignal],
    found: Sequence[ProbePoint],
    owners: WeightIndex,
) -> list[Finding]:
    findings = []
    for word in VERDICTS:
        if having := [row for row in rows if word in row.verdicts]:
            findings.append(explained(word, having, rows[-1]))
        if collapsed := [h for h in shown if word in h.verdicts]:
            findings.append(explained_heads(word, collapsed))
    findings += checks.identical([v for v in model.trainable_variables if len(v.shape) > 1])
    findings += checks.residuals(found, [row.second_moment for row in rows])
    findings += checks.declared(found, owners)
    return findings


def _notes(graph: Graph) -> list[str]:
    return [
        f"{step.path}: not opened ({step.opaque}), measured as one layer"
        for step in graph.steps
        if step.opaque
    ]


def _numbers(kept: keras.Variable) -> list[float]:
    return [float(n) for n in ops.convert_to_numpy(kept)]


def check(model: Any, loss: Any, samples: Any) -> None:
    """Raises an `InitxError` for what `diagnose` does not take, before anything is computed."""
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    if not model.built:
        raise InitxError("model", model.name, "a built model", "Call it on a batch of data.")
    if not model.weights:
        remedy = "Call it on a batch of data, so that its layers are built."
        raise InitxError("model", model.name, "a model with weights", remedy)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise InitxError("samples", samples, "a whole number from 2 on")
