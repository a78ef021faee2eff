"""The initializers of a model as hyperparameters: of all kernels, or group by group."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import keras
import keras_tuner

import keras_initx
from keras_initx import InitxError, initialize, kernel_groups, known_methods, known_names, reinitialize
from keras_initx.errors import unknown_name

from .ranges import Numbers, check_numbers, choose_number

INITIALIZER, GAIN, DISTRIBUTION = "initializer", "gain", "distribution"
# Ours, the two classics, and what a small random start does.
DEFAULT_INITIALIZERS = ("he_auto", "auto", "glorot_uniform", "he_normal", "random_uniform")
# The model's own initializers, drawn again; and `keras_initx.initialize`, by its method.
OWN, WHOLE = "own", "initialize:"
# Without `data=` there is no LSUV.
WHOLE_METHODS = tuple(WHOLE + method for method in known_methods() if method != "lsuv")
# What a search tries first, where it is among its names.
CANDIDATES = (OWN, "he_auto", "auto", f"{WHOLE}auto")
GROUPS = ("stem", "hidden", "recurrent", "attention", "head")
DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")
# The rules of variance scaling, whose gain and distribution can be given.
_RULES = {
    "he_auto": keras_initx.HeAuto,
    "xavier_auto": keras_initx.XavierAuto,
    "glorot_auto": keras_initx.XavierAuto,
    "lecun_auto": keras_initx.LecunAuto,
    "auto": keras_initx.Auto,
}

Initializers = Sequence[str] | Mapping[str, Sequence[str]]


class KernelSpace:
    """What is searched of a model's kernels.

    Args:
        initializers: The names to choose among for all kernels; or such names by group ("stem", "hidden",
            "recurrent", "attention", "head": `keras_initx.kernel_groups`) or by a pattern (* and ?) of layer
            paths. Kernels in none of them stay as the model has them; of a kernel in two the last decides.
        gains: Values, or a `Range`, of the gain g of he_auto, xavier_auto, lecun_auto and auto: the
            variance is g / fan, whatever the activation. None leaves the rules their own.
        distributions: What these may draw from; None leaves them truncated normal.

    Raises:
        InitxError: An unknown name or distribution, a gain that is not positive; gains or distributions
            where no rule takes them.
    """

    def __init__(
        self,
        initializers: Initializers,
        gains: Numbers | None = None,
        distributions: Sequence[str] | None = None,
    ) -> None:
        groups = initializers if isinstance(initializers, Mapping) else {"": initializers}
        if not groups:
            raise InitxError("initializers", initializers, "names, or names by group or pattern")
        self.groups = {
            key: check_initializers(names, (OWN,) if key else (OWN, *WHOLE_METHODS))
            for key, names in groups.items()
        }
        self._gains = check_numbers(gains, GAIN + "s")
        self._distributions = None
        if distributions is not None:
            self._distributions = checked_names(DISTRIBUTION + "s", distributions, DISTRIBUTIONS)
        given = gains if gains is not None else distributions
        if given is not None and not any(_takers(names) for names in self.groups.values()):
            argument = "gains" if gains is not None else "distributions"
            raise InitxError(argument, given, f"None, or one of {', '.join(_RULES)} among the initializers")

    def draw(self, model: keras.Model, hp: keras_tuner.HyperParameters, declared: frozenset[str]) -> None:
        """Draws the kernels that `hp` chooses; not those that the user's model has declared itself."""
        paths = _paths(model) if self.groups.keys() & set(GROUPS) else {}
        for key, names in self.groups.items():
            suffix = f":{key}" if key else ""
            if INITIALIZER + suffix in declared:
                continue
            chosen = self._chosen(hp, names, suffix)
            only = (paths.get(key) or _no_group(key, model)) if key in GROUPS else key or None
            if isinstance(chosen, str) and chosen.startswith(WHOLE):
                initialize(model, chosen.removeprefix(WHOLE))
            else:
                try:
                    reinitialize(model, None if chosen == OWN else chosen, only=only)
                except InitxError as error:
                    if error.argument != "only" or not key:
                        raise
                    near = get_close_matches(key, GROUPS, n=1)
                    allowed = f"a group ({', '.join(GROUPS)}) or a pattern that matches the path of a layer"
                    remedy = f"Did you mean {near[0]!r}?" if near else error.remedy
                    raise InitxError("initializers", key, allowed, remedy) from error

    def _chosen(self, hp: keras_tuner.HyperParameters, names: Sequence[str], suffix: str) -> Any:
        name = hp.Choice(INITIALIZER + suffix, list(names))
        options: dict[str, Any] = {}
        if takers := _takers(names):
            with hp.conditional_scope(INITIALIZER + suffix, takers):
                if self._gains is not None:
                    options[GAIN] = choose_number(hp, GAIN + suffix, self._gains)
                if self._distributions is not None:
                    options[DISTRIBUTION] = hp.Choice(DISTRIBUTION + suffix, list(self._distributions))
        return _RULES[name](**options) if options and name in _RULES else name


def _takers(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in _RULES]


def _paths(model: keras.Model) -> dict[str, list[str]]:
    """The patterns of each group's kernels."""
    found: dict[str, list[str]] = {}
    for path, group in kernel_groups(model).items():
        found.setdefault(group, []).append(re.sub(r"([\[*?])", r"[\1]", path))
    return found


def _no_group(key: str, model: keras.Model) -> list[str]:
    groups = ", ".join(dict.fromkeys(kernel_groups(model).values()))
    allowed = f"a group that the model has ({groups}), or a pattern of layer paths"
    raise InitxError("initializers", key, allowed)


def check_initializers(names: Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
    """`names` as a tuple, each of them known, or one of `others`.

    Raises:
        InitxError: No name, one twice, or one that is unknown (the nearest is suggested).
    """
    return checked_names("initializers", names, [*known_names(), *others])


def checked_names(argument: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """`names` as a tuple, each one of `known`, none twice."""
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Iterable):
        raise InitxError(argument, names, f"a list of names, such as {list(known[:2])}")
    for name in names:
        if name not in known:
            raise unknown_name(argument, name, known)
    if not names or len(set(names)) < len(names):
        raise InitxError(argument, list(names), "one or more different names")
    return tuple(names)
