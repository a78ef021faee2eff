"""Initializers that know the layer they draw for, and the strings under which Keras finds them."""

from keras_initx.initializers.base import LayerAware, Seeded, fold_in
from keras_initx.initializers.baselines import AllZeros, SmallNormal, UnitUniform
from keras_initx.initializers.bias import BiasAuto, PriorBias
from keras_initx.initializers.fans import Fans
from keras_initx.initializers.gain_scaled import GainScaled, Scale
from keras_initx.initializers.layer_binding import (
    INITIALIZER_MARK,
    OVERRIDDEN_MARK,
    bind,
    initializer_of,
    install,
    is_overridden,
    record_initializer,
    was_trainable,
)
from keras_initx.initializers.layer_info import layer_info
from keras_initx.initializers.orthogonal import OrthogonalAuto, layout_of
from keras_initx.initializers.registry import NAMES
from keras_initx.initializers.variance import (
    Auto,
    HeAuto,
    LecunAuto,
    XavierAuto,
    known_distributions,
)

__all__ = [
    "INITIALIZER_MARK",
    "NAMES",
    "OVERRIDDEN_MARK",
    "AllZeros",
    "Auto",
    "BiasAuto",
    "Fans",
    "GainScaled",
    "HeAuto",
    "LayerAware",
    "LecunAuto",
    "OrthogonalAuto",
    "PriorBias",
    "Scale",
    "Seeded",
    "SmallNormal",
    "UnitUniform",
    "XavierAuto",
    "bind",
    "fold_in",
    "initializer_of",
    "install",
    "is_overridden",
    "known_distributions",
    "layer_info",
    "layout_of",
    "record_initializer",
    "was_trainable",
]
