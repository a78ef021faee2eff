"""The folders of a search: nothing of the user's is overwritten, and a resumed search is the same search."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_initx import InitxError

from .json_files import write_json
from .settings import check_same

WEIGHT_FILES = "best_[0-9]*.weights.h5"
SETTINGS = "settings.json"
_OURS = "*.keras_initx"
# What tells our settings from any other file of that name.
_ALWAYS = frozenset({"version", "data", "space"})
# All that a search writes, besides its settings: the rest of the folder is the user's.
_WRITTEN = (
    "study.db*",
    "results.json",
    "best_model.keras",
    "oracle.json",
    "tuner*.json",
    "partial.*.json",
    "partial.*.keras",
    "worker_*.log",
    "search.log",
    f"trial_*/{WEIGHT_FILES}",
    f"trial_*/partial.*{WEIGHT_FILES}",
    "trial_*/trial.json",
)


@dataclass(frozen=True)
class Folders:
    """Where results and TensorBoard logs go.

    Args:
        results: The folder of the study, the weights, the settings and `results.json`.
        logs: The folder to open with TensorBoard.
    """

    results: Path
    logs: Path

    def open(
        self,
        settings: Mapping[str, Any],
        resume: bool,
        overwrite: bool,
        join: bool = False,
        remove: Callable[[], None] = lambda: None,
    ) -> bool:
        """Makes the folders ready for a search with these settings; returns whether it is a resumed one.

        With `join` it is resumed if it is there, and started if it is not. What else there is of a search
        that is overwritten is removed by `remove`, once nothing speaks against it.

        Raises:
            InitxError: A folder that cannot be written to; one that holds a search, without `resume`
                or `overwrite`; one that holds something else, whatever is asked; a resumed search with
                other settings than it had; both `resume` and `overwrite`. Nothing has changed then.
        """
        if (resume or join) and overwrite:
            raise InitxError("resume", "True with overwrite=True", "one of resume and overwrite")
        for argument, folder in self._both():
            _check_is_folder(argument, folder)
        earlier = self._earlier()
        if join:
            resume = earlier is not None
        if earlier is None:
            if resume:
                remedy = "Leave resume out to start one."
                raise InitxError("results", str(self.results), "a folder with a search in it", remedy)
            try:
                self._check_empty()
            except InitxError:
                if not join or self._earlier() is None:
                    raise
                # Another process has begun the search meanwhile.
                return self.open(settings, resume, overwrite, join, remove)
        elif resume:
            check_same(earlier, settings)
        elif not overwrite:
            remedy = "Pass resume=True to go on with it, overwrite=True to start again, or another folder."
            raise InitxError("results", str(self.results), "a folder without a search in it", remedy)
        self._make()
        if overwrite:
            remove()
            if earlier is not None:
                self._remove()
        write_json(self.results / SETTINGS, dict(settings))
        return earlier is not None and resume

    def check_study_kept(self, place: str, begun: int) -> None:
        """Raises an `InitxError` where there are weights of trials, and a study that has none.

        SQLite takes an empty file for a new database: all that it had would be run once more, in silence.
        """
        if not begun and any(self.results.glob(f"trial_*/{WEIGHT_FILES}")):
            allowed = f"the study of the trials in {self.results}"
            remedy = "It is empty or new: put a copy in its place, or pass overwrite=True to start again."
            raise InitxError("storage", place, allowed, remedy)

    def _both(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        return ("results", self.results), ("logs", self.logs)

    def _make(self) -> None:
        """Makes both folders, or neither: a file written there is the only proof that one can be."""
        made: list[Path] = []
        for argument, folder in self._both():
            try:
                missing = [p for p in (folder, *folder.parents) if not p.exists()]
                for parent in reversed(missing):
                    parent.mkdir()
                    made.append(parent)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                for path in reversed(made):
                    path.rmdir()
                allowed = "a folder that can be written to"
                raise InitxError(argument, str(folder), allowed, f"{error.strerror}.") from error

    def _earlier(self) -> dict[str, Any] | None:
        path = self.results / SETTINGS
        if not path.exists():
            return None
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            remedy = "It is damaged: put a copy of it in its place, delete the folder, or pass another one."
            raise InitxError("results", str(path), "a readable settings file", remedy) from error
        # Many programs have a settings.json: one that is not ours is a foreign file.
        return settings if isinstance(settings, dict) and settings.keys() >= _ALWAYS else None

    def _check_empty(self) -> None:
        if self.results.exists() and any(self.results.iterdir()):
            remedy = "Pass a new or an empty folder; this one holds files of yours."
            raise InitxError("results", str(self.results), "a folder without other files", remedy)
        if self.logs.exists() and any(self.logs.rglob(_OURS)):
            remedy = "Pass another folder, or delete this one."
            raise InitxError("logs", str(self.logs), "a folder without another search's logs", remedy)

    def _remove(self) -> None:
        """Removes the earlier search: only what searches write, so that a user's own file stays.

        The settings go last, when the new ones replace them: a folder half removed is still a search's.
        """
        for pattern in _WRITTEN:
            for path in sorted(self.results.glob(pattern)):
                path.unlink()
        for folder in sorted(self.results.glob("trial_*")):
            _remove_if_empty(folder)
        ours = sorted(self.logs.rglob(_OURS))
        for path in ours:
            path.unlink()
        for folder in sorted(
            {p for path in ours for p in path.parents if self.logs in p.parents}, reverse=True
        ):
            _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _check_is_folder(argument: str, folder: Path) -> None:
    try:
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    except OSError as error:
        raise InitxError(argument, str(folder), "the name of a folder", f"{error.strerror}.") from error
    if not existing.is_dir():
        raise InitxError(argument, str(folder), "a folder", f"{existing} is a file.")
