"""`WrongInEveryTrial`, the error that ends a search."""

import keras_tuner

from keras_initx.errors import InitxError


class WrongInEveryTrial(InitxError, keras_tuner.errors.FatalTypeError, keras_tuner.errors.FatalValueError):
    """An error that ends the search, as KerasTuner's own do: further trials would raise it too."""
