"""The initializers of a model as hyperparameters, for all kernels at once or group by group."""

import glob
import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import keras
import keras_tuner

from keras_initx import (
    InitxError,
    initialize,
    kernel_groups,
    known_distributions,
    known_groups,
    known_methods,
    known_names,
    reinitialize,
)
from keras_initx.errors import unknown_name

from .dependence import Parts, Weight
from .ranges import Numbers, check_numbers, choose_number

INITIALIZER, GAIN, DISTRIBUTION = "initializer", "gain", "distribution"
# Two of this package, two classics, and one that shows what a small random start does.
DEFAULT_INITIALIZERS = ("he_auto", "auto", "glorot_uniform", "he_normal", "random_uniform")
# "own" redraws each weight from the model's own initializers; "initialize:auto", for example, calls
# `keras_initx.initialize` with the method "auto".
OWN, INITIALIZE_PREFIX = "own", "initialize:"
# Kinds of weights that a space may choose initializers for, besides kernels.
WEIGHT_KINDS = ("recurrent_kernels", "embeddings", "biases")
# Without LSUV, which needs `data=`.
INITIALIZE_NAMES = tuple(INITIALIZE_PREFIX + method for method in known_methods() if method != "lsuv")
# The names that a search tries first, if they are among its initializers.
CANDIDATES = (OWN, "he_auto", "auto", f"{INITIALIZE_PREFIX}auto")
# Further names by key; "" stands for all kernels.
_FURTHER = {"": INITIALIZE_NAMES, "biases": ("bias_auto",)}

Initializers = Sequence[str] | Mapping[str, Sequence[str]]


def _rules() -> dict[str, type[keras.initializers.Initializer]]:
    """Return the initializers of this package that take a gain and a distribution, by name."""
    names = [name for name in known_names() if name in keras.saving.get_custom_objects()]
    classes = {name: type(keras.initializers.get(name)) for name in names}
    options = {GAIN, DISTRIBUTION}
    return {n: cls for n, cls in classes.items() if options <= inspect.signature(cls).parameters.keys()}


_RULES = _rules()


class KernelSpace:
    """The part of a search space that concerns the kernels of a model.

    Args:
        initializers: The names to choose among for all kernels; or a dictionary with such names by group
            ("stem", "hidden", "recurrent", "attention", "head": see `keras_initx.kernel_groups`), by another
            kind of weights ("recurrent_kernels", "embeddings", "biases") or by a pattern (* and ?) of layer
            paths. A kernel that no key matches keeps the model's values; if
            several keys match it, the last one decides.
        gains: Values, or a `Range`, for the gain g of he_auto, xavier_auto, lecun_auto and auto: the
            variance is g / fan, whatever the activation. None keeps each rule's own gain.
        distributions: The distributions that these rules may draw from
            (`keras_initx.known_distributions`). None keeps the truncated normal.
        is_default: Whether the user chose no initializers.

    Raises:
        InitxError: A name or distribution is unknown, a gain is not positive, or gains or distributions
            are passed but no initializer takes them.
    """

    def __init__(
        self,
        initializers: Initializers,
        gains: Numbers | None = None,
        distributions: Sequence[str] | None = None,
        is_default: bool = False,
    ) -> None:
        self._is_default, self._has_warned = is_default, False
        groups = initializers if isinstance(initializers, Mapping) else {"": initializers}
        if not groups:
            raise InitxError("initializers", initializers, "names, or names by group or pattern")
        self.groups = {
            key: check_initializers(names, (OWN, *_FURTHER.get(key, ()))) for key, names in groups.items()
        }
        self._gains = check_numbers(gains, GAIN + "s")
        self._distributions = None
        if distributions is not None:
            self._distributions = checked_names(DISTRIBUTION + "s", distributions, known_distributions())
        for argument, value in ((GAIN + "s", gains), (DISTRIBUTION + "s", distributions)):
            if value is not None and not any(_with_rule(names) for names in self.groups.values()):
                problem = f"`{argument}={value!r}` applies to none of the initializers"
                remedy = f"Add one of {', '.join(_RULES)} to them, or drop `{argument}`."
                raise InitxError(argument, value, "None for these initializers", remedy, problem)

    def draw(
        self,
        model: keras.Model | None,
        hp: keras_tuner.HyperParameters,
        declared: frozenset[str],
        redraw_own: bool = True,
        parts: Parts | None = None,
    ) -> None:
        """Draw the kernels of `model` from the initializers that `hp` chooses.

        Args:
            model: A built model, which changes in place; None only declares the hyperparameters.
            hp: The hyperparameters.
            declared: The hyperparameters that the user's model declares itself, which are left to it.
            redraw_own: Whether "own" draws the weights again, rather than keep what a function has loaded.
            parts: The weights of the model, also of an unbuilt one; those that the user's hyperparameters set
                are left to them.

        Raises:
            InitxError: A chosen key has no other weight.
        """
        parts = parts or Parts()
        grouped = model is not None and self.groups.keys() & set(known_groups())
        paths = _paths_by_group(model) if grouped else {}
        for key, names in self.groups.items():
            suffix = f":{key}" if key else ""
            if INITIALIZER + suffix in declared:
                continue
            kind = key if key in WEIGHT_KINDS else None
            only = None if kind else paths.get(key, key or None)
            patterns = [only] if isinstance(only, str) else only
            if names != (OWN,) and self._leaves_all(key, parts.selected(kind or "kernels", patterns)):
                continue
            initializer = self._choose(hp, names, suffix)
            if model is None or (initializer == OWN and not redraw_own):
                continue
            if key in known_groups() and key not in paths:
                raise _missing_group(key, paths)
            # "own" draws what the user's hyperparameters chose.
            skip = [glob.escape(path) for path in parts.owned if initializer != OWN] or None
            if isinstance(initializer, str) and initializer.startswith(INITIALIZE_PREFIX):
                initialize(model, initializer.removeprefix(INITIALIZE_PREFIX), skip=skip)
            else:
                try:
                    _redraw(model, None if initializer == OWN else initializer, kind, only, skip)
                except InitxError as error:
                    if error.argument != "only" or not key:
                        raise
                    raise _unmatched_key(key, error) from error

    def _leaves_all(self, key: str, weights: Sequence[Weight]) -> bool:
        """Return whether all weights of a key are left to the user's hyperparameters; warn once of some.

        Raises:
            InitxError: They are, but the user has chosen the key.
        """
        owned = [weight for weight in weights if weight.owner is not None]
        if not owned:
            return False
        names = ", ".join(repr(name) for name in dict.fromkeys(weight.owner for weight in owned))
        if len(owned) == len(weights) and not self._is_default:
            which = f" for {key!r}" if key else ""
            problem = f"`initializers`{which} would overrule the model's hyperparameter {names}"
            remedy = f"Leave out `initializers`{which}, or the hyperparameter in the model."
            raise InitxError("initializers", self.groups[key], "None for this model", remedy, problem)
        if not self._has_warned:
            self._has_warned = True
            more = f" and {len(owned) - 1} more" if len(owned) > 1 else ""
            warnings.warn(
                f"{owned[0].names[0]}{more}: the model's hyperparameter {names} sets the initializer, which "
                "the search therefore keeps.",
                stacklevel=4,
            )
        return len(owned) == len(weights)

    def _choose(self, hp: keras_tuner.HyperParameters, names: Sequence[str], suffix: str) -> Any:
        """Return the chosen initializer, by name or with the chosen gain and distribution."""
        name = hp.Choice(INITIALIZER + suffix, list(names))
        options: dict[str, Any] = {}
        if rules := _with_rule(names):
            with hp.conditional_scope(INITIALIZER + suffix, rules):
                if self._gains is not None:
                    options[GAIN] = choose_number(hp, GAIN + suffix, self._gains)
                if self._distributions is not None:
                    options[DISTRIBUTION] = hp.Choice(DISTRIBUTION + suffix, list(self._distributions))
        return _RULES[name](**options) if options and name in _RULES else name


