"""`initialize`: a whole model at once, by its graph and one forward pass."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_initx._graph import Graph, fixed_batch, noise, trace, weight_contexts
from keras_initx._weights import (
    Copied,
    PathFilter,
    Snapshot,
    WeightIndex,
    all_layers,
    copy_pretrained,
    generators_kept,
)
from keras_initx.errors import InitxError, checked_seed
from keras_initx.initializers import OVERRIDDEN_MARK, fold_in
from keras_initx.model_init.additive_tables import table_values, unseen_tables
from keras_initx.model_init.arguments import check_arguments, data_batch
from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.calibration.measure import Weight
from keras_initx.model_init.draw import draw
from keras_initx.model_init.methods import METHODS
from keras_initx.model_init.output_bias import set_output_bias
from keras_initx.model_init.plan import Plan
from keras_initx.model_init.tasks import apply_residual_factor, check_finite, make_tasks, plan_row

# Values that one pass may compute; it decides the size of the batch.
_BUDGET = 6e7
_BATCHES = (2, 256)
# A measurement is made again on more noise where more of the results than this are not within 10 % of
# their target, by what their standard errors let expect, or where one of them may be off by a half.
_LOOSE_SHARE, _LOOSE_ERROR = 0.02, 0.2


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
    check_arguments(model, method, data, output_bias, labels, class_counts)
    selection = PathFilter(only, skip)
    asked = random.getstate()
    seed = checked_seed(seed)
    first = random.randint(1, 10**9) if seed is None else seed
    batch = None if data is None else data_batch(model, data)
    # Initializers draw default seeds from it that nobody uses here; a dry run tells what the next one does.
    state = asked if dry_run else random.getstate()
    with generators_kept(), Snapshot([*model.variables, *_states(model)]) as before:
        try:
            plan, drawn = _initialized(
                model, method, batch, pretrained, first, selection, labels, class_counts
            )
            if dry_run:
                before.restore()
                drawn = []
        except BaseException:
            before.restore()
            raise
        finally:
            random.setstate(state)
    for variable in drawn:
        setattr(variable, OVERRIDDEN_MARK, True)
    return replace(plan, dry_run=dry_run, seconds=time.perf_counter() - started)


def known_methods() -> list[str]:
    """The names that `initialize` takes as its method.

    Example:

    >>> known_methods()[:3]
    ['auto', 'variance', 'he_auto']
    """
    return list(METHODS)


def _initialized(
    model: keras.Model,
    method: str,
    batch: Any,
    pretrained: Any,
    seed: int,
    selection: PathFilter,
    labels: Any,
    class_counts: Any,
) -> tuple[Plan, list[keras.Variable]]:
    """The plan, and the weights that it drew."""
    owners, states = WeightIndex(all_layers(model)), _states(model)

    def selected(variable: keras.Variable) -> bool:
        return selection.has(owners.names(variable))

    with Snapshot(states) as before:
        # Tracing calls the model, and so moves its generators of random numbers on.
        graph = _traced(model, batch, seed)
        before.restore()
    found = weight_contexts(graph)
    jobs = make_tasks(graph, found, METHODS[method](found), owners, selection, ())
    selection.check((owners.names(job.variable) for job in jobs), map(owners.names, owners.variables()))
    if not jobs:
        raise InitxError("model", model.name, "a model with kernels")
    copied = Copied() if pretrained is None else copy_pretrained(model, pretrained, selected)
    notes = list(copied.notes())
    left = {id(job.variable) for job in jobs if job.status != "drawn"} | copied.variables
    if left:
        # What two weights of a chain have in common needs both.
        found = {
            n: replace(site, drawn=not any(id(v) in left for v in graph.steps[n].kernels))
            for n, site in found.items()
        }
        jobs = make_tasks(graph, found, METHODS[method](found), owners, selection, copied.variables)

    def may_change(variable: keras.Variable) -> bool:
        return variable.trainable and selected(variable) and id(variable) not in copied.variables

    drawn = [job for job in jobs if job.status == "drawn"]
    for number, job in enumerate(drawn):
        job.variable.assign(
            draw(job.choice, *owners.of(job.variable), job.variable, fold_in(seed, str(number)))
        )
        apply_residual_factor(graph, job, may_change)
    with Snapshot(states) as statistics:
        notes += _pass(model, graph, [job.weight for job in jobs], batch, seed)
        statistics.restore()
    seen = {id(job.variable) for job in jobs}
    notes += [
        f"{v.path}: left as it is, since no step of the graph multiplies with it"
        for v in model.trainable_variables
        if len(v.shape) > 1 and id(v) not in seen and "bias" not in v.name
    ]
    if labels is not None or class_counts is not None:
        notes.append(set_output_bias(graph, found, owners, selection, labels, class_counts))
    check_finite(drawn)
    if ends := sum(job.choice.method.startswith("residual") for job in drawn):
        notes.append(f"{ends} kernels end a residual branch: it, or its normalization, is scaled down for it")
    for step in graph.steps:
        if step.opaque:
            done = "scaled by what it does" if step.parameters else "taken as it is"
            notes.append(f"{step.path}: not opened ({step.opaque}), {done}")
    plan = Plan(model.name, method, tuple(plan_row(job, owners) for job in jobs), tuple(notes))
    return plan, [job.variable for job in drawn]


def _states(model: keras.Model) -> list[keras.Variable]:
    """What a call may change: statistics, generators of random numbers, the states of stateful cells."""
    cells = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
    states = [v for cell in cells for v in keras.tree.flatten(cell.states) if isinstance(v, keras.Variable)]
    return [*model.non_trainable_variables, *states]


def _traced(model: keras.Model, batch: Any, seed: int) -> Graph:
    graph = trace(model, batch)
    unseen = unseen_tables(graph, model)
    if not unseen:
        return graph
    # Zeros tell nothing of where they come from: with other values the trace can find them.
    with Snapshot(unseen) as zeros:
        for number, variable in enumerate(unseen):
            variable.assign(table_values(variable, fold_in(seed, f"table {number}")))
        graph = trace(model, batch)
        zeros.restore()
    return graph


def _pass(model: keras.Model, graph: Graph, weights: list[Weight], batch: Any, seed: int) -> list[str]:
    """Scales on data or noise, on more where the measurement was loose; returns notes."""
    values = sum(math.prod(n or 1 for n in shape[1:]) for step in graph.steps for shape in step.shapes)
    low, high = _BATCHES
    size = int(min(max(_BUDGET // max(values, 1), low), high))
    fixed = fixed_batch(model)
    loose = ""
    for attempt in range(3):
        try:
            inputs = (
                noise(graph, fixed or size, fold_in(seed, f"noise {attempt}")) if batch is None else batch
            )
        except InitxError:
            if all(w.target is None for w in weights):
                return ["the signal was not measured: noise for an input of this kind is not known"]
            raise
        if not _fits(graph, inputs):
            graph = trace(model, inputs)
        ScalingPass(graph, weights, given=batch is not None).run(inputs)
        size *= 4
        if batch is not None or fixed or not (loose := _loose(weights)) or size * values > 8 * _BUDGET:
            break
    return [loose] if loose else []


def _fits(graph: Graph, inputs: Any) -> bool:
    """Whether a graph can be replayed on `inputs`: of their shapes, and without constants.

    Constants may have been made of weights, which have been drawn since.
    """
    pairs = zip(keras.tree.flatten(graph.symbolic), keras.tree.flatten(inputs), strict=True)
    if any(tuple(a.shape) != tuple(b.shape) for a, b in pairs):
        return False
    calls = [step.call for step in graph.steps if step.call is not None]
    given = keras.tree.flatten([(call.args, call.kwargs) for call in calls])
    return not any(keras.ops.is_tensor(v) and not isinstance(v, keras.Variable) for v in given)


def _loose(weights: list[Weight]) -> str:
    """What is to be said of results that were measured too loosely; nothing where none was."""
    scaled = [w for w in weights if w.target is not None]
    off = [math.erfc(0.1 / max(w.error, 1e-9) / math.sqrt(2)) for w in scaled]
    worst = max(scaled, key=lambda w: w.error, default=None)
    if worst is None or (sum(off) <= _LOOSE_SHARE * len(off) and worst.error <= _LOOSE_ERROR):
        return ""
    share = f"{100 * sum(off) / len(off):.0f} % of the results may be more than 10 % from their target"
    return f"measured loosely: {share}; the loosest, {worst.path}, is known to {100 * worst.error:.0f} %"
