"""Draws every weight of a model again from the initializer that it was made with."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError
from keras_initx.initializers.base import folded
from keras_initx.initializers.layer_binding import OVERRIDDEN_MARK, initializer_of


def redraw(
    model: keras.Model,
    layers: list[keras.Layer],
    seed: int | None,
    selected: Callable[[keras.Variable], bool],
) -> int:
    """Gives the `selected` weights of `layers` new values from their own initializers; returns how many.

    Kernels, biases, embeddings, normalizations and their statistics: the model is then as if built anew.

    Raises:
        InitxError: A weight whose initializer is not known, because its layer was built before
            keras_initx was imported and names none; a draw that is not finite. No weight has changed then.
    """
    drawn, unknown = [], []
    for number, (layer, variable) in enumerate(_weights(layers)):
        if not selected(variable):
            continue
        initializer = known_initializer(layer, variable)
        if initializer is None:
            unknown.append(variable.path)
            continue
        values = draw_again(initializer, variable, None if seed is None else folded(seed, str(number)))
        if not np.all(np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")))):
            raise InitxError("initializer", repr(initializer), "one whose values are finite", variable.path)
        drawn.append((variable, values))
    if unknown:
        remedy = "Import keras_initx before you build the model: then every initializer is remembered."
        allowed = "a model whose weights tell their initializers"
        raise InitxError("model", f"{model.name}: {', '.join(unknown)}", allowed, remedy)
    for variable, values in drawn:
        variable.assign(values)
        setattr(variable, OVERRIDDEN_MARK, False)
    return len(drawn)


def _weights(layers: list[keras.Layer]) -> Iterator[tuple[keras.Layer, keras.Variable]]:
    """Every floating-point weight once, with the innermost layer that has it."""
    owners: dict[int, tuple[keras.Layer, keras.Variable]] = {}
    for layer in layers:
        for variable in layer.weights:
            owners[id(variable)] = (layer, variable)
    for layer, variable in owners.values():
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            yield layer, variable


def known_initializer(layer: keras.Layer, variable: keras.Variable) -> Any:
    """What drew a weight, as it was called; else what its layer names for it; None where nothing tells."""
    return initializer_of(variable) or _named(layer, variable)


def draw_again(initializer: Any, variable: keras.Variable, seed: int | None) -> Any:
    """Other values of a weight; the same where its initializer was given a seed, and `seed` is None."""
    return _with_seed(initializer, seed)(tuple(variable.shape), dtype=variable.dtype)


def _named(layer: keras.Layer, variable: keras.Variable) -> Any:
    """The initializer that the layer names for a weight: kernel_initializer for "kernel"."""
    name = variable.name
    for attribute in (f"{name}_initializer", f"{name.removesuffix('_kernel')}_initializer"):
        found = getattr(layer, attribute, None)
        if found is not None:
            return found
    return None


def _with_seed(initializer: Any, seed: int | None) -> Any:
    """A copy that draws other values than last time; one that was given a seed keeps it without ours."""
    if not hasattr(initializer, "seed"):
        return initializer
    fresh = copy.copy(initializer)
    given = initializer.get_config().get("seed") if hasattr(initializer, "get_config") else None
    if seed is not None:
        fresh.seed = seed
    elif given is None:
        # The generator that Keras uses for its own default seeds, so set_random_seed holds here too.
        fresh.seed = random.randint(1, 10**9)
    return fresh
