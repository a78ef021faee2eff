"""Check for the study of an earlier search, and remove it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from keras_initx.errors import InitxError

from ..storage import check_same, redacted, storage_session

SETTINGS_ATTRIBUTE = "settings"


def check_study(
    storage: str | Path | BaseStorage, name: str, settings: Mapping[str, Any], resume: bool, overwrite: bool
) -> bool:
    """Return whether a search resumes a study that the user's storage contains; change nothing.

    Args:
        storage: A URL, a journal file or an Optuna storage.
        name: The study's name.
        settings: The settings of the new search.
        resume: Whether the new search may resume the study.
        overwrite: Whether the new search removes the study.

    Raises:
        InitxError: The study exists, without `resume` or `overwrite`, or began with other settings.
    """
    with storage_session(storage) as backend:
        if overwrite or name not in optuna.get_all_study_names(backend):
            return False
        if not resume:
            url = redacted(storage)
            allowed = f"a storage without a study named {name!r}"
            remedy = (
                "Pass resume=True to continue it, overwrite=True to replace it, or another results folder."
            )
            problem = f"`storage` {url!r} already contains a study named {name!r}"
            raise InitxError("storage", url, allowed, remedy, problem)
        study = optuna.load_study(study_name=name, storage=backend)
        stored = study.user_attrs.get(SETTINGS_ATTRIBUTE)
    if stored is not None:
        check_same(stored, settings)
    return True


def remove_study(storage: str | Path | BaseStorage, name: str) -> None:
    """Delete the study of that name from the user's storage, if it is there."""
    with storage_session(storage) as backend:
        if name in optuna.get_all_study_names(backend):
            optuna.delete_study(study_name=name, storage=backend)
