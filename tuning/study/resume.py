"""Check, resume and remove the study of an earlier search."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from keras_initx.errors import InitxError

from ..storage import check_same, opened, redacted

SETTINGS_ATTRIBUTE = "settings"


def check_study(
    storage: str | Path | BaseStorage, name: str, settings: Mapping[str, Any], go_on: bool, overwrite: bool
) -> bool:
    """Whether a storage of the user's has the study of that name already; changes nothing.

    Raises:
        InitxError: There is one, without `go_on` or `overwrite`; it began with other settings.
    """
    with opened(storage) as found:
        if overwrite or name not in optuna.get_all_study_names(found):
            return False
        if not go_on:
            allowed = f"one without a study called {name!r}"
            remedy = (
                "Pass resume=True to go on with it, overwrite=True to start again, or another results folder."
            )
            raise InitxError("storage", redacted(storage), allowed, remedy)
        earlier = optuna.load_study(study_name=name, storage=found).user_attrs.get(SETTINGS_ATTRIBUTE)
    if earlier is not None:
        check_same(earlier, settings)
    return True


def remove_study(storage: str | Path | BaseStorage, name: str) -> None:
    """Deletes the study of that name from a storage of the user's, if it is there."""
    with opened(storage) as found:
        if name in optuna.get_all_study_names(found):
            optuna.delete_study(study_name=name, storage=found)
