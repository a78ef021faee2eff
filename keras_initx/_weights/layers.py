"""List the layers of a model, and measure its weights."""

import keras
import numpy as np
from keras import ops


def all_layers(model: keras.Model) -> list[keras.Layer]:
    """Return every layer of a model at any depth.

    `_flatten_layers` is private: the public `model.layers` stops at wrappers, attention layers and
    recurrent cells, whose sublayers have no public list. A test fails if Keras changes it.
    """
    return list(model._flatten_layers(include_self=True, recursive=True))


def mean_square(variable: keras.Variable) -> float:
    """Return the mean square of a weight's entries; it is not finite if one of them is not."""
    values = np.asarray(ops.convert_to_numpy(variable), dtype="float32").ravel()
    # NumPy's dot product makes no second copy, and takes a third of the time of TensorFlow's.
    return float(np.dot(values, values)) / max(values.size, 1)
