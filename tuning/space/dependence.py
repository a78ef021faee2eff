"""Find the parts of a user's model that the user's own hyperparameters set, by building it again."""

import random
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import keras
import keras_tuner

from keras_initx import all_layers

from .._variables import SHARED, inner_optimizer, optimizers_of

# By kind of weight: the names of the initializers of a layer, without "_initializer".
_KINDS = {
    "kernels": ("kernel", "depthwise", "pointwise"),
    "recurrent_kernels": ("recurrent",),
    "embeddings": ("embeddings",),
    "biases": ("bias",),
}
_MOST_BUILDS = 20
# What a change of an initializer, or another build, changes in the config of a layer.
_INCIDENTAL = ("initializer", "name", "seed", "shared_object_id", "build_config")


@dataclass(frozen=True)
class Weight:
    """A weight that a layer draws.

    Attributes:
        kind: The kind of weight, as in `keras_initx.reinitialize`.
        names: What a pattern may match; the first is the path of the weight.
        owner: The user's hyperparameter that sets its initializer; None if none does.
    """

    kind: str
    names: tuple[str, ...]
    owner: str | None


@dataclass(frozen=True)
class Parts:
    """What a space may replace in a model.

    Attributes:
        weights: Its weights.
        training: The user's hyperparameters by "learning_rate", "weight_decay" and "optimizer".
    """

    weights: tuple[Weight, ...] = ()
    training: Mapping[str, str] = field(default_factory=dict)

    def selected(self, kind: str, patterns: Sequence[str] | None) -> list[Weight]:
        """Return the weights of a kind that match one of the patterns, or all of that kind for None."""
        of_kind = [weight for weight in self.weights if weight.kind == kind]
        if patterns is None:
            return of_kind
        return [w for w in of_kind if any(_matches(name, p) for name in w.names for p in patterns)]

    @property
    def owned(self) -> list[str]:
        """The paths of the weights that the user's hyperparameters set."""
        return [weight.names[0] for weight in self.weights if weight.owner is not None]


class Dependence:
    """What depends on the user's hyperparameters alone.

    Each hyperparameter is changed once, in a build of its own. Where only initializers or settings of the
    optimizer change with it, it would be void if these were replaced. Where the layers change too, it would
    not. A hyperparameter that sets initializers is changed again in each architecture.

    Args:
        make: Returns the user's model.
    """

    def __init__(self, make: Callable[[keras_tuner.HyperParameters], Any]) -> None:
        self._make = make
        self._tried: set[str] = set()
        self._of_weights: set[str] = set()
        self._training: dict[str, str] = {}
        self._owners: dict[Any, dict[int, str]] = {}

    def parts(
        self, model: keras.Model, hp: keras_tuner.HyperParameters, own: Iterable[str], state: Any
    ) -> Parts:
        """Return the parts of a model that was built with `hp`.

        Args:
            model: The model, which does not change.
            hp: The hyperparameters after the build.
            own: The names of the user's.
            state: Python's random state before the build, from which layers take their seeds.
        """
        architecture = tuple((type(layer).__name__, stem) for layer, _, stem in _initializers(model))
        owners = self._owners.get(architecture)
        again = set() if owners is not None else self._of_weights
        owners = self._owners.setdefault(architecture, {})
        before = None
        for name, value in _others(hp, set(own)):
            if name in self._tried and name not in again:
                continue
            if name not in self._tried and len(self._tried) >= _MOST_BUILDS:
                continue
            self._tried.add(name)
            other = self._built({**hp.values, name: value}, state)
            before = before or _described(model)
            after = None if other is None else _described(other)
            if after is None or after[0] != before[0]:
                continue
            for number, (one, two) in enumerate(zip(before[1], after[1], strict=True)):
                if one != two:
                    owners[number] = name
                    self._of_weights.add(name)
            # Another class has other defaults, which no hyperparameter sets.
            same_class = before[2].get("class") == after[2].get("class")
            for setting in ("learning_rate", "weight_decay", "optimizer"):
                if before[2].get(setting) != after[2].get(setting) and (same_class or setting == "optimizer"):
                    self._training[setting] = name
        weights = (
            Weight(kind, _names(layer, stem), owners.get(number))
            for number, (layer, kind, stem) in enumerate(_initializers(model))
            if layer.trainable
        )
        return Parts(tuple(weights), dict(self._training))

    def _built(self, values: dict[str, Any], state: Any) -> Any:
        """Return a model with these values, or None if there is none; the random state stays as it is."""
        hp = keras_tuner.HyperParameters()
        hp.values = values
        now = random.getstate()
        random.setstate(state)
        try:
            model = self._make(hp)
        except Exception:
            # Some combinations of values may not fit together.
            return None
        finally:
            random.setstate(now)
        return model if isinstance(model, keras.Model) else None


