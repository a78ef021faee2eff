"""The weights of a model: find, select, restore, redraw and copy them."""

from keras_initx._weights.index import WeightIndex
from keras_initx._weights.layers import all_layers, mean_square
from keras_initx._weights.path_filter import PathFilter
from keras_initx._weights.pretrained import Copied, copy_pretrained
from keras_initx._weights.reinitialize import (
    draw_again,
    initializers_kept,
    known_initializer,
    known_names,
    reinitialize,
)
from keras_initx._weights.snapshot import Snapshot, generators_kept, untouched

__all__ = [
    "Copied",
    "PathFilter",
    "Snapshot",
    "WeightIndex",
    "all_layers",
    "copy_pretrained",
    "draw_again",
    "generators_kept",
    "initializers_kept",
    "known_initializer",
    "known_names",
    "mean_square",
    "reinitialize",
    "untouched",
]
