"""`WeightTask`: one weight on its way through `initialize`, from the choice to the row of the plan."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from keras import ops

from keras_initx._graph import (
    Graph,
    Step,
    WeightContext,
    end_kernels,
    gain_of,
    normalization_after,
    own_weights,
    stopping_steps,
    ways_around,
)
from keras_initx._weights import (
    PathFilter,
    WeightIndex,
    declared,
    is_given,
    is_small,
    is_structured,
    is_zero,
    mean_square,
    own_initializer,
    varies,
)
from keras_initx.errors import InitxError
from keras_initx.model_init.additive_tables import additive_tables
from keras_initx.model_init.cells import (
    cell_choice,
    reads_unbounded_state,
    recurrent_choice,
    small_output_choice,
)
from keras_initx.model_init.methods import Choice, variance_choice
from keras_initx.model_init.methods.outputs import held_choice, is_held, tied_choice
from keras_initx.model_init.multipliers import added_lookups, constant_multiplier
from keras_initx.model_init.periodic import choose_by_period, frequencies, output_of_waves, spanning_choice
from keras_initx.model_init.plan import NOT_DRAWN, PlanRow, PlanUse


@dataclass(eq=False)
class WeightUse:
    """One of several steps that read a weight.

    Attributes:
        context: The context of the step in the graph.
        is_lookup: Whether the step looks up rows of the weight, rather than multiplies by it.
        multiplier: The number that the model multiplies the result by at once.
        rms: The root mean square of its result after scaling, without bias; NaN until it is measured.
    """

    context: WeightContext
    is_lookup: bool
    multiplier: float
    rms: float = field(default=math.nan, init=False)


# The reason for a weight whose inputs are zeros: a gain, a look-up table or a kernel before it is zero.
ON_ZEROS = "reads zeros, so it is drawn for inputs of root mean square 1"
# The same for a signal that was lost before it. A kernel that restores it would be far too large for others.
ON_NEARLY_ZEROS = "reads almost zeros, so it is drawn for inputs of root mean square 1"


@dataclass(eq=False)
class WeightTask:
    """A weight to initialize: its context, the choice for it, and what the scaling pass measured.

    Attributes:
        variable: The weight.
        context: Its context in the graph.
        choice: How it is drawn and scaled.
        bias: The bias that is added to its output, if the choice sets it.
        status: "drawn", or the reason why it is not: a key of `NOT_DRAWN`.
        target: The root mean square that its output is scaled to. It starts as the target of the choice;
            None leaves the weight as it is and only measures it.
        rms_before: The root mean square of its output before scaling; NaN until it is measured.
        rms_after: The same after scaling, without the offset of the choice.
        error: The relative standard error of the measurement, from the spread between samples.
        measured_at: Where its output was measured, in words.
        left: Why its output was not scaled to the target of the choice; "" if it was.
        remark: A note for the plan about its layer; "" if there is nothing to say.
        mean_square: The mean square of its entries after initialization.
        uses: The steps that read the weight, if there are several.
        follows: The tied table that a look-up is added to, whose size it takes.
    """

    variable: keras.Variable
    context: WeightContext
    choice: Choice
    bias: keras.Variable | None = None
    status: str = "drawn"
    target: float | None = field(init=False)
    rms_before: float = field(default=math.nan, init=False)
    rms_after: float = field(default=math.nan, init=False)
    error: float = field(default=0.0, init=False)
    measured_at: str = field(default="", init=False)
    left: str = field(default="", init=False)
    remark: str = field(default="", init=False)
    mean_square: float = field(default=math.nan, init=False)
    uses: list[WeightUse] = field(default_factory=list, init=False)
    follows: "WeightTask | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.target = self.choice.target

    @property
    def path(self) -> str:
        """The path of the weight."""
        return self.variable.path

    @property
    def is_tied(self) -> bool:
        """Return whether the weight is a look-up table that also multiplies a signal."""
        return len({use.is_lookup for use in self.uses}) == 2

    @property
    def is_shared(self) -> bool:
        """Return whether several steps read the weight, and at least one multiplies by it."""
        return len(self.uses) > 1 and not all(use.is_lookup for use in self.uses)

    def miss(self) -> float:
        """Return the root mean square of its products relative to the target; NaN if none was measured."""
        measured = [use.rms for use in self.uses if not use.is_lookup and math.isfinite(use.rms)]
        if not self.target or not measured:
            return math.nan
        return math.sqrt(sum(rms**2 for rms in measured) / len(measured)) / self.target

    def leave_as_is(self, status: str) -> None:
        """Leave the weight and its bias as they are, and only measure its output."""
        self.status, self.target, self.bias = status, None, None

    def record(self, rms: float, error: float, measured_at: str) -> None:
        """Store a measurement; `rms_before` stays at the first one."""
        # A weight that is left as it is has the same size before and after.
        if math.isnan(self.rms_before) or self.target is None:
            self.rms_before = rms
        self.rms_after = rms if self.target is None else self.target
        self.error, self.measured_at = error, measured_at


def make_tasks(
    graph: Graph,
    contexts: dict[int, WeightContext],
    choices: dict[int, Choice],
    index: WeightIndex,
    path_filter: PathFilter,
    fixed: Collection[int] = (),
) -> list[WeightTask]:
    """Return one task for each weight, in the order of the graph.

    Args:
        graph: The traced model.
        contexts: Its weighted steps. The first use of a shared weight decides, but never a look-up if
            another step multiplies by the weight.
        choices: The choice for each of them.
        index: The layers of the model's weights.
        path_filter: The weights that may change.
        fixed: The ids of variables that have their values: copied from a pretrained model, or an output bias.
    """
    tasks: dict[int, WeightTask] = {}
    # Finding them may take a trace, so do it once for each step.
    ends = {n: end_kernels(graph.steps[n]) for n, c in contexts.items() if "residual_end" in c.roles}
    for variable, uses in _uses(graph, contexts, index):
        # If a look-up table is also a matrix, the product decides.
        deciding = next((use for use in uses if not use.is_lookup), uses[0])
        step, choice = graph.steps[deciding.context.step], choices[deciding.context.step]
        bias = step.bias if choice.before.shift != 0 or choice.after.offset else None
        if bias is not None and (id(bias) in fixed or not path_filter.matches(index.names(bias))):
            bias = None
        context = deciding.context
        if not any(variable is v for v in ends.get(step.number, step.kernels)):
            context, choice = _inside(step, variable, context, choice)
        if step.is_recurrent:
            choice = cell_choice(step, variable, choice)
        elif variable.name.endswith("recurrent_kernel"):
            choice = recurrent_choice(choice)
        elif deciding is not uses[0]:
            choice = tied_choice(choice)
        if "head" in context.roles and is_held(step.bias, context.activation):
            bias = None
            choice = held_choice(choice) if choice.scales else choice
        elif "head" in context.roles and choice.scales and reads_unbounded_state(graph, step):
            choice = small_output_choice(choice)
        if choice.spans:
            choice = spanning_choice(choice, index.fans(variable).fan_in)
        task = WeightTask(variable, context, choice, bias)
        if task.target is not None and (deciding.is_lookup or deciding is not uses[0]):
            task.target /= abs(deciding.multiplier)
        if len(uses) > 1:
            task.uses = uses
        tasks[id(variable)] = task
    _follow_tied_tables(graph, tasks)
    for context, choice, variable in additive_tables(graph, index):
        tasks.setdefault(id(variable), WeightTask(variable, context, choice))
    for task in tasks.values():
        if id(task.variable) in fixed:
            task.leave_as_is("pretrained")
        elif not task.variable.trainable:
            task.leave_as_is("frozen")
        elif index.is_adapted(task.variable):
            task.leave_as_is("adapted")
        elif not path_filter.matches(index.names(task.variable)):
            task.leave_as_is("kept")
    if not path_filter.is_only:
        _keep_deliberate(graph, list(tasks.values()), index)
    return list(tasks.values())


def statuses(graph: Graph, contexts: dict[int, WeightContext], index: WeightIndex) -> dict[int, str]:
    """Return the status that `initialize(model)` would give each weight, by the id of the variable."""
    choices = choose_by_period("auto", contexts)
    return {id(t.variable): t.status for t in make_tasks(graph, contexts, choices, index, PathFilter())}


def _keep_deliberate(graph: Graph, tasks: list[WeightTask], index: WeightIndex) -> None:
    """Leave the weights that were set on purpose: arrays, structures, and zeros that let the rest learn.

    Zeros, and kernels far smaller than any scheme, let the rest learn at the end of a branch or of the model,
    and wherever the signal goes around them; so do zeros whose bias is an output of its own, such as the
    identity of a spatial transformer. Elsewhere they stop the signal, and whatever initializer the model
    declares there is a habit or a mistake, which means nothing at the ends either. Zeros may be a mistake in
    one place, such as the stem: they mean nothing at the ends of the model and of their own branch.

    References: Jaderberg et al. 2015 (arXiv 1506.02025) for spatial transformers; Qi et al. 2017
    (arXiv 1612.00593), whose transforms of points start at the identity as well.
    """
    for task in tasks:
        layer, _ = index.of(task.variable)
        if task.status == "drawn" and is_given(task.variable, own_initializer(layer, task.variable)):
            task.leave_as_is("given")
    kernels = [t for t in tasks if t.status == "drawn" and "additive_table" not in t.context.roles]
    zeros = {id(t.variable): "zeros" for t in kernels if is_zero(t.variable)}
    # The entries of a look-up table do not add up, so small ones are nothing special.
    for task in (t for t in kernels if not ("embedding" in t.context.roles or t.is_tied)):
        if is_small(task.variable, index.fans(task.variable).fan_in):
            zeros.setdefault(id(task.variable), "small")
    if zeros:
        closed = [s.number for s in graph.steps if s.kernels and all(id(v) in zeros for v in s.kernels)]
        stopping = stopping_steps(graph, closed)
        around = {id(v) for n in closed for v in graph.steps[n].kernels if n not in stopping}
        small = [task for task in kernels if id(task.variable) in zeros]
        ends = [
            t for t in small if {"residual_end", "head"} & set(t.context.roles) or id(t.variable) in around
        ]
        habits = [task for task in small if task not in ends]
        for task in small:
            meant = task in ends and not any(
                declared(habit.variable, index) == declared(task.variable, index)
                and (zeros[id(habit.variable)] != "zeros" or _leads_into(graph, habit, task))
                for habit in habits
            )
            if meant or varies(graph.steps[task.context.step].bias):
                task.leave_as_is(zeros[id(task.variable)])
    waves = frequencies(graph, [(t.context, t.variable) for t in kernels if t.status == "drawn"], index)
    for task in (t for t in kernels if id(t.variable) in waves):
        task.leave_as_is("frequencies")
        for head in (t for t in kernels if "head" in t.context.roles and t.choice.factor == 1):
            if head.context.depends_on >> task.context.step & 1 and head.choice.scales:
                head.choice = output_of_waves(head.choice, waves[id(task.variable)])
    for task in kernels:
        if task.status == "drawn" and is_structured(task.variable):
            task.leave_as_is("structured")


def _leads_into(graph: Graph, task: WeightTask, end: WeightTask) -> bool:
    """Return whether a weight is in the branch that `end` ends, or in the model if that is an output."""
    if "head" in end.context.roles:
        return True
    behind, _ = ways_around(graph, lambda step: () if step.number == end.context.step else step.inputs)
    return task.context.step in behind


def _inside(
    step: Step, variable: keras.Variable, context: WeightContext, choice: Choice
) -> tuple[WeightContext, Choice]:
    """Return the context and choice of a kernel that a closed layer uses before the end of its branch."""
    roles = tuple(name for name in context.roles if name not in ("residual_end", "head"))
    context = replace(context, roles=roles, residual_number=0)
    if not choice.method.startswith("residual"):
        return context, choice
    if any(variable is v for v in own_weights(step.operation)):
        # Only the output of its layer can be measured, and that has the target of a residual end.
        reason = "scaled by the output of its layer, which ends a residual branch"
        return context, replace(choice, method="variance", reason=reason)
    return context, variance_choice(context)


def _uses(
    graph: Graph, contexts: dict[int, WeightContext], index: WeightIndex
) -> list[tuple[keras.Variable, list[WeightUse]]]:
    """Return each weight with the steps that read it, in the order of the graph."""
    uses: dict[int, tuple[keras.Variable, list[WeightUse]]] = {}
    for number, context in contexts.items():
        step = graph.steps[number]
        # A variable that belongs to no layer is not a weight of the model.
        for variable in filter(index.has, step.kernels):
            use = WeightUse(context, step.is_lookup, constant_multiplier(graph, step))
            uses.setdefault(id(variable), (variable, []))[1].append(use)
    return list(uses.values())


def _follow_tied_tables(graph: Graph, tasks: dict[int, WeightTask]) -> None:
    """Let additive tables next to the rows of a tied table, such as positions, take the size of the rows."""
    for tied in [task for task in tasks.values() if task.is_tied and task.target is not None]:
        for use in tied.uses:
            for step in added_lookups(graph, graph.steps[use.context.step]) if use.is_lookup else ():
                for task in [tasks[id(v)] for v in step.kernels if id(v) in tasks]:
                    if task.target is not None and not task.uses and task.follows is None:
                        task.follows = tied
                        width = tuple(tied.variable.shape)[-1]
                        # An estimate until the look-up is measured.
                        task.target *= abs(use.multiplier) / width**0.5


def apply_residual_factor(
    graph: Graph, task: WeightTask, may_change: Callable[[keras.Variable], bool]
) -> None:
    """Apply the last factor of a choice to the target, or to the gain of a normalization that follows."""
    if task.choice.factor == 1:
        return
    step = normalization_after(graph, graph.steps[task.context.step])
    gamma = None if step is None else gain_of(graph, step)
    if gamma is not None:
        # A frozen, skipped or copied gain stays: the normalization would undo a smaller kernel anyway.
        if is_zero(gamma):
            reason = f"{task.choice.reason}; but that gain is zero, on purpose, and stays"
            task.choice = replace(task.choice, reason=reason)
        elif may_change(gamma):
            gamma.assign(ops.full_like(ops.convert_to_tensor(gamma), task.choice.factor))
    elif task.target is not None:
        task.target *= task.choice.factor


def check_finite(tasks: list[WeightTask]) -> None:
    """Store the mean square of each weight; raise an `InitxError` if one has values that are not finite."""
    for task in tasks:
        task.mean_square = mean_square(task.variable)
        if not np.isfinite(task.mean_square):
            raise InitxError(
                task.path,
                "values that are not finite",
                "a weight with finite values",
                f"Use another method, or exclude the weight with skip={task.path!r}.",
                f"{task.path}: method {task.choice.method!r} gives it values that are not finite",
            )


def _activation_name(task: WeightTask, index: WeightIndex) -> str:
    """Return the name of the first activation that a weight's result meets; in a cell, of the cell's own."""
    layer, _ = index.of(task.variable)
    activation = getattr(layer, "activation", None)
    if not (hasattr(layer, "recurrent_kernel") and callable(activation)):
        return task.context.activation.name
    return str(getattr(activation, "__name__", type(activation).__name__))


def plan_row(task: WeightTask, index: WeightIndex) -> PlanRow:
    """Return the row of the plan for a weight."""
    choice, context = task.choice, task.context
    fans = index.fans(task.variable)
    drawn = task.status == "drawn"
    reason = task.left or choice.reason
    uses = tuple(PlanUse(u.context.path, u.context.kind, u.context.roles, u.rms) for u in task.uses)
    if uses and drawn:
        reason = f"{reason}; {len(uses)} uses: {', '.join(map(str, uses))}"
    contexts = [use.context for use in task.uses] or [context]
    roles = dict.fromkeys(role for place in contexts for role in place.roles)
    return PlanRow(
        path=task.path,
        kind=context.kind,
        shape=tuple(task.variable.shape),
        activation=_activation_name(task, index),
        roles=tuple(roles),
        depth=context.depth,
        method=choice.method if drawn else task.status,
        fan_in=fans.fan_in,
        fan_out=fans.fan_out,
        gain=task.mean_square * fans.fan_in,
        rms_before=task.rms_before,
        rms_after=task.rms_after,
        target=task.target,
        error=task.error,
        measured_at=task.measured_at,
        reason=reason if drawn else NOT_DRAWN[task.status],
        uses=uses,
    )
