"""Compare the settings of a resumed search with those that it began with."""

import json
from collections.abc import Mapping
from typing import Any

from keras_initx import InitxError

# These do not change the experiment: how much of it to run, the library's version, the storage's spelling.
_MAY_CHANGE = frozenset({"trials", "extra_seeds", "version", "storage"})


def check_same(earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise an `InitxError` unless a search is resumed with the settings that it began with.

    More trials and more extra seeds are allowed; any other change would mix two experiments.
    """
    plain = json.loads(json.dumps(dict(settings)))
    stored, storage = earlier.get("storage"), plain.get("storage")
    if stored != storage and None in (stored, storage):
        allowed = "None (study.db in the results folder)" if stored is None else repr(stored)
        raise InitxError("storage", storage, f"{allowed}, as when the search began")
    for name in sorted(earlier.keys() | plain.keys()):
        before, now = earlier.get(name), plain.get(name)
        # Searches did not always store the arguments of `fit`.
        is_new = name == "fit" and name not in earlier
        if name not in _MAY_CHANGE and not is_new and before != now:
            remedy = (
                "Pass the options that the search began with (only trials and extra_seeds may change), "
                "or another folder."
            )
            allowed, problem = f"{before!r}, as when the search began", ""
            if name == "space" and isinstance(before, dict) and isinstance(now, dict):
                allowed, now = _changed_hyperparameters(before, now)
                problem = f"`{name}` must not change during a search: it had {allowed}, and now has {now}"
            raise InitxError(name, now, allowed, remedy, problem)


def _changed_hyperparameters(earlier: dict[str, Any], now: dict[str, Any]) -> tuple[str, str]:
    """Return the hyperparameters in which two search spaces differ, described in each of the two."""
    names = [name for name in sorted(earlier.keys() | now.keys()) if earlier.get(name) != now.get(name)]
    return "; ".join(_describe(earlier, n) for n in names), "; ".join(_describe(now, n) for n in names)


def _describe(space: dict[str, Any], name: str) -> str:
    if name not in space:
        return f"no hyperparameter {name}"
    keys = ("values", "value", "min_value", "max_value", "step", "sampling")
    config = {key: space[name][key] for key in keys if space[name].get(key) is not None}
    values = config.pop("values", None)
    return f"{name} of {values}" if values else f"{name} with {config}"
