"""Register the strings under which Keras finds the initializers: "he_auto" creates a `HeAuto`."""

from typing import Any

import keras

from keras_initx.initializers.base import LayerAware
from keras_initx.initializers.baselines import AllZeros, SmallNormal, UnitUniform
from keras_initx.initializers.bias import BiasAuto
from keras_initx.initializers.orthogonal import OrthogonalAuto
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

# Class names are accepted too, as Keras accepts "HeNormal" for "he_normal".
_BY_NAME = {**NAMES, **{cls.__name__: cls for cls in NAMES.values()}}


class _Name(str):
    """String that is also a custom object of Keras, which creates the initializer with that name.

    Keras replaces every string in a loaded config that names a custom object, so a layer's argument
    mode="auto" would be loaded as our class. With this object it is loaded as an equal string. Where Keras
    does want an initializer, it calls `from_config`, as it would on the class.
    """

    def from_config(self, config: dict[str, Any]) -> LayerAware:
        """Return the initializer of this name."""
        return _BY_NAME[self].from_config(config)


# register_keras_serializable alone does not make Keras resolve a bare string.
keras.saving.get_custom_objects().update({name: _Name(name) for name in _BY_NAME})
