"""Which weights are meant: patterns of layer and weight paths."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from keras_initx.errors import InitxError


class PathFilter:
    """The weights that `only` names and `skip` does not.

    Args:
        only: A pattern with * and ?, or several; None means all.
        skip: The same for what is left out.

    Raises:
        InitxError: Something that is not a string.
    """

    def __init__(
        self, only: str | Sequence[str] | None = None, skip: str | Sequence[str] | None = None
    ) -> None:
        self._only = None if only is None else _patterns("only", only)
        self._skip = [] if skip is None else _patterns("skip", skip)

    def has(self, names: Sequence[str]) -> bool:
        """Whether a weight is meant, by its path and those of all layers and models that it is part of."""
        meant = self._only is None or _matches(self._only, names)
        return meant and not _matches(self._skip, names)

    def check(self, drawn: Iterable[Sequence[str]], others: Iterable[Sequence[str]] = ()) -> None:
        """Raises an `InitxError` for a pattern that means no weight, each given by all its names.

        Args:
            drawn: The weights that `only` may name.
            others: Those that `skip` may name too, to protect them.
        """
        weights = list(drawn)
        both = [*weights, *others]
        for argument, patterns in (("only", self._only or []), ("skip", self._skip)):
            for pattern in patterns:
                if not any(_matches([pattern], names) for names in (both if argument == "skip" else weights)):
                    known = sorted({name for names in weights for name in names})
                    near = get_close_matches(pattern, known, n=1)
                    remedy = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(known[:4])} ..."
                    allowed = "a pattern that matches the path of a layer with a kernel, or of a kernel"
                    raise InitxError(argument, pattern, allowed, remedy)


def _patterns(argument: str, given: str | Sequence[str]) -> list[str]:
    patterns = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not patterns or not all(isinstance(p, str) for p in patterns):
        raise InitxError(argument, given, "a pattern, or a list of patterns, of layer paths")
    return patterns


def _matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    # A layer's pattern means what is inside of it too.
    return any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}/*") for name in names for p in patterns)
