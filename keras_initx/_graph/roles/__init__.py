"""The roles of weighted steps: seen in the graph, or declared by the author of a layer."""

from keras_initx._graph.roles.addends import addends
from keras_initx._graph.roles.attention import attention_roles, score_factors
from keras_initx._graph.roles.closed import steps_behind_zeros, stopping_steps, ways_around
from keras_initx._graph.roles.declared import declared_roles, role
from keras_initx._graph.roles.opaque import end_kernels
from keras_initx._graph.roles.residual import is_gate, residual_ends, routers
from keras_initx._graph.roles.walks import attended_value, steps_before

__all__ = [
    "addends",
    "attended_value",
    "attention_roles",
    "declared_roles",
    "end_kernels",
    "is_gate",
    "residual_ends",
    "role",
    "routers",
    "score_factors",
    "steps_before",
    "steps_behind_zeros",
    "stopping_steps",
    "ways_around",
]
