"""The study of a search that has been run, or is running: by its folder, or by where it is kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage

from keras_initx.errors import InitxError

from ..keras_tuner_import import ORACLE_FILE, is_keras_tuner_folder, nested_folder_hint, read_keras_tuner
from ..storage import JOURNAL_SUFFIX, SETTINGS, STUDY_FILE, redacted, storage_session


def is_storage(source: str | Path) -> bool:
    """Whether `source` says where studies are kept, and is no folder of a search."""
    return "://" in str(source) or str(source).endswith(JOURNAL_SUFFIX)


@contextmanager
def found_study(
    source: str | Path,
    storage: str | Path | BaseStorage | None = None,
    study_name: str | None = None,
    argument: str = "results",
) -> Iterator[optuna.Study]:
    """The study of a search for a moment; nothing is made where there is none.

    Args:
        source: The folder of a search, or of KerasTuner's, which is read in memory; or a storage itself, as
            a URL or a journal file.
        storage: Where the study of that folder is kept, as in `search`. None is the `study.db` of the folder,
            or what its settings tell (they tell no password).
        study_name: Which study of the storage; None is the one that has the name of the folder, and of a
            storage without a folder the only one.
        argument: What the caller's `source` is called in an error.

    Raises:
        InitxError: No search there, or several to choose from; a storage that cannot be opened; a `storage`
            beside a `source` that is one.
    """
    folder = Path(source)
    if is_storage(source):
        if storage is not None:
            allowed = f"None, since {argument} is a storage itself"
            raise InitxError("storage", _shown(storage), allowed)
        storage, name = str(source), study_name
    else:
        if storage is None:
            storage = _told_by_settings(folder)
        if storage is None and not (folder / STUDY_FILE).is_file():
            if is_keras_tuner_folder(folder):
                yield read_keras_tuner(folder)
                return
            allowed = (
                f"the folder of a search, with its {STUDY_FILE}, or of KerasTuner's, with its {ORACLE_FILE}"
            )
            raise InitxError(argument, str(folder), allowed, nested_folder_hint(folder))
        name = study_name or (None if storage is None else folder.resolve().name)
    if storage is not None:
        _check_there(storage)
    with storage_session(storage, folder) as found:
        names = optuna.get_all_study_names(found)
        # In the folder's own file there is one.
        name = name or (names[0] if len(names) == 1 or (names and storage is None) else None)
        if name is None or name not in names:
            _refuse(argument, source, study_name, names)
        yield optuna.load_study(study_name=name, storage=found)


def _refuse(argument: str, source: str | Path, study_name: str | None, names: list[str]) -> None:
    several = ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    if study_name is not None or (is_storage(source) and names):
        raise InitxError("study_name", study_name, f"a study of that storage: {several or 'it has none'}")
    if is_storage(source):
        raise InitxError(argument, redacted(source), "a storage with a study", "There is none in it.")
    allowed = f"the folder of a search in that storage, such as {several or 'none'}"
    raise InitxError(argument, str(source), allowed)


def _told_by_settings(folder: Path) -> Any:
    if (folder / SETTINGS).is_file():
        with suppress(ValueError):
            return json.loads((folder / SETTINGS).read_text(encoding="utf-8")).get("storage")
    return None


def _check_there(storage: str | Path | BaseStorage) -> None:
    """Raises an `InitxError` for a file that is not there: to open it would make it."""
    if isinstance(storage, BaseStorage):
        return
    path: str | None = str(storage)
    if not str(storage).endswith(JOURNAL_SUFFIX):
        try:
            url = sqlalchemy.make_url(str(storage))
        except sqlalchemy.exc.ArgumentError:
            # What is no URL is for `open_storage` to say.
            return
        path = url.database if url.get_backend_name() == "sqlite" else None
    # A path of the kind "file:" is for SQLite to read.
    if path and not path.startswith("file:") and not Path(path).is_file():
        raise InitxError("storage", _shown(storage), "a file that is there")


def _shown(storage: str | Path | BaseStorage) -> str:
    return str(redacted(storage))
