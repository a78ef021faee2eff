"""One job for each weight of a model: where it stands, what was decided, what became of it."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from keras_initx._graph import Graph, WeightContext, normalization_after
from keras_initx._weights import PathFilter, WeightIndex, mean_square
from keras_initx.errors import InitxError
from keras_initx.initializers import OrthogonalAuto
from keras_initx.model_init.additive_tables import additive_tables
from keras_initx.model_init.calibration.measure import Weight
from keras_initx.model_init.methods import Choice
from keras_initx.model_init.plan import NOT_DRAWN, PlanRow


@dataclass
class WeightTask:
    """A weight: where it stands, what was decided, and what the pass is told of it.

    Attributes:
        status: "drawn", or why it is not: a key of `NOT_DRAWN`.
        mean_square: Of its entries, in the end.
    """

    variable: keras.Variable
    site: WeightContext
    choice: Choice
    weight: Weight
    status: str = "drawn"
    mean_square: float = math.nan

    def keep(self, status: str) -> None:
        """Leaves the weight as it is, and only measures what it gives."""
        self.status = status
        self.weight.target = self.weight.bias = None
        self.weight.shift, self.weight.offset = 0.0, 0.0


def make_tasks(
    graph: Graph,
    found: dict[int, WeightContext],
    choices: dict[int, Choice],
    owners: WeightIndex,
    selection: PathFilter,
    copied: Collection[int],
) -> list[WeightTask]:
    """One job for each weight, in the order of the graph; a shared weight is decided by its first use.

    `copied` are the ids of variables that were copied from a pretrained model.
    """
    jobs: dict[int, WeightTask] = {}
    for number, site in found.items():
        step, choice = graph.steps[number], choices[number]
        bias = step.bias if choice.shift != 0 or choice.offset else None
        if bias is not None and (id(bias) in copied or not selection.has(owners.names(bias))):
            bias = None
        # A variable that no layer has is none of the model's weights.
        for variable in filter(owners.has, step.kernels):
            own = _going_round(choice) if variable.name.endswith("recurrent_kernel") else choice
            weight = Weight(variable.path, variable, own.target, bias, own.shift, own.offset)
            jobs.setdefault(id(variable), WeightTask(variable, site, own, weight))
    for site, choice, variable in additive_tables(graph, owners):
        jobs.setdefault(
            id(variable), WeightTask(variable, site, choice, Weight(variable.path, variable, choice.target))
        )
    for job in jobs.values():
        if id(job.variable) in copied:
            job.keep("pretrained")
        elif not job.variable.trainable:
            job.keep("frozen")
        elif not selection.has(owners.names(job.variable)):
            job.keep("kept")
    return list(jobs.values())


def _going_round(choice: Choice) -> Choice:
    """The choice for a recurrent kernel, whatever the method: a state must neither grow nor die in it."""
    reason = "orthogonal: a state that goes round and round neither grows nor dies"
    initializer = OrthogonalAuto(gain=1.0)
    return replace(choice, method="orthogonal", initializer=initializer, target=None, reason=reason)


def apply_residual_factor(
    graph: Graph, job: WeightTask, may_change: Callable[[keras.Variable], bool]
) -> None:
    """Puts the choice's last factor into the target, or into the gain of a normalization that undoes it."""
    if job.choice.factor == 1:
        return
    step = normalization_after(graph, graph.steps[job.site.step])
    gain = getattr(step.call.operation, "gamma", None) if step is not None and step.call else None
    if gain is not None:
        # What is frozen, left out or copied stays; a smaller kernel would be undone by the normalization.
        if may_change(gain):
            gain.assign(ops.full_like(ops.convert_to_tensor(gain), job.choice.factor))
    elif job.weight.target is not None:
        job.weight.target *= job.choice.factor


def check_finite(jobs: list[WeightTask]) -> None:
    """Raises an `InitxError` for a weight with values that are not finite."""
    for job in jobs:
        job.mean_square = mean_square(job.variable)
        if not np.isfinite(job.mean_square):
            received = "values that are not finite"
            raise InitxError(job.weight.path, received, "finite ones", "Use another method.")


def plan_row(job: WeightTask, owners: WeightIndex) -> PlanRow:
    """What the plan says of a weight."""
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
        reason=_reason(job) if was else NOT_DRAWN[job.status],
    )


def _reason(job: WeightTask) -> str:
    unmeasured = job.choice.target is not None and job.weight.target is None
    return job.weight.how if unmeasured else job.choice.reason