def _others(hp: keras_tuner.HyperParameters, own: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield each active hyperparameter of the user that has another value, and that value."""
    seen = set()
    for declared in list(hp.space):
        name = declared.name
        if name not in own or name in seen or name not in hp.values or not hp.is_active(declared):
            continue
        seen.add(name)
        for value in declared.values:
            if value != hp.values[name]:
                yield name, value
                break


def _initializers(model: keras.Model) -> Iterator[tuple[keras.Layer, str, str]]:
    """Yield layer, kind of weight and name for every initializer of a weight."""
    for layer in all_layers(model):
        for kind, stems in _KINDS.items():
            for stem in stems:
                if getattr(layer, f"{stem}_initializer", None) is not None:
                    yield layer, kind, stem


def _names(layer: keras.Layer, stem: str) -> tuple[str, ...]:
    attributes = (f"{stem}_kernel", stem, *(["kernel"] if stem == "depthwise" else []))
    found = [getattr(layer, attribute, None) for attribute in attributes]
    weight = next((v for v in found if isinstance(v, keras.Variable)), None)
    path = layer.path or layer.name
    return (f"{path}/{stem}" if weight is None else weight.path, path, layer.name)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*")


def _described(model: keras.Model) -> tuple[list[str], list[str], dict[str, str]]:
    """Return in words: the layers without initializers, the initializers, and the optimizer."""
    layers = [_layer(layer) for layer in all_layers(model) if not isinstance(layer, keras.Model)]
    initializers = [
        _initializer(getattr(layer, f"{stem}_initializer")) for layer, _, stem in _initializers(model)
    ]
    optimizers = optimizers_of(model)
    if len(optimizers) != 1:
        return layers, initializers, {}
    optimizer = inner_optimizer(optimizers[0])
    config = optimizer.get_config()
    rest = {key: value for key, value in config.items() if key not in (*SHARED, "name")}
    kind = type(optimizer).__name__
    settings = {name: str(config.get(name)) for name in ("learning_rate", "weight_decay")}
    return layers, initializers, {**settings, "class": kind, "optimizer": f"{kind} {rest}"}


def _function(function: Any) -> str:
    """Return the name of a plain function, and the numbers and names that it was made with."""
    cells = getattr(function, "__closure__", None) or ()
    # A cell of a recursive function may still be empty, and other objects differ from build to build.
    bound = [cell.cell_contents for cell in cells if cell != types.CellType()]
    bound += [*(getattr(function, "__defaults__", None) or ()), *getattr(function, "args", ())]
    bound += getattr(function, "keywords", {}).values()
    plain = [value for value in bound if isinstance(value, str | bool | int | float)]
    inner = getattr(function, "func", None)
    name = getattr(function, "__qualname__", type(function))
    return f"{name} {plain}" if inner is None else f"{_function(inner)} {plain}"


def _layer(layer: keras.Layer) -> str:
    try:
        config = _essential(layer.get_config())
    except Exception:
        # A layer of the user's whose arguments Keras does not know.
        config = None
    return f"{type(layer).__name__} {[tuple(v.shape) for v in layer.weights]} {config}"


def _essential(config: Any) -> Any:
    if isinstance(config, dict):
        kept = {key: value for key, value in config.items() if not str(key).endswith(_INCIDENTAL)}
        return {key: _essential(value) for key, value in kept.items()}
    return [_essential(value) for value in config] if isinstance(config, list | tuple) else config


def _initializer(initializer: Any) -> str:
    if not hasattr(initializer, "get_config"):
        return _function(initializer)
    config = dict(initializer.get_config())
    if not isinstance(config.get("seed"), int):
        config.pop("seed", None)
    return f"{type(initializer).__name__} {config}"
