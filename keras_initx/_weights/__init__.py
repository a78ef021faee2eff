"""The weights of a model: find, select, restore, reinitialize and copy them."""

from keras_initx._weights.deliberate import (
    LARGEST_SCALE,
    is_given,
    is_small,
    is_structured,
    is_zero,
    own_scale,
    varies,
)
from keras_initx._weights.index import WeightIndex, adapted, all_frozen
from keras_initx._weights.layers import all_layers, mean_square
from keras_initx._weights.own_initializers import declared, draw_from, own_initializer
from keras_initx._weights.path_filter import PathFilter
from keras_initx._weights.pretrained import Copied, copy_pretrained
from keras_initx._weights.reinitialize import initializers_kept, known_names, reinitialize
from keras_initx._weights.snapshot import Snapshot, generators_kept, losses_kept, pass_states, untouched

__all__ = [
    "LARGEST_SCALE",
    "Copied",
    "PathFilter",
    "Snapshot",
    "WeightIndex",
    "adapted",
    "all_frozen",
    "all_layers",
    "copy_pretrained",
    "declared",
    "draw_from",
    "generators_kept",
    "initializers_kept",
    "is_given",
    "is_small",
    "is_structured",
    "is_zero",
    "known_names",
    "losses_kept",
    "mean_square",
    "own_initializer",
    "own_scale",
    "pass_states",
    "reinitialize",
    "untouched",
    "varies",
]
