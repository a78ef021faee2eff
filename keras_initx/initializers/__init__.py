"""The layer-aware initializers and the strings they answer to."""

import keras

from keras_initx.initializers.base import LayerAware
from keras_initx.initializers.bias import BiasAuto, PriorBias
from keras_initx.initializers.orthogonal import OrthogonalAuto
from keras_initx.initializers.plain import AllZeros, SmallNormal, UnitUniform
from keras_initx.initializers.scaled import Scale
from keras_initx.initializers.variance import Auto, HeAuto, LecunAuto, XavierAuto

NAMES: dict[str, type[LayerAware]] = {
    "he_auto": HeAuto,
    "xavier_auto": XavierAuto,
    "glorot_auto": XavierAuto,
    "lecun_auto": LecunAuto,
    "auto": Auto,
    "orthogonal_auto": OrthogonalAuto,
    "bias_auto": BiasAuto,
    "small_normal": SmallNormal,
    "unit_uniform": UnitUniform,
    "all_zeros": AllZeros,
}

# register_keras_serializable alone leaves a bare string unresolved.
keras.saving.get_custom_objects().update(NAMES)

__all__ = [
    "NAMES",
    "AllZeros",
    "Auto",
    "BiasAuto",
    "HeAuto",
    "LayerAware",
    "LecunAuto",
    "OrthogonalAuto",
    "PriorBias",
    "Scale",
    "SmallNormal",
    "UnitUniform",
    "XavierAuto",
]
