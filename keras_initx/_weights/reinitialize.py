"""Draws the kernels of an existing model anew, in place."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._weights.index import WeightIndex
from keras_initx._weights.layers import all_layers
from keras_initx._weights.path_filter import PathFilter
from keras_initx.errors import InitxError, checked_seed, unknown_name
from keras_initx.initializers import (
    INITIALIZER_MARK,
    NAMES,
    OVERRIDDEN_MARK,
    BiasAuto,
    bind,
    fold_in,
    initializer_of,
    record_initializer,
)

# Attribute of the layer that holds the initializer, and attributes that may hold its weight: a depthwise
# convolution has a `kernel`, a separable one a `depthwise_kernel`.
_KERNELS = {
    "kernel_initializer": ("kernel",),
    "depthwise_initializer": ("depthwise_kernel", "kernel"),
    "pointwise_initializer": ("pointwise_kernel",),
}


# Functions of the module, and initializers of a square or a window, which no kernel is.
_NOT_NAMES = frozenset({"get", "serialize", "deserialize", "identity", "stft"})


def reinitialize(
    model: keras.Model,
    initializer: Any = None,
    seed: int | None = None,
    *,
    only: str | Sequence[str] | None = None,
    skip: str | Sequence[str] | None = None,
) -> int:
    """Draws all kernels of a built model from `initializer`, in place, as if it had been built with it.

    Kernels are what layers draw by their `kernel_initializer` (or depthwise and pointwise
    initializer): also inside nested models, attention layers and recurrent cells. Recurrent kernels,
    embeddings, biases and normalizations stay as they are, and so do the optimizer and the compiled
    state. The layers' configs tell the new initializer, so that a saved model does too.

    Args:
        model: A built Keras model.
        initializer: A name ("he_auto", "glorot_uniform" ...), or an initializer; each layer gets a
            copy of its own, so that no two layers of one shape get the same values. None draws every
            weight (biases, embeddings and normalizations too) from the initializer it was made with: the
            model is then as if built anew.
        seed: An integer for the same values in every run, whatever the layers are called; None follows
            `keras.utils.set_random_seed`. A weight's values do not depend on which others are drawn.
        only, skip: Patterns (* and ?) of layer or weight paths: which weights to draw, and which not to.

    Returns:
        The number of weights drawn.

    Raises:
        InitxError: A model that is not built or has no kernel, a layer with LoRA or quantization, an
            unknown name, a pattern that matches nothing, or a draw that is not finite. No weight has
            changed then.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="tanh")])
    >>> reinitialize(model, "auto", seed=1)
    1
    """
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    if not model.built:
        raise InitxError("model", model.name, "a built model", "Call it on a batch of data.")
    seed = checked_seed(seed)
    selection, owners = PathFilter(only, skip), WeightIndex(all_layers(model))

    def selected(variable: keras.Variable) -> bool:
        return selection.has(owners.names(variable))

    if initializer is None:
        selection.check(map(owners.names, owners.variables()))
        return redraw(model, all_layers(model), seed, selected)
    targets = list(_kernels(model))
    if not targets:
        remedy = "If it has, its layers are not built yet: call it on a batch of data."
        raise InitxError("model", model.name, "a model in which a layer has a kernel_initializer", remedy)
    selection.check((owners.names(t[3]) for t in targets), map(owners.names, owners.variables()))
    drawn = []
    for number, (layer, attribute, weight, variable) in enumerate(targets):
        if not selected(variable):
            continue
        own = _instance(initializer)
        bound = bind(own, layer, weight)
        first = seed if seed is not None else _integer_seed(own)
        if first is not None and hasattr(bound, "seed"):
            # Keras's own initializers take the seed as it is: one for all would repeat the values, and
            # counting up from it would repeat those of the next seed.
            bound.seed = fold_in(first, str(number)) if number else first
        bound = _with_axes(bound, layer)
        values = bound(tuple(variable.shape), dtype=variable.dtype)
        if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.sum(keras.ops.cast(values, "float32")))):
            raise InitxError(
                "initializer", initializer, "one whose values are finite", f"At: {variable.path}."
            )
        drawn.append((layer, attribute, variable, own, bound, values))
    for layer, attribute, variable, own, bound, values in drawn:
        variable.assign(values)
        record_initializer(variable, bound)
        setattr(layer, attribute, own)
    return len(drawn)


@contextlib.contextmanager
def initializers_kept(model: keras.Model) -> Iterator[None]:
    """Puts back what each layer, and each weight, names as its initializer."""
    named = [(layer, attribute, getattr(layer, attribute)) for layer, attribute, _, _ in _kernels(model)]
    noted = [
        (v, note, getattr(v, note, None))
        for v in model.variables
        for note in (INITIALIZER_MARK, OVERRIDDEN_MARK)
    ]
    try:
        yield
    finally:
        for layer, attribute, initializer in named:
            setattr(layer, attribute, initializer)
        for variable, note, value in noted:
            setattr(variable, note, value)


def _with_axes(initializer: Any, layer: keras.Layer) -> Any:
    """`initializer` as `EinsumDense.build` of Keras 3.15 and newer calls it; as it is for other layers.

    There Keras's own initializers are told which axes of the kernel the output lacks, and count those
    as inputs and all others as outputs. Older ones read the shape alone, and have no `input_axes`. On a
    copy: the layer keeps the initializer without axes, as it does in Keras.
    """
    if not isinstance(layer, keras.layers.EinsumDense) or not (
        isinstance(initializer, keras.initializers.VarianceScaling) and hasattr(initializer, "input_axes")
    ):
        return initializer
    if initializer.input_axes is not None and initializer.output_axes is not None:
        return initializer
    told = copy.copy(initializer)
    kernel, output = layer.equation.split(",")[1].split("->")
    told.input_axes = [axis for axis, letter in enumerate(kernel) if letter not in output]
    told.output_axes = [axis for axis, letter in enumerate(kernel) if letter in output]
    return told


def _kernels(model: keras.Model) -> Iterator[tuple[keras.Layer, str, str, keras.Variable]]:
    seen: set[int] = set()
    for layer in all_layers(model):
        for attribute, weights in _KERNELS.items():
            weight = next((name for name in weights if hasattr(layer, name)), None)
            if weight is None or not hasattr(layer, attribute):
                continue
            variable = getattr(layer, weight)
            if variable is not None and (
                not isinstance(variable, keras.Variable) or "float" not in str(variable.dtype)
            ):
                remedy = "Draw the model first, then enable LoRA or quantize it."
                allowed = "a layer whose kernel is a variable of a floating-point type"
                raise InitxError(layer.path or layer.name, "LoRA or quantization", allowed, remedy)
            if variable is not None and id(variable) not in seen:
                seen.add(id(variable))
                yield layer, attribute, weight, variable


def _instance(initializer: Any) -> Any:
    """An initializer of its own for one layer."""
    if isinstance(initializer, str):
        try:
            return keras.initializers.get(initializer)
        except ValueError:
            raise unknown_name("initializer", initializer, known_names()) from None
    if isinstance(initializer, type) and hasattr(initializer, "get_config"):
        return _instance(keras.initializers.get(initializer))
    if hasattr(initializer, "get_config"):
        own = type(initializer).from_config(initializer.get_config())
        if isinstance(getattr(initializer, "seed", None), keras.random.SeedGenerator):
            # One from the config starts where this one started, for every layer alike.
            own.seed = initializer.seed
        return own
    if not callable(initializer):
        remedy = f"A seed is passed by name: seed={initializer}." if type(initializer) is int else ""
        allowed = "a name, an initializer or a function of a shape"
        raise InitxError("initializer", initializer, allowed, remedy)
    return keras.initializers.get(initializer)


def _integer_seed(initializer: Any) -> int | None:
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    seed = config.get("seed")
    return seed if isinstance(seed, int) else None


def known_names() -> list[str]:
    """The names of initializers of kernels that need no arguments: ours, and Keras's in lower case."""
    keras_names = {
        name
        for name in dir(keras.initializers)
        if name.islower() and name[0] != "_" and name not in _NOT_NAMES
    }
    ours = {name for name, cls in NAMES.items() if not issubclass(cls, BiasAuto)}
    return sorted(keras_names | ours)


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
        values = draw_again(initializer, variable, None if seed is None else fold_in(seed, str(number)))
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
