"""Describe a model in words: its initializers, its optimizer, and everything else."""

import functools
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from keras_initx import all_layers, known_names

from .._variables import SHARED, inner_optimizer, optimizers_of

# By kind of weight: the names of the initializers of a layer, without "_initializer", and the attributes that
# may hold the weight.
_KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "kernels": {
        "kernel": ("kernel",),
        "depthwise": ("depthwise_kernel", "kernel"),
        "pointwise": ("pointwise_kernel",),
    },
    "recurrent_kernels": {"recurrent": ("recurrent_kernel",)},
    "embeddings": {"embeddings": ("embeddings",)},
    "biases": {"bias": ("bias",)},
}
_DEEPEST = 8
SETTINGS = ("learning_rate", "weight_decay", "optimizer")
# What a change of an initializer, or another build, changes in the config or the attributes of a layer.
_INCIDENTAL = ("initializer", "name", "seed", "shared_object_id", "build_config", "path")


class Slot(NamedTuple):
    """The place of an initializer in a model: the number and the class of its layer, and its name."""

    number: int
    kind: str
    stem: str


@dataclass(frozen=True)
class Description:
    """A model in words, which are the same for two models that differ only in weights and names.

    Attributes:
        initializers: The initializers by slot.
        training: The learning rate, the weight decay, and the optimizer without these; empty for a model
            without an optimizer, or with several.
        rest: Everything else that can be seen.
    """

    initializers: Mapping[Slot, str]
    training: Mapping[str, str]
    rest: tuple[str, ...]


def described(model: keras.Model) -> Description:
    """Return the description of a model."""
    layers = [layer for layer in all_layers(model) if not isinstance(layer, keras.Model)]
    models = [model, *(layer for layer in all_layers(model) if isinstance(layer, keras.Model))]
    return Description(
        {slot: _initializer(getattr(layer, f"{slot.stem}_initializer")) for slot, layer, _ in slots(model)},
        _training(model),
        (*map(_layer, layers), *map(_operations, models), _compiled(model)),
    )


def slots(model: keras.Model) -> Iterator[tuple[Slot, keras.Layer, str]]:
    """Yield slot, layer and kind of weight for every initializer of a weight, also where it is None."""
    for number, layer in enumerate(all_layers(model)):
        for kind, stems in _KINDS.items():
            for stem in stems:
                if hasattr(layer, f"{stem}_initializer"):
                    yield Slot(number, type(layer).__name__, stem), layer, kind


def variable_of(layer: keras.Layer, stem: str) -> keras.Variable | None:
    """Return the weight that a layer draws with an initializer; None if the layer itself has none."""
    attributes = next(stems[stem] for stems in _KINDS.values() if stem in stems)
    found = (getattr(layer, attribute, None) for attribute in attributes)
    return next((value for value in found if isinstance(value, keras.Variable)), None)


def _training(model: keras.Model) -> dict[str, str]:
    optimizers = optimizers_of(model)
    if len(optimizers) != 1:
        return {}
    optimizer = inner_optimizer(optimizers[0])
    config: dict[str, Any] = optimizer.get_config()
    rest = {key: value for key, value in config.items() if key not in (*SHARED, "name")}
    settings = {name: str(config.get(name)) for name in ("learning_rate", "weight_decay")}
    return {**settings, "optimizer": f"{type(optimizer).__name__} {rest}"}


def _layer(layer: keras.Layer) -> str:
    try:
        config = layer.get_config()
    except Exception:
        # A layer of the user's whose arguments Keras does not know.
        config = None
    shapes = [tuple(v.shape) for v in layer.weights]
    return f"{type(layer).__name__} {shapes} {_plain(config)} {_attributes(layer)}"


def _operations(model: keras.Model) -> str:
    """Describe the operations between the layers, and the attributes of a model of the user's."""
    operations = [op for op in getattr(model, "operations", ()) if not isinstance(op, keras.Layer)]
    texts = [f"{type(op).__name__} {_plain(vars(op))}" for op in operations]
    return f"{texts} {_attributes(model)}"


def _compiled(model: keras.Model) -> str:
    try:
        config = model.get_compile_config() or {}
    except Exception:
        # A loss or a metric that Keras cannot serialize.
        config = {}
    return str(_plain({key: value for key, value in config.items() if key != "optimizer"}))


def _attributes(layer: keras.Layer) -> Any:
    """Return what the user's own class has as attributes; the config of Keras's classes says it all."""
    if type(layer).__module__.partition(".")[0] == "keras":
        return None
    own = {k: v for k, v in vars(layer).items() if not isinstance(v, keras.optimizers.Optimizer)}
    return _plain(own)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value without initializers, names and seeds, as text that is the same in every process."""
    if depth == _DEEPEST:
        # It may contain itself.
        return type(value).__name__
    if isinstance(value, Mapping):
        kept = {str(key): part for key, part in value.items() if not str(key).endswith(_INCIDENTAL)}
        return {key: _plain(part, depth + 1) for key, part in kept.items() if not key.startswith("_")}
    if isinstance(value, list | tuple):
        return [_plain(part, depth + 1) for part in value]
    is_name = isinstance(value, str) and value in _initializer_names()
    if is_name or isinstance(value, keras.initializers.Initializer):
        return "an initializer"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "__qualname__") or hasattr(value, "func"):
        return _function(value)
    if isinstance(value, keras.Layer | keras.Variable | keras.KerasTensor):
        return type(value).__name__
    try:
        return type(value).__name__, _plain(value.get_config(), depth + 1)
    except Exception:
        return type(value).__name__


@functools.cache
def _initializer_names() -> frozenset[str]:
    return frozenset(known_names())


def _initializer(initializer: Any) -> str:
    if not hasattr(initializer, "get_config"):
        return str(initializer) if initializer is None else _function(initializer)
    config = dict(initializer.get_config())
    if not isinstance(config.get("seed"), int):
        config.pop("seed", None)
    return f"{type(initializer).__name__} {re.sub(' at 0x[0-9a-f]+', '', str(config))}"


def _function(function: Any) -> str:
    """Return the name of a plain function, and the numbers and names that it was made with."""
    cells = getattr(function, "__closure__", None) or ()
    # A cell of a recursive function may still be empty, and other objects differ from build to build.
    bound = [cell.cell_contents for cell in cells if cell != types.CellType()]
    bound += [*(getattr(function, "__defaults__", None) or ()), *getattr(function, "args", ())]
    bound += getattr(function, "keywords", {}).values()
    plain = [value for value in bound if isinstance(value, str | bool | int | float)]
    inner = getattr(function, "func", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{name} {plain}" if inner is None else f"{_function(inner)} {plain}"
