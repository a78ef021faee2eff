"""Scale a kernel by the pre-activation of its layer."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._graph import is_keras_call, patched_attribute, zeros
from keras_initx.model_init.calibration.live_units import turn_dead_units
from keras_initx.model_init.calibration.measure import root_mean_square, shift_bias
from keras_initx.model_init.calibration.scaler import LayerCall, Scaler
from keras_initx.model_init.tasks import WeightTask


def is_activated(call: LayerCall, kernel: keras.Variable) -> bool:
    """Return whether the layer has an activation, and applies it to the output of its kernel."""
    layer = call.layer
    activation = getattr(layer, "activation", None)
    if not callable(activation) or is_keras_call(layer):
        return callable(activation)
    # A user's layer may apply it to another tensor: the pre-activation must double with the kernel.
    pre_activations: list[Any] = []
    value = ops.cast(ops.convert_to_tensor(kernel), kernel.dtype)
    with patched_attribute(layer, "activation", _recording(activation, pre_activations)):
        for factor in (1, 2):
            biases = zeros([layer.bias] if _has_nonzero_bias(layer) else [])
            with keras.StatelessScope([(kernel, factor * value), *biases]):
                call()
    sizes = [root_mean_square(z)[0] for z in pre_activations]
    return len(sizes) == 2 and math.isclose(sizes[1], 2 * sizes[0], rel_tol=0.05)


def has_own_activation(layer: keras.Layer) -> bool:
    """Return whether a layer of Keras applies an activation to the result of its kernel."""
    return callable(getattr(layer, "activation", None)) and is_keras_call(layer)


def size_without_bias(call: LayerCall) -> float:
    """Return the root mean square of the pre-activation of a layer of Keras, without its bias."""
    pre_activations: list[Any] = []
    with (
        keras.StatelessScope(zeros([call.layer.bias] if _has_nonzero_bias(call.layer) else [])),
        patched_attribute(call.layer, "activation", _recording(call.layer.activation, pre_activations)),
    ):
        call()
    return root_mean_square(pre_activations[0])[0] if pre_activations else math.nan


def scale_at_activation(scaler: Scaler, call: LayerCall, task: WeightTask) -> Any:
    """Scale a kernel by the pre-activation, set the bias of its choice, and return the layer's outputs."""
    layer, activation, choice = call.layer, call.layer.activation, task.choice
    if task.bias is not None:
        inputs = call.inputs
        task.bias.assign(shift_bias(task, inputs))
    elif choice.before.shift and task.target is not None:
        _shift_kernel(task, choice.before.shift, call.inputs)
    if task.bias is None and _has_nonzero_bias(layer):
        return _scale_without_bias(scaler, call, task)

    def probe(z: Any) -> Any:
        if scaler.is_done(task):
            return activation(z)
        factor = scaler.scale(task, z, "pre-activation")
        z = z * ops.cast(factor, z.dtype)
        if task.bias is None:
            return activation(turn_dead_units(task, z))
        # Computed from the scaled kernel: a scaled bias would add up rounding over a deep chain.
        task.bias.assign(shift_bias(task, inputs) + choice.after.offset)
        return activation(z + ops.cast(choice.after.offset, z.dtype))

    with patched_attribute(layer, "activation", probe):
        return call()


def _scale_without_bias(scaler: Scaler, call: LayerCall, task: WeightTask) -> Any:
    """Measure the pre-activation without the layer's existing bias, and compute the outputs with it."""
    pre_activations: list[Any] = []
    with (
        keras.StatelessScope(zeros([call.layer.bias])),
        patched_attribute(call.layer, "activation", _recording(call.layer.activation, pre_activations)),
    ):
        call()
    if pre_activations:
        scaler.scale(task, pre_activations[0], "pre-activation")
    return call()


def _shift_kernel(task: WeightTask, shift: float, inputs: Any) -> None:
    """Shift the inputs of a layer without a bias by the mean direction of its kernel."""
    mean = float(ops.convert_to_numpy(ops.mean(ops.cast(inputs, "float32"))))
    rms = root_mean_square(inputs)[0]
    # Dividing by a mean near 0 would amplify noise.
    if abs(mean) > 0.1 * rms:
        kernel = ops.convert_to_tensor(task.variable)
        mean_direction = ops.mean(kernel, axis=-2, keepdims=True)
        task.variable.assign(kernel + ops.cast(shift / mean, kernel.dtype) * mean_direction)


def _has_nonzero_bias(layer: keras.Layer) -> bool:
    bias = getattr(layer, "bias", None)
    return isinstance(bias, keras.Variable) and bool(np.any(ops.convert_to_numpy(bias)))


def _recording(activation: Any, pre_activations: list[Any]) -> Any:
    """Return the activation, wrapped so that it appends each of its inputs to `pre_activations`."""

    def record(z: Any) -> Any:
        pre_activations.append(z)
        return activation(z)

    return record
