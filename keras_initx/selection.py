"""Which weights are meant: patterns of layer and weight paths."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from keras_initx.errors import InitxError


class Selection:
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

    def has(self, layer: str, weight: str) -> bool:
        """Whether a weight is meant, by its layer's path or its own."""
        names = (layer, weight, layer.rpartition("/")[2])
        meant = self._only is None or _matches(self._only, names)
        return meant and not _matches(self._skip, names)

    def check(self, paths: Iterable[str]) -> None:
        """Raises an `InitxError` for a pattern that matches none of the paths."""
        known = {part for path in paths for part in (path, path.rpartition("/")[2])}
        for argument, patterns in (("only", self._only or []), ("skip", self._skip)):
            for pattern in patterns:
                if not any(fnmatchcase(path, pattern) for path in known):
                    near = get_close_matches(pattern, sorted(known), n=1)
                    remedy = f"Did you mean {near[0]!r}?" if near else ""
                    raise InitxError(
                        argument, pattern, "a pattern that matches a layer or weight path", remedy
                    )


def _patterns(argument: str, given: str | Sequence[str]) -> list[str]:
    patterns = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not patterns or not all(isinstance(p, str) for p in patterns):
        raise InitxError(argument, given, "a pattern, or a list of patterns, of layer paths")
    return patterns


def _matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    # A layer's pattern means what is inside of it too.
    return any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}/*") for name in names for p in patterns)
