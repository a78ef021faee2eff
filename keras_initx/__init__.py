"""keras-initx: right initial weights for every layer of a Keras 3 model.

Importing it registers the names "he_auto", "xavier_auto", "glorot_auto" and "auto", and wraps
`keras.Layer.add_weight`, so that an initializer knows the layer it draws for.
"""

from keras_initx.binding import install as _install
from keras_initx.errors import InitxError
from keras_initx.initializers import Auto, HeAuto, LayerAware, Scale, XavierAuto
from keras_initx.reinit import all_layers, known_names, reinitialize

_install()

__version__ = "0.1.0"

__all__ = [
    "Auto",
    "HeAuto",
    "InitxError",
    "LayerAware",
    "Scale",
    "XavierAuto",
    "all_layers",
    "known_names",
    "reinitialize",
]
