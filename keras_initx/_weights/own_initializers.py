"""The initializer that each weight was made with, and new values from it."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._weights.index import WeightIndex
from keras_initx.errors import InitxError
from keras_initx.initializers import OVERRIDDEN_MARK, fold_in, initializer_of


def own_initializer(layer: keras.Layer, variable: keras.Variable) -> Any:
    """Return the initializer that drew a weight, else the one that its layer names for it, else None."""
    return initializer_of(variable) or _named(layer, variable)


def declared(variable: keras.Variable, index: WeightIndex) -> str:
    """Return the initializer that a weight was made with, in words, without its seed."""
    own = own_initializer(index.of(variable)[0], variable)
    config = own.get_config() if hasattr(own, "get_config") else {}
    return f"{type(own).__name__} {sorted((k, str(v)) for k, v in config.items() if k != 'seed')}"


def draw_from(initializer: Any, variable: keras.Variable, seed: int | None) -> Any:
    """Return new values for a weight.

    They repeat the old values if the initializer has a seed of its own and `seed` is None.
    """
    return _with_seed(initializer, seed)(tuple(variable.shape), dtype=variable.dtype)


def reinitialize_all(
    model: keras.Model,
    layers: list[keras.Layer],
    seed: int | None,
    selected: Callable[[keras.Variable], bool],
) -> int:
    """Draw the selected weights of `layers` from their own initializers, and return their number.

    These are kernels, biases, embeddings, normalizations and their statistics, as after building the model
    again.

    Raises:
        InitxError: If an initializer is not known, because the layer was built before keras_initx was
            imported and names none; if a draw is not finite. Then no weight has changed.
    """
    drawn, unknown = [], []
    for number, (layer, variable) in enumerate(_floating_weights(layers)):
        if not selected(variable):
            continue
        initializer = own_initializer(layer, variable)
        if initializer is None:
            unknown.append(variable.path)
            continue
        values = draw_from(initializer, variable, None if seed is None else fold_in(seed, str(number)))
        if not np.all(np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")))):
            raise InitxError(
                "initializer",
                repr(initializer),
                "an initializer whose values are finite",
                "Give the layer another initializer.",
                f"{variable.path}: its initializer {initializer!r} draws values that are not finite",
            )
        drawn.append((variable, values))
    if unknown:
        raise InitxError(
            "model",
            model.name,
            "a model whose weights have known initializers",
            "Import keras_initx before you build the model: then every initializer is remembered.",
            f"`model` {model.name!r} has weights whose initializer is not known: {', '.join(unknown)}",
        )
    for variable, values in drawn:
        variable.assign(values)
        setattr(variable, OVERRIDDEN_MARK, False)
    return len(drawn)


def _floating_weights(layers: list[keras.Layer]) -> Iterator[tuple[keras.Layer, keras.Variable]]:
    """Yield every floating-point weight once, with the innermost layer that contains it."""
    innermost: dict[int, tuple[keras.Layer, keras.Variable]] = {}
    for layer in layers:
        for variable in layer.weights:
            innermost[id(variable)] = (layer, variable)
    for layer, variable in innermost.values():
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            yield layer, variable


def _named(layer: keras.Layer, variable: keras.Variable) -> Any:
    """Return the initializer that the layer names for a weight: kernel_initializer for "kernel"."""
    name = variable.name
    for attribute in (f"{name}_initializer", f"{name.removesuffix('_kernel')}_initializer"):
        initializer = getattr(layer, attribute, None)
        if initializer is not None:
            return initializer
    return None


def _with_seed(initializer: Any, seed: int | None) -> Any:
    """Return a copy that draws new values; with `seed` None, a seed of the initializer's own stays."""
    if not hasattr(initializer, "seed"):
        return initializer
    seeded = copy.copy(initializer)
    own_seed = initializer.get_config().get("seed") if hasattr(initializer, "get_config") else None
    if seed is not None:
        seeded.seed = seed
    elif own_seed is None:
        # Keras draws its own default seeds from this generator, so set_random_seed holds here too.
        seeded.seed = random.randint(1, 10**9)
    return seeded
