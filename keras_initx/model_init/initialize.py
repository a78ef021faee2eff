"""`initialize`: initialize a whole model by its graph and one forward pass."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_initx._graph import Graph, weight_contexts
from keras_initx._weights import (
    Copied,
    PathFilter,
    Snapshot,
    WeightIndex,
    adapted,
    all_frozen,
    all_layers,
    copy_pretrained,
    generators_kept,
    losses_kept,
    pass_states,
)
from keras_initx.errors import InitxError, checked_seed
from keras_initx.initializers import OVERRIDDEN_MARK, fold_in
from keras_initx.model_init.additive_tables import trace_with_tables
from keras_initx.model_init.arguments import check_arguments, check_undrawn, data_batch, own_batch
from keras_initx.model_init.calibration import calibrate
from keras_initx.model_init.draw import draw
from keras_initx.model_init.methods import METHODS
from keras_initx.model_init.output_bias import set_output_bias
from keras_initx.model_init.periodic import choose_by_period
from keras_initx.model_init.plan import Plan
from keras_initx.model_init.tasks import (
    WeightTask,
    apply_residual_factor,
    check_finite,
    make_tasks,
    plan_row,
)


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
    """Draw all kernels of a built model, and scale each to its target in one forward pass.

    w <- w target / s, where s is the root mean square of the output of w

    Weights are scaled in the order of the computation, on the output of the layers before them, which are
    already scaled. So every pre-activation has the root mean square `target` (1 unless the method chooses
    another), whatever lies between the layers. Kernels, recurrent kernels, embeddings and additive tables
    (positions, class tokens) are drawn; biases only if the method sets them. Frozen layers
    (`trainable=False`), layers with LoRA, quantized layers, normalizations, the optimizer, the compiled state
    and batch statistics stay as they are.

    Args:
        model: A built model: Functional, Sequential or subclassed.
        method: "auto" chooses by the context of each weight; or one of variance, he_auto, xavier_auto,
            orthogonal, spectral, lsuv, residual, residual_per_layer, edge, gpn, shaped, mirrored.
        data: The inputs of the forward pass: arrays as the model takes them, a tf.data.Dataset, a
            `keras.utils.PyDataset` or a generator of batches; up to 64 samples are read. None takes noise
            that suits each input. `lsuv` needs data.
        pretrained: A model, or a `.keras` or `.weights.h5` file. Weights of the same path and shape are
            copied, and the others are initialized for the signal that they will receive. `plan.notes` lists
            both.
        seed: An integer for the same values in every run; None follows `keras.utils.set_random_seed`.
        output_bias: "prior" sets the bias of the output layer to the log-odds of the classes, from `labels`
            or `class_counts`; None leaves it. For logits, the loss of a compiled model tells whether the
            classes exclude each other.
        labels: The training labels, as class numbers or rows of 0 and 1: one-hot, or multi-hot for sigmoids.
        class_counts: The number of samples of each class.
        only, skip: Patterns (* and ?) of layer or weight paths: the weights to draw, and the weights to leave
            as they are.
        dry_run: Return the plan, but leave every weight as it was.

    Returns:
        The plan: the path, method, scale and reason of each weight. Print it, or see `plan.table()`.

    Raises:
        InitxError: If the model is not built or has no weights; if the method is unknown; if data is
            missing, empty, not finite or all zeros; if a pattern matches nothing; if all weights to draw are
            frozen (but a dry run shows them); if `only` names a layer with LoRA or quantization, or there is
            no other; if a pretrained file does not match; if an output is not
            finite. Every weight is then as it was.

    Example:

    >>> layers = [keras.layers.Dense(64, activation="gelu") for _ in range(50)]
    >>> model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(10)])
    >>> plan = initialize(model, seed=0)
    >>> plan.rows[0].method, round(plan.rows[-1].rms_after, 3)
    ('mirrored', 1.0)

    References: Mishkin & Matas 2016 (LSUV, arXiv 1511.06422) for scaling by measurement; the methods cite
    their own.
    """
    started = time.perf_counter()
    path_filter = PathFilter(only, skip)
    check_arguments(model, method, data, output_bias, labels, class_counts, path_filter)
    state_at_call = random.getstate()
    seed = checked_seed(seed)
    first_seed = random.randint(1, 10**9) if seed is None else seed
    batch = None if data is None else data_batch(model, data)
    # Initializers draw default seeds that no weight uses, so put this state back at the end. A dry run also
    # gives back `first_seed`, so that the next call draws what it announced.
    random_state = state_at_call if dry_run else random.getstate()
    request = _Request(method, batch, pretrained, first_seed, path_filter, labels, class_counts, dry_run)
    with generators_kept(), losses_kept(model), Snapshot([*model.variables, *pass_states(model)]) as before:
        try:
            plan, drawn = _initialize(model, request)
            if dry_run:
                before.restore()
                drawn = []
        except BaseException:
            before.restore()
            raise
        finally:
            random.setstate(random_state)
    for variable in drawn:
        setattr(variable, OVERRIDDEN_MARK, True)
    return replace(plan, dry_run=dry_run, seconds=time.perf_counter() - started)


def known_methods() -> list[str]:
    """Return the names that `initialize` accepts as its method.

    Example:

    >>> known_methods()[:3]
    ['auto', 'variance', 'he_auto']
    """
    return list(METHODS)


@dataclass(frozen=True)
class _Request:
    """The checked arguments of one call; `batch` is None for noise."""

    method: str
    batch: Any
    pretrained: Any
    seed: int
    path_filter: PathFilter
    labels: Any
    class_counts: Any
    dry_run: bool


def _initialize(model: keras.Model, request: _Request) -> tuple[Plan, list[keras.Variable]]:
    """Return the plan and the weights that were drawn."""
    index, path_filter, states = WeightIndex(all_layers(model)), request.path_filter, pass_states(model)

    def selected(variable: keras.Variable) -> bool:
        return path_filter.matches(index.names(variable))

    with Snapshot(states) as before:
        # Tracing calls the model, which advances its random generators.
        graph = trace_with_tables(model, own_batch(model, request.batch), request.seed)
        before.restore()
    contexts, method = weight_contexts(graph), request.method
    tasks = make_tasks(graph, contexts, choose_by_period(method, contexts), index, path_filter)
    path_filter.check((index.names(task.variable) for task in tasks), map(index.names, index.variables()))
    adapted_layers = [index.of(v)[0] for v in index.variables() if index.is_adapted(v)]
    if not tasks and adapted_layers:
        raise adapted(adapted_layers[0])
    if not tasks:
        problem = f"`model` {model.name!r} has no kernels to initialize"
        raise InitxError("model", model.name, "a model with kernels", problem=problem)
    matching = [task for task in tasks if selected(task.variable)]
    # An output bias and pretrained weights are changes too, and a dry run shows the frozen weights.
    draws_only = request.pretrained is None and request.labels is None and request.class_counts is None
    if not matching and draws_only and not request.dry_run:
        raise path_filter.nothing_left()
    is_frozen = bool(matching) and all(task.status in ("frozen", "adapted") for task in matching)
    if is_frozen and draws_only and not request.dry_run:
        loose = [task.variable for task in matching if not index.is_adapted(task.variable)]
        raise all_frozen(model, loose) if loose else adapted(index.of(matching[0].variable)[0])
    copied = Copied()
    if request.pretrained is not None:
        copied = copy_pretrained(model, request.pretrained, selected)
    fixed, bias = set(copied.variables), None
    if request.labels is not None or request.class_counts is not None:
        bias = set_output_bias(
            model, graph, contexts.values(), index, path_filter, request.labels, request.class_counts
        )
        fixed.add(id(bias))
    check_undrawn(model, (task.variable for task in tasks if task.status == "drawn"))
    undrawn = {id(task.variable) for task in tasks if task.status != "drawn"} | copied.variables
    if undrawn or fixed:
        # A chain rule holds only between two drawn weights, and the output bias decides on its kernel.
        contexts = {
            number: replace(context, drawn=not any(id(v) in undrawn for v in graph.steps[number].kernels))
            for number, context in contexts.items()
        }
        tasks = make_tasks(graph, contexts, choose_by_period(method, contexts), index, path_filter, fixed)

    def may_change(variable: keras.Variable) -> bool:
        return variable.trainable and selected(variable) and id(variable) not in copied.variables

    drawn = [task for task in tasks if task.status == "drawn"]
    for number, task in enumerate(drawn):
        layer, name = index.of(task.variable)
        weight_seed = fold_in(request.seed, str(number))
        task.variable.assign(draw(task.choice, layer, name, task.variable, weight_seed))
        apply_residual_factor(graph, task, may_change)
    with Snapshot(states) as statistics:
        notes = [*copied.notes(), *calibrate(model, graph, tasks, request.batch, request.seed)]
        statistics.restore()
    notes += _untouched_notes(model, tasks)
    check_finite(drawn)
    if bias is not None:
        notes.append(f"{bias.path}: log-odds of the classes")
    notes += _graph_notes(graph, drawn)
    rows = tuple(plan_row(task, index) for task in tasks)
    plan = Plan(model.name, request.method, rows, tuple(notes), graph.closed)
    return plan, [v for task in drawn for v in (task.variable, task.bias) if v is not None]


def _untouched_notes(model: keras.Model, tasks: list[WeightTask]) -> list[str]:
    """Return notes about matrices of the model that no step of the graph multiplies with."""
    seen = {id(task.variable) for task in tasks}
    return [
        f"{v.path}: left as it is, since no step of the graph multiplies with it"
        for v in model.trainable_variables
        if len(v.shape) > 1 and id(v) not in seen and "bias" not in v.name
    ]


def _graph_notes(graph: Graph, drawn: list[WeightTask]) -> list[str]:
    """Return notes about residual branches, layers that the trace could not open, and copies of weights."""
    notes = []
    if ends := sum(task.choice.method.startswith("residual") for task in drawn):
        kernels = "1 kernel ends" if ends == 1 else f"{ends} kernels end"
        notes.append(f"{kernels} a residual branch, scaled down there or by the gain of its normalization")
    for step in graph.steps:
        if step.opaque:
            scaled = "scaled by its output" if step.weight_paths else "taken as it is"
            notes.append(f"{step.path}: not opened ({step.opaque}), {scaled}")
        for variable in step.call.copies:
            notes.append(
                f"{step.path}: its {step.kind} reads a copy of {variable.path} from when the model was "
                "built; neither `initialize` nor training changes it. Read the weight in the call of a layer"
            )
    return notes
