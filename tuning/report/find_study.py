"""Find the study of a search, finished or running, by its folder or by its storage."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from keras_initx.errors import InitxError

from ..keras_tuner_import import ORACLE_FILE, is_keras_tuner_folder, nested_folder_hint, read_keras_tuner
from ..storage import JOURNAL_SUFFIX, SETTINGS, STUDY_FILE, file_of, redacted, storage_session


def is_storage(source: str | Path) -> bool:
    """Return whether `source` is a storage (a URL or a journal file) rather than the folder of a search."""
    return "://" in str(source) or str(source).endswith(JOURNAL_SUFFIX)


def contains_study(source: str | Path) -> bool:
    """Return whether `source` leads to a study by itself: it is a storage, or a folder with a `study.db`."""
    return is_storage(source) or (Path(source) / STUDY_FILE).is_file()


@contextmanager
def find_study(
    source: str | Path,
    storage: str | Path | BaseStorage | None = None,
    study_name: str | None = None,
    argument: str = "results",
) -> Iterator[optuna.Study]:
    """Open the study of a search for reading inside a `with` block; nothing is created or changed.

    Args:
        source: The folder of a search; the project folder of a KerasTuner search, which is read into
            memory; or a storage, as a URL or a journal file.
        storage: Where the study of the folder is kept, as in `search`. None means the folder's `study.db`,
            or the file in the folder that its settings name.
        study_name: The name of the study. None means the study named after the folder, or, for a storage
            without a folder, its only study.
        argument: The name of the caller's `source` for error messages.

    Raises:
        InitxError: If there is no search, or several to choose from; if the storage cannot be opened; if
            `storage` is given although `source` is a storage, or missing although the folder's settings name
            one outside the folder. A folder from elsewhere opens no other file and no connection.
    """
    folder = Path(source)
    if is_storage(source):
        if storage is not None:
            allowed = f"None, since `{argument}` is a storage itself"
            raise InitxError("storage", _shown(storage), allowed)
        storage, name = str(source), study_name
    else:
        if storage is None:
            storage = _storage_in_settings(folder, argument)
        if storage is None and not (folder / STUDY_FILE).is_file():
            if is_keras_tuner_folder(folder):
                yield read_keras_tuner(folder)
                return
            allowed = (
                f"the folder of a search, which contains {STUDY_FILE}, or of a KerasTuner search, which "
                f"contains {ORACLE_FILE}"
            )
            raise InitxError(argument, str(folder), allowed, nested_folder_hint(folder))
        name = study_name or (None if storage is None else folder.resolve().name)
    if storage is not None:
        _check_exists(storage)
    with storage_session(storage, folder, read_only=True) as backend:
        names = optuna.get_all_study_names(backend)
        # The file in the folder of a search contains one study, whatever its name.
        name = name or (names[0] if len(names) == 1 or (names and storage is None) else None)
        if name is None or name not in names:
            raise _unknown_study(argument, source, study_name, names)
        yield optuna.load_study(study_name=name, storage=backend)


def _unknown_study(argument: str, source: str | Path, study_name: str | None, names: list[str]) -> InitxError:
    """Return the error for a study that the storage does not contain."""
    known = ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    if study_name is not None or (is_storage(source) and names):
        allowed = f"a study of the storage ({known})" if names else "None: the storage contains no study"
        return InitxError("study_name", study_name, allowed)
    if is_storage(source):
        return InitxError(argument, redacted(source), "a storage that contains a study")
    allowed = f"a folder named after a study of its storage ({known or 'which contains none'})"
    return InitxError(argument, str(source), allowed)


def _storage_in_settings(folder: Path, argument: str) -> str | None:
    """Return the storage in the settings of a search; None if they name none.

    Raises:
        InitxError: It is not in the folder.
    """
    settings: Any = None
    if (folder / SETTINGS).is_file():
        with suppress(ValueError):
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    storage = settings.get("storage") if isinstance(settings, dict) else None
    if storage is None or (folder / STUDY_FILE).is_file():
        return None
    path = file_of(str(storage))
    if path is not None and Path(path).resolve().is_relative_to(folder.resolve()):
        return str(storage)
    problem = f"`{argument}` {str(folder)!r} is a search whose study is kept in {redacted(str(storage))!r}"
    remedy = "A storage outside the folder is opened only if you name it: pass it as `storage` as well."
    raise InitxError(argument, str(folder), "a folder that contains its study", remedy, problem)


def _check_exists(storage: str | Path | BaseStorage) -> None:
    """Raise an `InitxError` for a file that does not exist: opening it would create it."""
    path = None if isinstance(storage, BaseStorage) else file_of(str(storage))
    # SQLite itself interprets a path that starts with "file:".
    if path and not path.startswith("file:") and not Path(path).is_file():
        raise InitxError("storage", _shown(storage), "an existing file")


def _shown(storage: str | Path | BaseStorage) -> str:
    return str(redacted(storage))
