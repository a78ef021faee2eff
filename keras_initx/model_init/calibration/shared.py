"""Find the size of weights with several uses: repeat the scaling pass until all uses fit."""

import math
from typing import Any

import keras

from keras_initx._graph import Graph, trace
from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.tasks import WeightTask

# The pass is repeated at most this often, until the products of every shared weight meet their target on
# average up to this factor.
_MAX_PASSES, _TOLERANCE = 6, 1.1
# A weight that is used n times in a row changes its last result by a power of up to n.
_SMALLEST_POWER, _LARGEST_POWER = 0.5, 16.0


def settle(model: keras.Model, graph: Graph, tasks: list[WeightTask], inputs: Any, on_data: bool) -> Graph:
    """Scale the weights of a model on `inputs`, and return the graph that was used.

    The first pass scales each weight where it first multiplies a signal. Later uses may have another size,
    and look-ups came before it. So a weight with several uses then keeps its size during further passes, and
    is scaled between them until the root mean square over all its products is the target.
    """
    shared = [task for task in tasks if task.is_shared and task.target is not None]
    powers: dict[int, float] = {}
    last: dict[int, tuple[float, float]] = {}
    for number in range(_MAX_PASSES):
        if not _can_replay(graph, inputs):
            graph = trace(model, inputs)
        one = ScalingPass(graph, tasks, on_data=on_data, held=number > 0)
        one.run(inputs)
        factors = {}
        for task in shared:
            miss = task.miss()
            if not math.isfinite(miss) or miss <= 0:
                continue
            # A look-up was computed before its weight was scaled.
            moved = one.factor(task.variable) if task.is_tied else 1.0
            factors[id(task)] = _next_factor(miss, powers, last, id(task)), max(moved, 1 / moved)
        if not any(max(f, 1 / f, m) > _TOLERANCE for f, m in factors.values()) or number == _MAX_PASSES - 1:
            break
        for task in [task for task in shared if id(task) in factors]:
            factor, _ = factors[id(task)]
            task.variable.assign(task.variable * keras.ops.cast(factor, task.variable.dtype))
        _follow(tasks)
    for task in shared:
        if math.isfinite(task.miss()):
            task.rms_after = task.miss() * (task.target or 1.0)
    return graph


def _next_factor(
    miss: float, powers: dict[int, float], last: dict[int, tuple[float, float]], key: int
) -> float:
    """Return the next factor of a weight by the secant through its last two sizes and their misses."""
    if key in last and abs(math.log(last[key][0])) > 1e-6:
        power = (math.log(miss) - math.log(last[key][1])) / math.log(last[key][0])
        powers[key] = min(max(power, _SMALLEST_POWER), _LARGEST_POWER)
    factor = miss ** (-1 / powers.get(key, 1.0))
    last[key] = factor, miss
    return factor


def _follow(tasks: list[WeightTask]) -> None:
    """Give additive tables next to the rows of a tied table the size of these rows."""
    for task in [task for task in tasks if task.follows is not None and task.target is not None]:
        assert task.follows is not None
        uses = [use for use in task.follows.uses if use.is_lookup and math.isfinite(use.rms) and use.rms > 0]
        if uses:
            task.target = uses[0].rms * abs(uses[0].multiplier)


def _can_replay(graph: Graph, inputs: Any) -> bool:
    """Return whether the graph has the shapes of `inputs` and no constants.

    Constants may have been computed from weights before these were drawn.
    """
    pairs = zip(keras.tree.flatten(graph.symbolic), keras.tree.flatten(inputs), strict=True)
    if any(tuple(a.shape) != tuple(b.shape) for a, b in pairs):
        return False
    calls = [step.call for step in graph.steps]
    arguments = keras.tree.flatten([(call.args, call.kwargs) for call in calls])
    return not any(keras.ops.is_tensor(v) and not isinstance(v, keras.Variable) for v in arguments)
