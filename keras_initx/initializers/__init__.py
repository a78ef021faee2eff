"""The layer-aware initializers and the strings they answer to."""

import keras

from keras_initx.initializers.base import LayerAware, Scale
from keras_initx.initializers.variance import Auto, HeAuto, XavierAuto

NAMES: dict[str, type[LayerAware]] = {
    "he_auto": HeAuto,
    "xavier_auto": XavierAuto,
    "glorot_auto": XavierAuto,
    "auto": Auto,
}

# register_keras_serializable alone leaves a bare string unresolved.
keras.saving.get_custom_objects().update(NAMES)

__all__ = ["NAMES", "Auto", "HeAuto", "LayerAware", "Scale", "XavierAuto"]