def _redraw(model: keras.Model, initializer: Any, kind: str | None, only: Any, skip: Any) -> None:
    """Redraw the kernels, or another kind of weights; the look-up tables of a model without kernels."""
    try:
        reinitialize(model, initializer, weights=kind, only=only, skip=skip)
    except InitxError as error:
        if error.argument != "model" or kind is not None or only is not None:
            raise
        # A recommender of users and items, for example, has nothing else to draw.
        with suppress(InitxError):
            reinitialize(model, initializer, weights="embeddings", skip=skip)
            return
        raise


def _with_rule(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in _RULES]


def _paths_by_group(model: keras.Model) -> dict[str, list[str]]:
    """Return for each group the patterns that match the paths of its kernels, and no others."""
    paths: dict[str, list[str]] = {}
    for path, group in kernel_groups(model).items():
        paths.setdefault(group, []).append(glob.escape(path))
    return paths


def _missing_group(key: str, paths: Mapping[str, list[str]]) -> InitxError:
    groups = ", ".join(paths)
    problem = f"`initializers` has the group {key!r}, but the model has no kernel in it"
    remedy = (
        f"Groups of the model: {groups}. Use one of them, or a pattern of layer paths, such as '{key}*' for "
        "layers whose names begin with it."
    )
    return InitxError("initializers", key, f"one of the groups {groups}, or a pattern", remedy, problem)


def _unmatched_key(key: str, error: InitxError) -> InitxError:
    near = get_close_matches(key, known_groups(), n=1)
    groups = ", ".join(known_groups())
    problem = f"`initializers` has the key {key!r}, which is neither a group nor matches a layer"
    remedy = f"Did you mean {near[0]!r}?" if near else f"Groups: {groups}. {error.remedy}".strip()
    allowed = f"a group ({groups}) or a pattern that matches the path of a layer"
    return InitxError("initializers", key, allowed, remedy, problem)


def check_initializers(names: Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
    """Return `names` as a tuple.

    Raises:
        InitxError: There is no name, a name occurs twice, or a name is neither known nor one of
            `others` (the message suggests the nearest).
    """
    registered = keras.saving.get_custom_objects().items()
    users = [
        name
        for name, value in registered
        if isinstance(value, type) and issubclass(value, keras.initializers.Initializer)
    ]
    return checked_names("initializers", names, [*known_names(), *others, *users])


def _not_a_name(
    argument: str, initializer: keras.initializers.Initializer, known: Sequence[str]
) -> InitxError:
    """Return the error for an initializer that is passed instead of its name."""
    kind = type(initializer).__name__
    names = [name for name in known if name.replace("_", "") == kind.lower()]
    register = (
        "register a class whose instances need no arguments: keras.saving.get_custom_objects()['mine'] = "
        "Mine, and pass 'mine'."
    )
    remedy = f"Pass {names[0]!r}; for other arguments, {register}" if names else f"To use it, {register}"
    return InitxError(argument, kind, "names of initializers", remedy)


def checked_names(argument: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return `names` as a tuple; raise an `InitxError` unless they are different names in `known`."""
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Iterable):
        raise InitxError(argument, names, f"a list of names, such as {list(known[:2])}")
    for name in names:
        if isinstance(name, str) and name in known:
            continue
        if isinstance(name, keras.initializers.Initializer):
            raise _not_a_name(argument, name, known)
        raise unknown_name(argument, name, known)
    if not names or len(set(names)) < len(names):
        raise InitxError(argument, list(names), "a list of one or more different names")
    return tuple(names)
