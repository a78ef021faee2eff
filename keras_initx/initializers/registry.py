"""Register the names that Keras resolves: "he_auto" in a layer makes a `HeAuto`."""

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

# As Keras takes "HeNormal" for "he_normal".
_BY_NAME = {**NAMES, **{cls.__name__: cls for cls in NAMES.values()}}


class _Name(str):
    """A name among Keras's custom objects that stays a string wherever it does not name an initializer.

    Keras replaces every string in a loaded config that is a custom object, so that a layer's argument
    mode="auto" would come back as our class. It comes back as this, which is equal to the string; and
    Keras makes the initializer from it by `from_config`, as it would from the class.
    """

    def from_config(self, config: dict[str, Any]) -> LayerAware:
        """The initializer of this name."""
        return _BY_NAME[self].from_config(config)


# register_keras_serializable alone leaves a bare string unresolved.
keras.saving.get_custom_objects().update({name: _Name(name) for name in _BY_NAME})
