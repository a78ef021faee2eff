"""`initialize`: a whole model at once, by its graph and one forward pass."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx.calibrate import Calibration, Weight
from keras_initx.drawing import Owners, draw, mean_square
from keras_initx.errors import InitxError, unknown_name
from keras_initx.graph import Graph, trace
from keras_initx.initializers import PriorBias
from keras_initx.initializers.base import folded
from keras_initx.methods import METHODS, Choice
from keras_initx.noise import batch_of, noise
from keras_initx.plan import Plan, PlanRow
from keras_initx.pretrained import Copied, copy_pretrained
from keras_initx.reinit import all_layers
from keras_initx.selection import Selection
from keras_initx.sites import Site, bias_of, normalization_after, sites
from keras_initx.snapshot import Snapshot
from keras_initx.steps import kernels
from keras_initx.tables import additive_tables, table_values, unseen_tables

# Values that one pass may compute; it decides the size of the batch.
_BUDGET = 6e7
_BATCHES = (2, 256)
_DATA = 64
# A looser measurement (relative standard error) is made again on more noise.
_LOOSE = 0.03


@dataclass
class _Job:
    """A weight to draw: where it stands, what was decided, and what the pass is told of it."""

    variable: keras.Variable
    site: Site
    choice: Choice
    weight: Weight
    status: str = "drawn"
    mean_square: float = math.nan


def initialize(
    model: keras.Model,
    method: str = "auto",
    data: Any = None,
    pretrained: Any = None,
    seed: int | None = None,
    output_bias: str | None = None,
    labels: Any = None,
    class_counts: Any = None,
    only: str | Sequence[str] | None = None,
    skip: str | Sequence[str] | None = None,
    dry_run: bool = False,
) -> Plan:
    """Draws all kernels of a built model, and scales each to its target in one forward pass.

    w <- w target / s, s = root mean square of what w gives

    in the order of the computation, on what the layers before it, scaled already, hand it: so every
    pre-activation has the root mean square `target` (1, but where the method says otherwise), whatever
    lies between the layers. Kernels, recurrent kernels, embeddings and additive tables (positions, class
    tokens) are drawn; biases only where the method sets them; frozen layers (`trainable=False`),
    normalizations, the optimizer, the compiled state and batch statistics stay as they are.

    Args:
        model: Functional, Sequential or subclassed; built.
        method: "auto" chooses by place; or one of variance, he_auto, xavier_auto, orthogonal, spectral,
            lsuv, residual, residual_per_layer, edge, gpn, shaped, mirrored.
        data: What the pass runs on: arrays as the model takes them, a tf.data.Dataset, a
            `keras.utils.PyDataset` or a generator of batches; up to 64 samples are read. None takes noise
            of the kind that each input takes. `lsuv` needs data.
        pretrained: A model, or a `.keras` or `.weights.h5` file, whose weights are copied where path and
            shape match; the others are initialized for what they will see. `plan.notes` lists both.
        seed: An integer for the same values in every run; None follows `keras.utils.set_random_seed`.
        output_bias: "prior" gives the output layer the log-odds of the classes, from `labels` or
            `class_counts`; None leaves its bias.
        labels: The training labels, as class numbers or one-hot.
        class_counts: How many samples each class has.
        only, skip: Patterns (* and ?) of layer or weight paths: what is drawn, and what is left as it is.
        dry_run: Returns the plan, and leaves every weight as it was.

    Returns:
        The plan: for each weight its place, method, scale and reason. Print it, or see `plan.table()`.

    Raises:
        InitxError: A model that is not built or has no weights; an unknown method; data that is empty or
            not finite, or that is needed; a pattern that matches nothing; a pretrained file that does not
            match; a layer whose result is zero or not finite. Every weight is then as it was.

    Example:

    >>> layers = [keras.layers.Dense(64, activation="gelu") for _ in range(50)]
    >>> model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(10)])
    >>> plan = initialize(model, seed=0)
    >>> plan.rows[0].method, round(plan.rows[-1].scaled, 3)
    ('mirrored', 1.0)

    References: Mishkin & Matas 2016 (LSUV, arXiv 1511.06422) for scaling by measurement; the methods cite
    their own.
    """
    started = time.perf_counter()
    _check(model, method, data, output_bias, labels, class_counts)
    selection = Selection(only, skip)
    first = random.randint(1, 10**9) if seed is None else _checked_seed(seed)
    batch = None if data is None else batch_of(data, _DATA)
    owners = Owners(all_layers(model))
    with Snapshot(model.variables) as before:
        try:
            graph = trace(model, batch)
            if unseen := unseen_tables(graph, model):
                # Zeros tell nothing of where they come from: with other values the trace can find them.
                for number, variable in enumerate(unseen):
                    variable.assign(table_values(variable, folded(first, f"table {number}")))
                graph = trace(model, batch)
                before.restore()
            found = sites(graph)
            choices = METHODS[method](found)
            jobs = _jobs(graph, found, choices, owners, selection)
            selection.check([*(job.weight.path for job in jobs), *owners.paths()])
            if not jobs:
                raise InitxError("model", model.name, "a model with kernels")
            copied = Copied() if pretrained is None else copy_pretrained(model, pretrained)
            notes = list(copied.notes())
            for job in jobs:
                if id(job.variable) in copied.variables:
                    job.status, job.weight.target = "pretrained", None
            drawn = [job for job in jobs if job.status == "drawn"]
            for number, job in enumerate(drawn):
                owner, name = owners.of(job.variable)
                values = draw(job.choice, owner, name, job.variable, folded(first, str(number)))
                job.variable.assign(values)
                if job.choice.factor != 1:
                    _lower(graph, job)
            with Snapshot(model.non_trainable_variables) as statistics:
                notes += _pass(model, graph, jobs, batch, first, method)
                statistics.restore()
            if output_bias is not None:
                notes += _set_output_bias(graph, found, owners, labels, class_counts)
            _check_finite(drawn)
            if dry_run:
                before.restore()
        except BaseException:
            before.restore()
            raise
    ends = [job for job in drawn if job.choice.factor != 1]
    if ends:
        notes.append(f"{len(ends)} kernels end a residual branch and are scaled down for it")
    rows = tuple(_row(job, owners) for job in jobs)
    notes += [f"{s.path}: not opened ({s.opaque}), scaled by what it does" for s in graph.steps if s.opaque]
    return Plan(model.name, method, rows, tuple(notes), dry_run, time.perf_counter() - started)


def _check(model: Any, method: Any, data: Any, output_bias: Any, labels: Any, class_counts: Any) -> None:
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if not model.built:
        raise InitxError("model", model.name, "a built model", "Call it on a batch of data.")
    if not model.weights:
        raise InitxError("model", model.name, "a model with weights")
    for layer in all_layers(model):
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            remedy = "Initialize the model first, then enable LoRA or quantize it."
            allowed = "a layer whose kernel is a variable of a floating-point type"
            raise InitxError(layer.path or layer.name, "LoRA or quantization", allowed, remedy)
    if method == "lsuv" and data is None:
        raise InitxError("data", None, "a batch of data: LSUV scales on it", "Or use method='auto'.")
    if output_bias not in (None, "prior"):
        raise InitxError("output_bias", output_bias, "None or 'prior'")
    if (output_bias == "prior") != ((labels is not None) != (class_counts is not None)):
        allowed = "output_bias='prior' together with one of labels and class_counts"
        raise InitxError("output_bias", output_bias, allowed)


def _checked_seed(seed: Any) -> int:
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise InitxError("seed", seed, "None or an integer")
    return int(seed)


def _jobs(
    graph: Graph, found: dict[int, Site], choices: dict[int, Choice], owners: Owners, selection: Selection
) -> list[_Job]:
    """One job for each weight, in the order of the graph; a shared weight is decided by its first use."""
    jobs: dict[int, _Job] = {}
    for number, site in found.items():
        step, choice = graph.steps[number], choices[number]
        bias = bias_of(step) if choice.shift != 0 or choice.offset else None
        for variable in kernels(step):
            path = variable.path
            weight = Weight(path, variable, choice.target, bias, choice.shift, choice.offset)
            job = _Job(variable, site, choice, weight)
            if not selection.has(site.path, path) or not variable.trainable:
                job.status = "frozen" if not variable.trainable else "kept"
                weight.target = weight.bias = None
            jobs.setdefault(id(variable), job)
    for site, choice, variable in additive_tables(graph, owners):
        job = _Job(variable, site, choice, Weight(variable.path, variable, choice.target))
        if not selection.has(site.path, variable.path):
            job.status, job.weight.target = "kept", None
        jobs.setdefault(id(variable), job)
    return list(jobs.values())


def _pass(
    model: keras.Model, graph: Graph, jobs: list[_Job], batch: Any, seed: int, method: str
) -> list[str]:
    """Scales on data or noise, again where the first measurement was loose; returns notes."""
    size = _batch_size(graph)
    weights = [job.weight for job in jobs]
    for attempt in range(2):
        try:
            inputs = noise(graph, size, folded(seed, f"noise {attempt}")) if batch is None else batch
        except InitxError:
            if all(w.target is None for w in weights):
                return ["the signal was not measured: noise for an input of this kind is not known"]
            raise
        # Traced anew: constants that were made of weights have to be made of those that were drawn.
        Calibration(trace(model, inputs), weights).run(inputs)
        loose = [w for w in weights if w.error > _LOOSE and w.target is not None]
        if batch is not None or not loose:
            return []
        size *= 4
    return [f"{w.path}: measured to {100 * w.error:.0f} % only; pass data= for more" for w in loose]


def _batch_size(graph: Graph) -> int:
    values = sum(math.prod(n or 1 for n in shape[1:]) for step in graph.steps for shape in step.shapes)
    low, high = _BATCHES
    return int(min(max(_BUDGET // max(values, 1), low), high))


def _lower(graph: Graph, job: _Job) -> None:
    """Puts the choice's last factor into the target, or into the gain of a normalization that undoes it."""
    step = normalization_after(graph, graph.steps[job.site.step])
    gain = getattr(step.call.operation, "gamma", None) if step is not None and step.call else None
    if gain is not None:
        gain.assign(ops.full_like(gain, job.choice.factor))
    elif job.weight.target is not None:
        job.weight.target *= job.choice.factor


