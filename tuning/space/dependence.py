"""Find the parts of a user's model that the user's own hyperparameters set, by building it again."""

import math
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import keras
import keras_tuner
import numpy as np

from .description import Description, Slot, described, slots, variable_of

_MOST_BUILDS = 20
# Architectures and combinations of values to remember.
_MOST_KEPT = 200


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

    In each architecture, and for each combination of non-numeric values, each hyperparameter is changed once,
    in a build of its own; numbers, which seldom set an initializer, are first changed all at once. Where only
    initializers or settings of the optimizer change with a hyperparameter, it would be void if these were
    replaced. Where anything else changes too, it would not.

    Args:
        make: Returns the user's model.
        settings: Those of `description.SETTINGS` that the space replaces.
        is_read_in_fit: Whether code that no build shows may read the hyperparameters, such as a HyperModel's
            `fit`. A setting then counts only if it is the hyperparameter's value.
    """

    def __init__(
        self,
        make: Callable[[keras_tuner.HyperParameters], Any],
        settings: Sequence[str] = (),
        is_read_in_fit: bool = False,
    ) -> None:
        self._make, self._settings, self._is_read_in_fit = make, tuple(settings), is_read_in_fit
        self._found: dict[Any, tuple[dict[Slot, str], dict[str, str]]] = {}
        self._has_warned = False

    def parts(
        self,
        model: keras.Model,
        hp: keras_tuner.HyperParameters,
        own: Iterable[str],
        state: Any,
        is_as_built: bool = True,
    ) -> Parts:
        """Return the parts of a model that was built with `hp`.

        Args:
            model: The model, which does not change.
            hp: The hyperparameters after the build.
            own: The names of the user's.
            state: The random state before the build, from `random_state`.
            is_as_built: Whether the space has not changed the model's optimizer yet.
        """
        now = (None if is_as_built else self._built(hp.values, state)) or described(model)
        others = list(_others(hp, set(own)))
        chosen = tuple((name, str(hp.values[name])) for name, value in others if not _is_number(value))
        key = (tuple(now.initializers), now.training.get("optimizer", "").partition(" ")[0], chosen)
        if key not in self._found:
            if len(self._found) >= _MOST_KEPT:
                self._found.pop(next(iter(self._found)))
            self._found[key] = self._owners(now, hp.values, others, state)
        owners, training = self._found[key]
        weights = (
            Weight(kind, _names(layer, slot.stem), owners.get(slot))
            for slot, layer, kind in slots(model)
            # A recurrent layer has the initializer, and its cell the weight.
            if layer.trainable and (variable_of(layer, slot.stem) is not None or not layer.weights)
        )
        return Parts(tuple(weights), training)

    def _owners(
        self, now: Description, values: Mapping[str, Any], others: Sequence[tuple[str, Any]], state: Any
    ) -> tuple[dict[Slot, str], dict[str, str]]:
        """Return the hyperparameter that sets each initializer and each setting."""
        numbers = {name: value for name, value in others if _is_number(value)}
        single = [name for name, _ in others if name not in numbers]
        if len(numbers) > 1:
            together = self._built({**values, **numbers}, state)
            if together is None or self._differs(now, together):
                single += numbers
        else:
            single += numbers
        if len(single) > _MOST_BUILDS and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"Only the first {_MOST_BUILDS} of the model's {len(single)} hyperparameters were checked; "
                "where another one sets an initializer, the search may replace it.",
                stacklevel=4,
            )
        owners: dict[Slot, str] = {}
        training: dict[str, str] = {}
        same: Description | None = None
        for name in single[:_MOST_BUILDS]:
            after = self._built({**values, name: dict(others)[name]}, state)
            if after is None or not self._differs(now, after):
                continue
            # What differs between two builds with the same values depends on no hyperparameter.
            same = same or self._built(values, state) or now
            if after.rest != now.rest and same.rest == now.rest:
                continue
            for slot, initializer in now.initializers.items():
                if after.initializers.get(slot) != initializer == same.initializers.get(slot):
                    owners[slot] = name
            for setting in self._settings:
                if self._sets(setting, values[name], now, after):
                    training[setting] = name
        return owners, training

    def _sets(self, setting: str, value: Any, now: Description, after: Description) -> bool:
        """Return whether a changed hyperparameter has changed a setting of the optimizer."""
        one, other = now.training.get(setting), after.training.get(setting)
        if one is None or one == other:
            return False
        if setting == "optimizer":
            return True
        # Another class has other defaults, which no hyperparameter sets.
        if now.training["optimizer"].partition(" ")[0] != after.training["optimizer"].partition(" ")[0]:
            return False
        if not self._is_read_in_fit:
            return True
        # A schedule has no single rate.
        is_rate = _is_number(value) and not one.startswith("{")
        return is_rate and math.isclose(float(one), value, rel_tol=1e-6)

    def _differs(self, one: Description, other: Description) -> bool:
        """Return whether two models differ in an initializer, or in a setting that the space replaces."""
        if any(one.training.get(name) != other.training.get(name) for name in self._settings):
            return True
        if one.initializers.keys() == other.initializers.keys():
            return one.initializers != other.initializers
        # More or fewer layers: the kinds of layers have the same initializers, whatever their number.
        kinds = [
            {(slot.kind, slot.stem, text) for slot, text in d.initializers.items()} for d in (one, other)
        ]
        return kinds[0] != kinds[1]

    def _built(self, values: Mapping[str, Any], state: Any) -> Description | None:
        """Describe a model with these values; None if there is none. The random state stays as it is."""
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        now = random_state()
        _set_random_state(state)
        try:
            model = self._make(hp)
        except Exception:
            # Some combinations of values may not fit together.
            return None
        finally:
            _set_random_state(now)
        return described(model) if isinstance(model, keras.Model) else None


def random_state() -> Any:
    """Return the states of the generators that a model takes its seeds from: Python's and NumPy's."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _set_random_state(state: Any) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(layer: keras.Layer, stem: str) -> tuple[str, ...]:
    variable = variable_of(layer, stem)
    path = layer.path or layer.name
    return (f"{path}/{stem}" if variable is None else variable.path, path, layer.name)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*")
