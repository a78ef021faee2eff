"""Layers and operations that need their own way of scaling, and the last resort for opaque layers."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_initx._graph import Step, first_tensor
from keras_initx.model_init.calibration.measure import root_mean_square
from keras_initx.model_init.calibration.recurrent import scale_recurrent
from keras_initx.model_init.calibration.scaler import LayerCall, Scaler
from keras_initx.model_init.tasks import WeightTask

# Scales some of the tasks of a layer call, and returns the tasks that are left.
LayerHandler = Callable[[Scaler, LayerCall, list[WeightTask]], list[WeightTask]]
# Scales the tasks of an operation, and returns its arguments with the scaled values.
OperationHandler = Callable[[Scaler, Step, Any, Any, list[WeightTask]], tuple[Any, Any]]


def scale_depthwise_half(scaler: Scaler, call: LayerCall, tasks: list[WeightTask]) -> list[WeightTask]:
    """Scale the depthwise kernel of a separable convolution, whose output stays inside the layer's call."""
    layer, inputs = call.layer, call.inputs
    depthwise = [task for task in tasks if task.variable is layer.depthwise_kernel]
    for task in depthwise:
        strides = layer.strides[0] if len(set(layer.strides)) == 1 else layer.strides
        kernel = ops.cast(task.variable, inputs.dtype)
        output = ops.depthwise_conv(
            inputs, kernel, strides, layer.padding, layer.data_format, layer.dilation_rate
        )
        scaler.scale(task, output, "depthwise half")
    return [task for task in tasks if task not in depthwise]


def scale_added_tables(
    scaler: Scaler, step: Step, args: Any, kwargs: Any, tasks: list[WeightTask]
) -> tuple[Any, Any]:
    """Bring additive tables to the scale of the signal that they are added to or concatenated with."""
    flat, sources = keras.tree.flatten((args, kwargs)), step.call.sources
    is_table = [isinstance(v, keras.Variable) or position in sources for position, v in enumerate(flat)]
    signals = [v for v, table in zip(flat, is_table, strict=True) if not table and ops.is_tensor(v)]
    signal = max((root_mean_square(v)[0] for v in signals if "float" in str(v.dtype)), default=1.0)
    for position, value in enumerate(flat):
        variable = sources.get(position, value)
        for task in [task for task in tasks if task.variable is variable]:
            rms = root_mean_square(ops.convert_to_tensor(value))[0]
            if task.target is None or rms == 0 or not math.isfinite(signal) or signal == 0:
                continue
            task.record(rms, 0.0, "table")
            task.rms_after = task.target * signal
            factor = task.rms_after / rms
            scaler.multiply(task, factor)
            # A variable has just been scaled; a constant was computed from it before.
            if position in sources:
                flat[position] = value * ops.cast(factor, value.dtype)
    args, kwargs = keras.tree.pack_sequence_as((args, kwargs), flat)
    return args, kwargs


def scale_by_response(scaler: Scaler, call: LayerCall, tasks: list[WeightTask]) -> Any:
    """Scale the weights of an opaque layer by its output, in up to four rounds, and return the output."""
    outputs = call()
    for task in [task for task in tasks if scaler.is_held(task)]:
        scaler.scale(task, first_tensor(outputs), "response of the layer")
    tasks = [task for task in tasks if task.target is not None and not scaler.is_held(task)]
    total = 1.0
    for _ in range(4 if tasks else 0):
        rms, error = root_mean_square(first_tensor(outputs))
        # All tasks share the output, so each of them decides alike.
        tasks = [task for task in tasks if scaler.can_scale(task, rms)]
        if not tasks:
            break
        factor = float(tasks[0].target or 1) / rms
        total *= factor
        for task in tasks:
            task.record(rms, error, "response of the layer")
            scaler.multiply(task, factor ** (1 / len(tasks)))
        if abs(factor - 1) < 0.01:
            return outputs
        outputs = call()
    return _checked_response(scaler, call, tasks, outputs, total) if tasks else outputs


def _checked_response(
    scaler: Scaler, call: LayerCall, tasks: list[WeightTask], outputs: Any, factor: float
) -> Any:
    """Undo the scaling if the output missed its target, which a bounded output may never reach.

    Args:
        scaler: What scaled the weights.
        call: Computes the layer.
        tasks: The weights.
        outputs: The output after the last round.
        factor: The product of the factors of all weights and rounds.
    """
    rms, _ = root_mean_square(first_tensor(outputs))
    if 0.5 < rms / float(tasks[0].target or 1) < 2:
        for task in tasks:
            task.rms_after = rms
        return outputs
    for task in tasks:
        scaler.multiply(task, factor ** (-1 / len(tasks)))
        scaler.leave_as_drawn(task, "the output does not follow its scale: left as drawn")
    outputs = call()
    rms, error = root_mean_square(first_tensor(outputs))
    for task in tasks:
        task.record(rms, error, task.measured_at)
    return outputs


# By the class of a layer. A layer of another class is measured at its activation, inside, or by its response.
LAYER_HANDLERS: tuple[tuple[tuple[type, ...], LayerHandler], ...] = (
    ((keras.layers.RNN,), scale_recurrent),
    ((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), scale_depthwise_half),
)
# By the kind of an operation. The weight of another operation is scaled by the operation's output.
OPERATION_HANDLERS: dict[str, OperationHandler] = {
    "Add": scale_added_tables,
    "Concatenate": scale_added_tables,
}