def _set_output_bias(
    graph: Graph, found: dict[int, Site], owners: Owners, labels: Any, class_counts: Any
) -> list[str]:
    if class_counts is None:
        values = np.asarray(labels)
        classes = np.argmax(values, axis=-1) if values.ndim > 1 and values.shape[-1] > 1 else values.ravel()
        class_counts = np.bincount(classes.astype("int64")).tolist()
    heads = [site for site in found.values() if "head" in site.roles and site.biased]
    if len(heads) != 1:
        allowed = "a model with one output layer that has a bias"
        raise InitxError("output_bias", "prior", allowed, f"Found: {[site.path for site in heads]}.")
    bias = bias_of(graph.steps[heads[0].step])
    assert bias is not None
    owner, name = owners.of(bias)
    initializer = PriorBias(class_counts=class_counts).bound_to(owner, name)
    bias.assign(initializer(tuple(bias.shape), dtype=bias.dtype))
    return [f"{bias.path}: log-odds of the classes"]


def _check_finite(jobs: list[_Job]) -> None:
    for job in jobs:
        job.mean_square = mean_square(job.variable)
        if not np.isfinite(job.mean_square):
            received = "values that are not finite"
            raise InitxError(job.weight.path, received, "finite ones", "Use another method.")


def _row(job: _Job, owners: Owners) -> PlanRow:
    weight, choice, site = job.weight, job.choice, job.site
    fans = owners.fans(job.variable)
    was = job.status == "drawn"
    return PlanRow(
        path=weight.path,
        kind=site.kind,
        shape=tuple(job.variable.shape),
        activation=site.activation.name,
        roles=site.roles,
        depth=site.depth,
        method=choice.method if was else job.status,
        fan_in=fans.fan_in,
        fan_out=fans.fan_out,
        gain=job.mean_square * fans.fan_in,
        drawn=weight.measured,
        scaled=weight.result,
        target=weight.target,
        error=weight.error,
        measured_by=weight.how,
        reason=choice.reason if was else _REASONS[job.status],
    )


_REASONS = {
    "kept": "left out by only= or skip=",
    "frozen": "not trainable: left as it is",
    "pretrained": "copied from pretrained=",
}
