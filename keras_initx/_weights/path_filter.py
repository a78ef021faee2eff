"""Select weights by patterns of layer and weight paths."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from keras_initx.errors import InitxError

# Paths that an error lists.
_LISTED = 4


class PathFilter:
    """The weights that match `only` and do not match `skip`.

    Args:
        only: A pattern with * and ?, or several; None matches all weights.
        skip: A pattern or several of weights to exclude.

    Raises:
        InitxError: If a pattern is not a string.
    """

    def __init__(
        self, only: str | Sequence[str] | None = None, skip: str | Sequence[str] | None = None
    ) -> None:
        self._only = None if only is None else _patterns("only", only)
        self._skip = [] if skip is None else _patterns("skip", skip)

    @property
    def is_only(self) -> bool:
        """Return whether the weights to draw are named."""
        return self._only is not None

    def matches(self, names: Sequence[str]) -> bool:
        """Return whether a weight is selected, given its path and the names of all layers around it."""
        included = self._only is None or _match(self._only, names)
        return included and not _match(self._skip, names)

    def check(self, drawn: Iterable[Sequence[str]], others: Iterable[Sequence[str]] = ()) -> None:
        """Raise an `InitxError` for a pattern that matches no weight, or none that it can apply to.

        Args:
            drawn: The names of each weight that may be drawn; `only` must match one of them.
            others: The names of further weights, which `skip` may match to protect them.
        """
        drawn, others = list(drawn), list(others)
        protectable = [*drawn, *others]
        for argument, patterns, weights in (
            ("only", self._only or [], drawn),
            ("skip", self._skip, protectable),
        ):
            for pattern in patterns:
                if any(_match([pattern], names) for names in weights):
                    continue
                undrawn = next((names[0] for names in others if _match([pattern], names)), None)
                if undrawn is not None:
                    raise _not_drawn(pattern, undrawn, [names[0] for names in drawn])
                raise _no_match(argument, pattern, sorted({name for names in drawn for name in names}))

    def nothing_left(self) -> InitxError:
        """Return the error for patterns that leave no weight to draw."""
        skip = ", ".join(map(repr, self._skip))
        that = " that only= names" if self.is_only else ""
        return InitxError(
            "skip",
            self._skip,
            "patterns that leave a weight to draw",
            "Name fewer weights.",
            f"`skip={skip}` excludes every weight{that}",
        )


def _not_drawn(pattern: str, path: str, drawn: list[str]) -> InitxError:
    nearest = get_close_matches(path, drawn, n=_LISTED, cutoff=0) or drawn[:_LISTED]
    return InitxError(
        "only",
        pattern,
        "a pattern that matches a weight to draw",
        f"Nearest weights to draw: {', '.join(nearest)}.",
        f"`only={pattern!r}` matches only weights that are not drawn here, such as {path}",
    )


def _no_match(argument: str, pattern: str, known: list[str]) -> InitxError:
    nearest = get_close_matches(pattern, known, n=1)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    listed = f"{', '.join(known[:_LISTED])}{more}"
    return InitxError(
        argument,
        pattern,
        "a pattern that matches the path of a layer with a kernel, or of a kernel",
        f"Did you mean {nearest[0]!r}?" if nearest else f"Layers and weights: {listed}.",
        f"`{argument}={pattern!r}` matches no layer and no weight",
    )


def _patterns(argument: str, value: str | Sequence[str]) -> list[str]:
    patterns = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not patterns or not all(isinstance(p, str) for p in patterns):
        raise InitxError(argument, value, "a pattern of layer paths, or a list of patterns")
    return patterns


def _match(patterns: Sequence[str], names: Sequence[str]) -> bool:
    # The pattern of a layer also matches the layers inside it.
    return any(fnmatchcase(name, p) or fnmatchcase(name, f"{p}/*") for name in names for p in patterns)
