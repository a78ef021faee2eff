"""Open the folders and the study of a search: begin, resume, join or overwrite it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from ..storage import STUDY_FILE, Mode, SearchFolders, check_same, redacted, storage_label, storage_session
from .attributes import HEARTBEAT_ATTRIBUTE, OWNER_ATTRIBUTE
from .heartbeat import STALE_SECONDS, Liveness, is_local

SETTINGS_ATTRIBUTE = "settings"


def open_folders(
    folders: SearchFolders,
    settings: Mapping[str, Any],
    storage: str | Path | BaseStorage | None,
    study_name: str,
    mode: Mode,
) -> None:
    """Create the folders, or check that they hold the search to resume.

    Raises:
        InitxError: If the folders or the storage hold anything other than what the mode allows.
    """
    if mode == "overwrite":
        check_not_running(storage, folders.results, study_name)
    if storage is None:
        folders.open(settings, mode)
        return
    # Another machine may have begun the study: the storage then has it, but the folder is new here.
    has_study = check_study(storage, study_name, settings, mode)
    in_folder: Mode = "join" if has_study and mode == "resume" else mode
    folders.open(settings, in_folder, lambda: remove_study(storage, study_name))


def check_study(
    storage: str | Path | BaseStorage, name: str, settings: Mapping[str, Any], mode: Mode
) -> bool:
    """Return whether a search resumes a study that the user's storage contains; change nothing.

    Args:
        storage: A URL, a journal file or an Optuna storage.
        name: The study's name.
        settings: The settings of the new search.
        mode: What may become of the study.

    Raises:
        InitxError: The study exists and the mode is "new", or it began with other settings.
    """
    with storage_session(storage) as backend:
        if mode == "overwrite" or name not in optuna.get_all_study_names(backend):
            return False
        if mode == "new":
            url = redacted(storage)
            allowed = f"a storage without a study named {name!r}"
            remedy = 'Pass mode="resume" to continue it, mode="overwrite" to replace it, or another folder.'
            problem = f"`storage` {url!r} already contains a study named {name!r}"
            raise InitxError("storage", url, allowed, remedy, problem)
        study = optuna.load_study(study_name=name, storage=backend)
        stored = study.user_attrs.get(SETTINGS_ATTRIBUTE)
    if stored is not None:
        check_same(stored, settings)
    return True


def check_not_running(storage: str | Path | BaseStorage | None, folder: Path, name: str) -> None:
    """Raise an `InitxError` if a process is running a trial of the study that is about to be removed.

    Args:
        storage: As in `open_storage`.
        folder: The results folder.
        name: The study's name; any, for the study in the folder.
    """
    if storage is None and not (folder / STUDY_FILE).is_file():
        return
    running: list[FrozenTrial] = []
    # Nothing runs in a file that cannot be opened. If the user named the storage, it was refused earlier.
    with suppress(InitxError), storage_session(storage, folder, read_only=True) as backend:
        names = [n for n in optuna.get_all_study_names(backend) if storage is None or n == name]
        studies = [optuna.load_study(study_name=n, storage=backend) for n in names]
        running = [t for study in studies for t in study.get_trials(states=[TrialState.RUNNING])]
    for trial in running:
        if _is_running(trial):
            owner = trial.user_attrs.get(OWNER_ATTRIBUTE) or {}
            label = storage_label(storage, folder)
            process = f"process {owner.get('pid', '?')} on {owner.get('host', 'this machine')}"
            problem = f'mode="overwrite" would remove a running search: {process} trains trial {trial.number}'
            remedy = f'Stop it first, join it with mode="join", or pass another folder than {str(folder)!r}.'
            raise InitxError("mode", label, "another mode while the search is running", remedy, problem)


def _is_running(trial: FrozenTrial) -> bool:
    if Liveness().is_stale(trial):
        return False
    owner = trial.user_attrs.get(OWNER_ATTRIBUTE)
    if owner is None or is_local(owner):
        return True
    # A single look at another machine's trial sees its last sign of life, by that machine's clock.
    begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    last = max(begun, float(trial.user_attrs.get(HEARTBEAT_ATTRIBUTE, 0.0)))
    return time.time() - last < 2 * STALE_SECONDS


def remove_study(storage: str | Path | BaseStorage, name: str) -> None:
    """Delete the study with that name from the user's storage, if it is there."""
    with storage_session(storage) as backend:
        if name in optuna.get_all_study_names(backend):
            optuna.delete_study(study_name=name, storage=backend)
