"""Recognize kernels that a user's function has loaded, such as those of a pretrained backbone."""

import warnings
from collections.abc import Iterator

import keras
import numpy as np

from keras_initx import all_layers

# Kernels with fewer entries show too little of their distribution.
_FEWEST = 100
# The size of a draw of that many entries varies by a fourteenth; trained kernels differ by far more.
_LARGEST_RATIO = 1.5


def warn_of_loaded_kernels(model: keras.Model) -> bool:
    """Warn that a search will redraw trainable kernels whose values their initializers did not draw.

    Returns:
        Whether there are such kernels.
    """
    paths = list(loaded_kernels(model))
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        warnings.warn(
            f"{paths[0]}{more} of {model.name!r} have values that their initializers do not draw, "
            'as pretrained weights do. Every initializer but "own" replaces them. To keep them, freeze their '
            'layers, or name the layers to draw: SearchSpace(initializers={"head": ["auto", "he_auto"]}).',
            stacklevel=2,
        )
    return bool(paths)


def loaded_kernels(model: keras.Model) -> Iterator[str]:
    """Yield the paths of trainable kernels whose size is far from that of a draw of their initializer."""
    for layer in all_layers(model):
        kernel, initializer = getattr(layer, "kernel", None), getattr(layer, "kernel_initializer", None)
        if not isinstance(kernel, keras.Variable) or not kernel.trainable or initializer is None:
            continue
        values = np.asarray(keras.ops.convert_to_numpy(kernel), dtype="float64")
        # Keras passes the initializer of an EinsumDense more than the shape.
        if values.size < _FEWEST or isinstance(layer, keras.layers.EinsumDense):
            continue
        try:
            drawn = np.asarray(keras.ops.convert_to_numpy(initializer(kernel.shape)), dtype="float64")
        except Exception:
            # An initializer that needs its layer shows nothing here.
            continue
        ours, theirs = (float(np.sqrt(np.mean(np.square(part)))) for part in (values, drawn))
        if max(ours, theirs) > _LARGEST_RATIO * min(ours, theirs):
            yield kernel.path
