"""Compare the settings of a resumed search with those that it began with."""

import json
from collections.abc import Mapping
from typing import Any

from keras_initx import InitxError

# What makes no other search: how much of it is run, by which version, and how the storage is written.
_MAY_CHANGE = frozenset({"trials", "extra_seeds", "version", "storage"})


def check_same(earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises an `InitxError` where a search goes on with other settings than it began with."""
    # A search may be given more trials; whatever else differs would mix two experiments.
    plain = json.loads(json.dumps(dict(settings)))
    if (kept := earlier.get("storage")) != plain.get("storage") and None in (kept, plain.get("storage")):
        given = "none, which is study.db in the results" if kept is None else repr(kept)
        raise InitxError("storage", plain.get("storage"), f"{given}, where the search was begun")
    for name in sorted(earlier.keys() | plain.keys()):
        if name not in _MAY_CHANGE and earlier.get(name) != plain.get(name):
            received, allowed = _difference(earlier.get(name), plain.get(name))
            remedy = (
                "Give the options that the search began with (only trials and extra seeds may change), "
                "or another folder."
            )
            raise InitxError(name, received, f"{allowed}, as the search began", remedy)


def _difference(earlier: Any, now: Any) -> tuple[Any, str]:
    """What two settings differ in: of two spaces, the hyperparameters that are not the same."""
    if not (isinstance(earlier, dict) and isinstance(now, dict)):
        return now, repr(earlier)

    def told(space: dict[str, Any], name: str) -> str:
        if name not in space:
            return f"{name} is no hyperparameter"
        keys = ("values", "value", "min_value", "max_value", "step", "sampling")
        found = {key: space[name][key] for key in keys if space[name].get(key) is not None}
        values = found.pop("values", None)
        return f"{name} of {values}" if values else f"{name} with {found}"

    names = [name for name in sorted(earlier.keys() | now.keys()) if earlier.get(name) != now.get(name)]
    return "; ".join(told(now, n) for n in names), "; ".join(told(earlier, n) for n in names)
