"""Run the scaling pass on noise or data, and again on more noise if its measurements are imprecise."""

import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._graph import Graph, Step, fixed_batch, noise
from keras_initx.errors import InitxError
from keras_initx.initializers import fold_in
from keras_initx.model_init.arguments import own_batch
from keras_initx.model_init.calibration.shared import settle
from keras_initx.model_init.cells import cells_of
from keras_initx.model_init.tasks import ON_NEARLY_ZEROS, ON_ZEROS, WeightTask
from keras_initx.model_init.wide_batch import takes_samples_alone

# Values that one pass may compute; it determines the batch size, within these limits.
_BUDGET = 6e7
_SMALLEST_BATCH, _LARGEST_BATCH = 2, 256
# The pass is repeated on more noise if a larger share of the outputs is expected to miss its target by more
# than 10 %, judged by the standard errors, or if one standard error is larger than this.
_IMPRECISE_SHARE, _IMPRECISE_ERROR = 0.02, 0.2


def calibrate(model: keras.Model, graph: Graph, tasks: list[WeightTask], batch: Any, seed: int) -> list[str]:
    """Scale the weights of a model, and return notes for the plan.

    A model of a fixed batch size is measured on more samples, if it computes each of them by itself.

    Args:
        model: The model.
        graph: Its trace.
        tasks: Its weights, already drawn.
        batch: The user's data; None takes noise.
        seed: The seed of the noise.
    """
    values = sum(_values(step) for step in graph.steps)
    size = int(min(max(_BUDGET // max(values, 1), _SMALLEST_BATCH), _LARGEST_BATCH))
    fixed = fixed_batch(model)
    size = max(size, fixed or 0)
    is_narrow, note = False, ""
    for attempt in range(3):
        try:
            inputs = noise(graph, size, fold_in(seed, f"noise {attempt}")) if batch is None else batch
        except InitxError:
            if all(task.target is None for task in tasks):
                return ["the signal was not measured: no noise is known for an input of this kind"]
            raise
        if fixed and attempt == 0:
            is_narrow = not takes_samples_alone(model, graph, inputs, fixed)
        inputs = own_batch(model, inputs) if is_narrow else inputs
        graph = settle(model, graph, tasks, inputs, on_data=batch is not None)
        size *= 4
        note = _low_precision(tasks) if batch is None or is_narrow else ""
        if batch is not None or not note or is_narrow or size * values > 8 * _BUDGET:
            break
    return [text for text in (note, *_zeros(tasks), *(task.remark for task in tasks)) if text]


def _values(step: Step) -> int:
    """Return how many values a step computes for one sample."""
    values = sum(math.prod(n or 1 for n in shape[1:]) for shape in step.shapes)
    if not step.is_recurrent:
        return values
    # Gates and states of all time steps, of which the output may be the last one.
    shape = [n or 1 for n in step.tensors[0][1].shape]
    widths = [v.shape[-1] for cell in cells_of(step.operation) for v in cell.weights if len(v.shape) > 1]
    return values + math.prod(shape[1:-1]) * sum(widths)


def _zeros(tasks: list[WeightTask]) -> Iterator[str]:
    """Yield a note about the weights that read zeros, and one about those that read almost zeros."""
    for reason in (ON_ZEROS, ON_NEARLY_ZEROS):
        paths = [task.path for task in tasks if task.left == reason]
        others = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        if paths:
            yield f"{paths[0]}{others}: {reason}"


def _low_precision(tasks: list[WeightTask]) -> str:
    """Return a note about imprecise measurements, or "" if they are precise enough."""
    scaled = [task for task in tasks if task.target is not None]
    misses = [math.erfc(0.1 / max(task.error, 1e-9) / math.sqrt(2)) for task in scaled]
    worst = max(scaled, key=lambda task: task.error, default=None)
    if worst is None or (sum(misses) <= _IMPRECISE_SHARE * len(misses) and worst.error <= _IMPRECISE_ERROR):
        return ""
    share = f"about {100 * sum(misses) / len(misses):.0f} % of the weights may miss their target"
    detail = f"worst: {worst.path}, standard error {100 * worst.error:.0f} %"
    return f"low precision: {share} by more than 10 % ({detail})"
