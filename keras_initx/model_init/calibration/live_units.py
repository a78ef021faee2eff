"""Flip the sign of units that a ReLU switches off for every sample, as happens after global pooling."""

from typing import Any

import numpy as np
from keras import ops

from keras_initx._theory import Activation
from keras_initx.model_init.tasks import WeightTask

# A unit is off for good if its mean lies this many standard deviations below zero. A unit of a normal
# signal is then on for one sample in 44.
_DEVIATIONS = 2.0


def turn_dead_units(task: WeightTask, pre_activation: Any) -> Any:
    """Change the sign of units that a ReLU switches off for all samples, and return the new pre-activation.

    Where the inputs hardly vary, as after a global pooling, chance decides which units of a small layer are
    on for all samples and which are off. Those that are off pass no signal and no gradient. A kernel of the
    opposite sign is as likely a draw.
    """
    context, choice = task.context, task.choice
    if task.target is None or not context.summing or context.normalized or choice.after.mirrored:
        return pre_activation
    if not is_off_below_zero(context.activation):
        return pre_activation
    axis = -1 if context.channels_last else 1
    z = np.moveaxis(np.asarray(ops.convert_to_numpy(pre_activation), "float32"), axis, -1)
    rows = z.reshape(-1, z.shape[-1])
    # The deviation of all units together is known even from two samples.
    deviation = np.sqrt(np.mean(np.var(rows, axis=0)))
    off = np.mean(rows, axis=0) < -_DEVIATIONS * deviation
    if len(rows) < 2 or not off.any():
        return pre_activation
    signs = np.where(off, -1.0, 1.0).astype("float32")
    variable = task.variable
    variable.assign(variable * ops.cast(signs, variable.dtype))
    shape = [1] * len(pre_activation.shape)
    shape[axis] = len(signs)
    return pre_activation * ops.cast(signs.reshape(shape), pre_activation.dtype)


def is_off_below_zero(activation: Activation) -> bool:
    """Return whether an activation is constant below zero, but not above."""
    if activation.function is None:
        return activation.name == "relu6" or activation.negative_slope == 0
    try:
        values = np.asarray(activation.function.function(np.array([-30.0, -3.0, -0.1, 0.1, 1.0, 3.0])))
    except Exception:
        return False
    return bool(np.ptp(values[:3]) == 0 and np.ptp(values[3:]) > 0)
