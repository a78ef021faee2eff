"""Open the folders of a search without overwriting a user's files or mixing two searches."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from keras_initx import InitxError

from .json_files import write_json
from .settings import check_same

# What becomes of a search that is in the folder already.
Mode: TypeAlias = Literal["new", "resume", "overwrite", "join"]

WEIGHT_FILES = "best_[0-9]*.weights.h5"
SETTINGS = "settings.json"
_LOG_FILES = "*.keras_initx"
# Other programs write a settings.json as well: ours always has these keys.
_REQUIRED_KEYS = frozenset({"version", "data", "space"})
# The file of KerasTuner's oracles, and what it says where ours is the oracle.
_ORACLE_FILE = "oracle.json"
_NOTE = "The trials are in an Optuna study of keras-initx."
# What `atomic_write` leaves of these files if the process is killed.
_PARTIAL_FILES = ("partial.*.json", "partial.*.keras", f"trial_*/partial.*{WEIGHT_FILES}")
# Every file that a search writes, besides its settings. All others in the folder belong to the user.
_RESULT_FILES = (
    "study.db*",
    "results.json",
    "best_model.keras",
    _ORACLE_FILE,
    "tuner*.json",
    "worker_*.log",
    "search.log",
    f"trial_*/{WEIGHT_FILES}",
    "trial_*/trial.json",
    *_PARTIAL_FILES,
)


@dataclass(frozen=True)
class SearchFolders:
    """The folders that a search writes its results and its TensorBoard logs to.

    Args:
        results: The folder of the study, the weights, the settings and `results.json`.
        logs: The folder to open with TensorBoard.
    """

    results: Path
    logs: Path

    def open(
        self,
        settings: Mapping[str, Any],
        mode: Mode = "new",
        remove: Callable[[], None] = lambda: None,
    ) -> bool:
        """Prepare the folders for a search with these settings; return whether it is resumed.

        Args:
            settings: The settings of the search, written to `settings.json`.
            mode: "new", "resume" (continue the search in the folders), "overwrite" (remove it first) or
                "join" (continue it if there is one, and start one otherwise).
            remove: Removes what an overwritten search stored elsewhere. It is called after all checks.

        Raises:
            InitxError: A folder cannot be written to; it holds a search, and the mode is "new"; it holds
                other files, whatever the mode; or a resumed search has other settings than before. No file
                has changed.
        """
        for argument, folder in self._by_argument():
            _check_is_folder(argument, folder)
        earlier = settings_in(self.results)
        if earlier is None:
            if mode == "resume":
                problem = f"Nothing to resume in {str(self.results)!r}"
                remedy = 'Leave out mode="resume" to start a new search there.'
                raise InitxError("results", str(self.results), "a folder with a search", remedy, problem)
            try:
                self._check_empty()
            except InitxError:
                if mode != "join" or settings_in(self.results) is None:
                    raise
                # Another process has started the search since the check above.
                return self.open(settings, mode, remove)
        elif mode in ("resume", "join"):
            check_same(earlier, settings)
        elif mode == "new":
            problem = f"`results` {str(self.results)!r} already holds a search"
            remedy = 'Pass mode="resume" to continue it, mode="overwrite" to start again, or another folder.'
            raise InitxError("results", str(self.results), "a folder without a search", remedy, problem)
        self._create()
        if mode == "overwrite":
            remove()
            if earlier is not None:
                self._remove_search()
        write_json(self.results / SETTINGS, dict(settings))
        return earlier is not None and mode in ("resume", "join")

    def check_study_kept(self, label: str, trials: int) -> None:
        """Raise an `InitxError` if the folder has weights of trials but the study has no trials.

        SQLite takes an empty file for a new database: without this check, a search whose database was
        lost would silently run every trial again.

        Args:
            label: The storage as errors may name it.
            trials: The number of trials in the study.
        """
        if not trials and _without_links(self.results, f"trial_*/{WEIGHT_FILES}"):
            problem = f"`storage` {label!r} is empty, but {self.results} has the weights of its trials"
            allowed = f"the study of the trials in {self.results}"
            remedy = 'Restore a copy of it, or pass mode="overwrite" to start again.'
            raise InitxError("storage", label, allowed, remedy, problem)

    def remove_partial(self) -> None:
        """Remove the files that a process was writing when it was killed; none may be writing now."""
        for pattern in _PARTIAL_FILES:
            for path in _without_links(self.results, pattern):
                path.unlink(missing_ok=True)

    def _by_argument(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        return ("results", self.results), ("logs", self.logs)

    def _create(self) -> None:
        """Create both folders or neither; write a temporary file, the only proof that writing works."""
        created: list[Path] = []
        for argument, folder in self._by_argument():
            try:
                missing = [p for p in (folder, *folder.parents) if not p.exists()]
                for parent in reversed(missing):
                    parent.mkdir()
                    created.append(parent)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                for path in reversed(created):
                    path.rmdir()
                problem = f"`{argument}` {str(folder)!r} cannot be written to: {error.strerror}"
                allowed, remedy = "a folder that can be written to", "Make it writable, or pass another one."
                raise InitxError(argument, str(folder), allowed, remedy, problem) from error

    def _check_empty(self) -> None:
        # Another process may have created the folder for the logs, but not the settings yet.
        within = (self.logs, *self.logs.parents)
        if self.results.exists() and any(path not in within for path in self.results.iterdir()):
            problem = f"`results` {str(self.results)!r} holds other files"
            remedy = "Pass a new or an empty folder."
            raise InitxError("results", str(self.results), "a folder without other files", remedy, problem)
        if self.logs.exists() and any(self.logs.rglob(_LOG_FILES)):
            problem = f"`logs` {str(self.logs)!r} holds the logs of another search"
            remedy = "Pass another folder, or delete this one."
            raise InitxError("logs", str(self.logs), "a folder without a search's logs", remedy, problem)

    def _remove_search(self) -> None:
        """Remove the files that the earlier search wrote, and none of the user's.

        The settings stay until the new ones replace them: if the removal is interrupted, the folder is
        still recognized as a search's.
        """
        for pattern in _RESULT_FILES:
            for path in _without_links(self.results, pattern):
                path.unlink()
        for folder in sorted(self.results.glob("trial_*")):
            _remove_if_empty(folder)
        root = self.results if self.results in self.logs.parents else self.logs
        log_files = _without_links(self.logs, f"**/{_LOG_FILES}", root)
        for path in log_files:
            path.unlink()
        folders = {p for path in log_files for p in path.parents if self.logs in p.parents}
        for folder in sorted(folders, reverse=True):
            _remove_if_empty(folder)


def settings_in(results: Path) -> dict[str, Any] | None:
    """Return the settings of the search in a folder, or None without one.

    Raises:
        InitxError: The file cannot be read.
    """
    path = results / SETTINGS
    if not path.exists():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        problem = f"`results` {str(results)!r}: {path} is damaged"
        remedy = "Restore a copy of that file, delete the folder, or pass another one."
        raise InitxError("results", str(path), "a readable settings file", remedy, problem) from error
    return settings if isinstance(settings, dict) and settings.keys() >= _REQUIRED_KEYS else None


def check_no_keras_tuner(folder: Path) -> None:
    """Raise an `InitxError` if a folder has a search of KerasTuner, whose trials would mix with ours."""
    path = folder / _ORACLE_FILE
    if path.is_file() and _NOTE not in path.read_text(encoding="utf-8", errors="replace"):
        problem = f"`project_name` {folder.name!r} already contains a KerasTuner search, in {folder}"
        remedy = "Pass another `project_name`, or `overwrite=True` to delete that search."
        raise InitxError("project_name", folder.name, "the name of a new project", remedy, problem)


def keep_keras_tuner_out(folder: Path) -> None:
    """Make KerasTuner's oracles refuse a folder whose trials are in a study, which they cannot read.

    They raise a `RuntimeError` if something is missing in their file.
    """
    path = folder / _ORACLE_FILE
    if not path.exists():
        write_json(path, {"note": _NOTE})


def _without_links(folder: Path, pattern: str, root: Path | None = None) -> list[Path]:
    """Return the files that match a pattern, except those behind a link, which the search did not write.

    Links count below `root`, the folder that the user named; by default that is `folder`.
    """
    named = root or folder

    def is_below_a_link(path: Path) -> bool:
        return any(p.is_symlink() for p in path.parents if named in p.parents)

    return sorted(path for path in folder.glob(pattern) if not is_below_a_link(path))


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _check_is_folder(argument: str, folder: Path) -> None:
    try:
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    except OSError as error:
        problem = f"`{argument}` {str(folder)!r} cannot be used: {error.strerror}"
        raise InitxError(argument, str(folder), "the name of a folder", problem=problem) from error
    if not existing.is_dir():
        problem = f"`{argument}` {str(folder)!r} must be a folder, but {existing} is a file"
        raise InitxError(argument, str(folder), "a folder", problem=problem)
