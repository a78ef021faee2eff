"""The computation graph of a model: trace it, classify its steps, replay it on real tensors."""

from keras_initx._graph.call_recorder import first_argument, intercepted, is_keras_call, mask_argument
from keras_initx._graph.classify import ATTENTIONS
from keras_initx._graph.context import WeightContext, activation_met, normalization_after, weight_contexts
from keras_initx._graph.groups import kernel_groups, known_groups
from keras_initx._graph.hooks import first_tensor, is_concrete, own_weights, patched_attribute, zeros
from keras_initx._graph.inputs import (
    Batch,
    batch_of,
    by_name,
    check_finite,
    inputs_of,
    labelled_batch,
    link_of_loss,
    noise,
    output_losses,
    output_names,
    regression_loss,
)
from keras_initx._graph.masks import carried_mask
from keras_initx._graph.normalizations import gain_of
from keras_initx._graph.records import SHAPE_ONLY, Graph, Step
from keras_initx._graph.replay import compute, is_about_inputs, replay
from keras_initx._graph.roles import (
    attended_value,
    end_kernels,
    role,
    steps_before,
    steps_behind_zeros,
    stopping_steps,
    ways_around,
)
from keras_initx._graph.trace import fixed_batch, trace

__all__ = [
    "ATTENTIONS",
    "SHAPE_ONLY",
    "Batch",
    "Graph",
    "Step",
    "WeightContext",
    "activation_met",
    "attended_value",
    "batch_of",
    "by_name",
    "carried_mask",
    "check_finite",
    "compute",
    "end_kernels",
    "first_argument",
    "first_tensor",
    "fixed_batch",
    "gain_of",
    "inputs_of",
    "intercepted",
    "is_about_inputs",
    "is_concrete",
    "is_keras_call",
    "kernel_groups",
    "known_groups",
    "labelled_batch",
    "link_of_loss",
    "mask_argument",
    "noise",
    "normalization_after",
    "output_losses",
    "output_names",
    "own_weights",
    "patched_attribute",
    "regression_loss",
    "replay",
    "role",
    "steps_before",
    "steps_behind_zeros",
    "stopping_steps",
    "trace",
    "ways_around",
    "weight_contexts",
    "zeros",
]
