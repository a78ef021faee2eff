"""Draw the kernels of an existing model from another initializer, in place."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._weights.index import WeightIndex, adapted, all_frozen
from keras_initx._weights.layers import all_layers
from keras_initx._weights.own_initializers import reinitialize_all
from keras_initx._weights.path_filter import PathFilter
from keras_initx.errors import InitxError, check_built, checked_seed, unknown_name
from keras_initx.initializers import (
    INITIALIZER_MARK,
    NAMES,
    OVERRIDDEN_MARK,
    BiasAuto,
    bind,
    fold_in,
    record_initializer,
)

# By kind of weight: the attribute of a layer that holds the initializer, and the attributes that may hold the
# weight. A depthwise convolution has a `kernel`, a separable one a `depthwise_kernel`.
_ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "kernels": {
        "kernel_initializer": ("kernel",),
        "depthwise_initializer": ("depthwise_kernel", "kernel"),
        "pointwise_initializer": ("pointwise_kernel",),
    },
    "recurrent_kernels": {"recurrent_initializer": ("recurrent_kernel",)},
    "embeddings": {"embeddings_initializer": ("embeddings",)},
    "biases": {"bias_initializer": ("bias",)},
}
KINDS = tuple(_ATTRIBUTES)
# Functions of `keras.initializers`, and initializers of square matrices or windows, which suit no kernel.
_NOT_NAMES = frozenset({"get", "serialize", "deserialize", "identity", "stft"})


class _Kernel(NamedTuple):
    """A weight to draw: its layer, the attributes that hold its initializer and itself, and its variable."""

    layer: keras.Layer
    initializer_attribute: str
    attribute: str
    variable: keras.Variable


def reinitialize(
    model: keras.Model,
    initializer: Any = None,
    seed: int | None = None,
    *,
    weights: str | None = None,
    only: str | Sequence[str] | None = None,
    skip: str | Sequence[str] | None = None,
) -> int:
    """Draw all kernels of a built model from `initializer`, in place, as if it had been built with it.

    Kernels are the weights that layers draw with their `kernel_initializer` (or depthwise and pointwise
    initializer), also inside nested models, attention layers and recurrent cells. Recurrent kernels,
    embeddings, biases (unless `weights` asks for them) and normalizations stay as they are, and so do frozen
    layers and weights (`trainable=False`), kernels under LoRA, quantized kernels, what a layer such as
    `Normalization` learned by `adapt`, and the compiled state. The configs of the layers name the new
    initializer, so that a saved model does too.

    The optimizer keeps its moments and its step, which belong to the weights of the last training. Call
    `model.compile` again to start with a new one.

    Args:
        model: A built Keras model.
        initializer: A name ("he_auto", "glorot_uniform" ...), or an initializer. Each layer gets its own
            copy, so that two layers of one shape get different values. None draws every weight (biases,
            embeddings and normalizations too) from the initializer that it was made with: apart from frozen
            layers and weights, also those that LoRA froze, and from what `adapt` learned, the model is then
            as if built again.
        seed: An integer for the same values in every run, whatever the names of the layers; None follows
            `keras.utils.set_random_seed`. The values of a weight do not depend on which others are drawn.
        weights: The kind of weights to draw: "kernels", "recurrent_kernels", "embeddings" or "biases". None
            means the kernels, or every weight if `initializer` is None.
        only, skip: Patterns (* and ?) of layer or weight paths: the weights to draw, and the weights to leave
            as they are.

    Returns:
        The number of weights drawn.

    Raises:
        InitxError: If the model is not built or has no kernel; if all weights to draw are frozen; if `only`
            names a layer with LoRA or quantization, or there is no other; if a name is unknown; if a pattern
            matches nothing; if a draw is not finite. No weight has changed then.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation="tanh")])
    >>> reinitialize(model, "auto", seed=1)
    1
    """
    if not isinstance(model, keras.Model):
        raise InitxError("model", model, "a keras.Model")
    check_built(model, needs_call=False)
    seed = checked_seed(seed)
    if weights is not None and weights not in KINDS:
        raise unknown_name("weights", weights, KINDS)
    path_filter, index = PathFilter(only, skip), WeightIndex(all_layers(model))

    def matches(variable: keras.Variable) -> bool:
        return path_filter.matches(index.names(variable))

    def selected(variable: keras.Variable) -> bool:
        return matches(variable) and not index.is_frozen(variable)

    def check_selection(variables: Sequence[keras.Variable]) -> None:
        path_filter.check(map(index.names, variables), map(index.names, index.variables()))
        matching = list(filter(matches, variables))
        if variables and not matching:
            raise path_filter.nothing_left()
        if matching and not any(map(selected, matching)):
            raise all_frozen(model, matching)

    if initializer is None and weights is None:
        # The layer computes with constants that it derived from them, so new values would not be used.
        check_selection([v for v in index.variables() if not index.is_learned(v)])
        return reinitialize_all(
            model, all_layers(model), seed, lambda v: not index.is_learned(v) and selected(v)
        )
    kind = weights or "kernels"
    kernels = list(_kernels(model, kind))
    if path_filter.is_only or not kernels:
        _refuse_adapted(model, lambda v: matches(v) and not index.is_in_frozen_layer(v), kind)
    if not kernels:
        attribute = next(iter(_ATTRIBUTES[kind]))
        article = "an" if attribute.startswith("e") else "a"
        raise InitxError(
            "model",
            model.name,
            f"a model in which a layer has {article} {attribute}",
            "If its layers are not built yet, call it once on a batch: model(x).",
            f"`model` {model.name!r} has no layer with {article} {attribute}",
        )
    check_selection([kernel.variable for kernel in kernels])
    if initializer is None:
        chosen = {id(kernel.variable) for kernel in kernels}
        return reinitialize_all(model, all_layers(model), seed, lambda v: id(v) in chosen and selected(v))
    drawn = []
    for number, kernel in enumerate(kernels):
        variable = kernel.variable
        if not selected(variable):
            continue
        own = _instance(initializer)
        bound = bind(own, kernel.layer, kernel.attribute)
        first = seed if seed is not None else _integer_seed(own)
        if first is not None and hasattr(bound, "seed"):
            # Keras's initializers use a seed as it is: one seed for all kernels would repeat the values, and
            # counting up from it would repeat the values of the next seed.
            bound.seed = fold_in(first, str(number)) if number else first
        bound = _with_axes(bound, kernel.layer)
        values = bound(tuple(variable.shape), dtype=variable.dtype)
        if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.sum(keras.ops.cast(values, "float32")))):
            raise InitxError(
                "initializer",
                initializer,
                "an initializer whose values are finite",
                "Choose another initializer.",
                f"`initializer` {initializer!r} draws values for {variable.path} that are not finite",
            )
        drawn.append((kernel, own, bound, values))
    for kernel, own, bound, values in drawn:
        kernel.variable.assign(values)
        record_initializer(kernel.variable, bound)
        setattr(kernel.layer, kernel.initializer_attribute, own)
    return len(drawn)


@contextlib.contextmanager
def initializers_kept(model: keras.Model) -> Iterator[None]:
    """Restore the initializer that each layer and each weight names."""
    attributes = [(k.layer, k.initializer_attribute) for k in _kernels(model)]
    named = [(layer, attribute, getattr(layer, attribute)) for layer, attribute in attributes]
    marks = [
        (v, mark, getattr(v, mark, None))
        for v in model.variables
        for mark in (INITIALIZER_MARK, OVERRIDDEN_MARK)
    ]
    try:
        yield
    finally:
        for layer, attribute, initializer in named:
            setattr(layer, attribute, initializer)
        for variable, mark, value in marks:
            setattr(variable, mark, value)


def _with_axes(initializer: Any, layer: keras.Layer) -> Any:
    """Return `initializer` as `EinsumDense.build` of Keras 3.15 and newer calls it; unchanged for others.

    That method passes the axes of the kernel that the output lacks to Keras's initializers, which count
    them as inputs and all others as outputs. Older initializers read the shape alone, and have no
    `input_axes`. The axes are set on a copy: the layer keeps the initializer without axes, as in Keras.
    """
    if not isinstance(layer, keras.layers.EinsumDense) or not (
        isinstance(initializer, keras.initializers.VarianceScaling) and hasattr(initializer, "input_axes")
    ):
        return initializer
    if initializer.input_axes is not None and initializer.output_axes is not None:
        return initializer
    with_axes = copy.copy(initializer)
    kernel, output = layer.equation.split(",")[1].split("->")
    with_axes.input_axes = [axis for axis, letter in enumerate(kernel) if letter not in output]
    with_axes.output_axes = [axis for axis, letter in enumerate(kernel) if letter in output]
    return with_axes


def _kernels(model: keras.Model, weights: str = "kernels") -> Iterator[_Kernel]:
    seen: set[int] = set()
    for layer in all_layers(model):
        for initializer_attribute, attributes in _ATTRIBUTES[weights].items():
            attribute = next((name for name in attributes if hasattr(layer, name)), None)
            if attribute is None or not hasattr(layer, initializer_attribute):
                continue
            variable = getattr(layer, attribute)
            if _is_floating(variable) and id(variable) not in seen:
                seen.add(id(variable))
                yield _Kernel(layer, initializer_attribute, attribute, variable)


def _is_floating(kernel: Any) -> bool:
    return isinstance(kernel, keras.Variable) and "float" in str(kernel.dtype)


def _refuse_adapted(model: keras.Model, selected: Callable[[keras.Variable], bool], weights: str) -> None:
    """Raise an `InitxError` for a layer to draw whose kernel LoRA or quantization has replaced."""
    for layer in all_layers(model):
        for initializer_attribute, attributes in _ATTRIBUTES[weights].items():
            kernel = next((getattr(layer, name) for name in attributes if hasattr(layer, name)), None)
            if kernel is None or _is_floating(kernel) or not hasattr(layer, initializer_attribute):
                continue
            if any(map(selected, layer.weights)):
                raise adapted(layer)


def _instance(initializer: Any) -> Any:
    """Return a separate copy of an initializer for one layer."""
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
            # A generator from the config would start at the same state for every layer.
            own.seed = initializer.seed
        return own
    if not callable(initializer):
        remedy = f"Pass a seed by name: seed={initializer}." if type(initializer) is int else ""
        raise InitxError(
            "initializer", initializer, "a name, an initializer or a function of a shape", remedy
        )
    return keras.initializers.get(initializer)


def _integer_seed(initializer: Any) -> int | None:
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    seed = config.get("seed")
    return seed if isinstance(seed, int) else None


def known_names() -> list[str]:
    """Return the names of kernel initializers that need no arguments: ours, and Keras's in lower case."""
    keras_names = {
        name
        for name in dir(keras.initializers)
        if name.islower() and name[0] != "_" and name not in _NOT_NAMES
    }
    ours = {name for name, cls in NAMES.items() if not issubclass(cls, BiasAuto)}
    return sorted(keras_names | ours)
