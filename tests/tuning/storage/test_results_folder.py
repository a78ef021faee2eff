"""Test that a user's files are never overwritten, and that a resumed search keeps its settings."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning.storage.results_folder import SearchFolders

from tests.support.search_folders import LOGS, SETTINGS, content, refused, write

pytestmark = pytest.mark.one_backend


class TestNew:
    def test_both_folders_are_created(self, folders: SearchFolders) -> None:
        assert folders.open(SETTINGS) is False
        assert json.loads((folders.results / "settings.json").read_text()) == json.loads(json.dumps(SETTINGS))
        assert folders.logs.is_dir()

    def test_an_empty_folder_is_accepted(self, folders: SearchFolders) -> None:
        folders.results.mkdir(parents=True)
        folders.logs.mkdir()
        assert folders.open(SETTINGS, "overwrite") is False

    def test_an_empty_folder_for_logs_within_may_be_there(self, tmp_path: Path) -> None:
        # A process that was killed, or that starts at the same time, has created it.
        folders = SearchFolders(tmp_path / "results", tmp_path / "results" / "logs")
        folders.logs.mkdir(parents=True)
        assert folders.open(SETTINGS, "join") is False

    def test_logs_of_other_programs_may_be_there(self, folders: SearchFolders) -> None:
        write(folders.logs, "another/events.out.tfevents.1.v2")
        folders.open(SETTINGS)
        assert list(content(folders.logs)) == ["another/events.out.tfevents.1.v2"]

    def test_nothing_to_resume(self, folders: SearchFolders, tmp_path: Path) -> None:
        error = refused(folders, tmp_path, mode="resume")
        assert error.argument == "results"
        assert str(error).startswith("Nothing to resume in ")
        assert 'Leave out mode="resume"' in str(error)
        assert not folders.results.exists()


class TestForeign:
    @pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
    @pytest.mark.parametrize("name", ["thesis.txt", "sub/thesis.txt", "settings.json", "study.db"])
    def test_files_in_the_results(self, folders: SearchFolders, tmp_path: Path, name: str, mode: Any) -> None:
        write(folders.results, name)
        if name == "settings.json":
            (folders.results / name).write_text('{"editor.fontSize": 12}')
        error = refused(folders, tmp_path, mode=mode)
        assert error.argument == "results"
        assert ("Nothing to resume" if mode == "resume" else "holds other files") in str(error)
        assert not folders.logs.exists()

    @pytest.mark.parametrize("text", ["{", "[1, 2]", '"text"', "\xff"])
    @pytest.mark.parametrize("mode", ["new", "resume", "overwrite"])
    def test_settings_that_no_search_wrote(
        self, folders: SearchFolders, tmp_path: Path, text: str, mode: Any
    ) -> None:
        folders.results.mkdir(parents=True)
        (folders.results / "settings.json").write_text(text, encoding="latin-1")
        assert refused(folders, tmp_path, mode=mode).argument == "results"

    def test_logs_of_another_search(self, folders: SearchFolders, tmp_path: Path) -> None:
        write(folders.logs, *LOGS)
        error = refused(folders, tmp_path, mode="overwrite")
        assert (error.argument, "the logs of another search" in str(error)) == ("logs", True)


class TestExisting:
    def test_needs_resume_or_overwrite(self, used: SearchFolders, tmp_path: Path) -> None:
        error = refused(used, tmp_path)
        assert 'mode="resume"' in str(error)
        assert 'mode="overwrite"' in str(error)

    def test_resume_changes_no_file(self, used: SearchFolders, tmp_path: Path) -> None:
        before = content(tmp_path)
        assert used.open(SETTINGS, "resume") is True
        assert content(tmp_path) == before

    def test_overwrite_removes_the_search(self, used: SearchFolders, tmp_path: Path) -> None:
        assert used.open({**SETTINGS, "epochs": 6}, "overwrite") is False
        assert list(content(tmp_path)) == ["deep/results/settings.json"]
        assert json.loads((used.results / "settings.json").read_text())["epochs"] == 6
        assert list(used.results.iterdir()) == [used.results / "settings.json"]
        assert list(used.logs.iterdir()) == []

    def test_overwrite_leaves_the_users_own_files(self, used: SearchFolders) -> None:
        theirs = [
            "notes.md",
            "plots/one.png",
            "trial_0000/notes.md",
            "trial_runs.csv",
            "best_model.keras.txt",
        ]
        write(used.results, *theirs)
        logs = ["notes.md", "trial_0000/events.out.tfevents.2.v2"]
        write(used.logs, *logs)
        (used.logs / "empty").mkdir()
        used.open(SETTINGS, "overwrite")
        assert sorted(content(used.results)) == sorted([*theirs, "settings.json"])
        assert sorted(content(used.logs)) == sorted(logs)
        assert (used.logs / "empty").is_dir()

    def test_overwrite_removes_nothing_behind_a_link(self, used: SearchFolders, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        write(elsewhere, "best_3.weights.h5", "trial.json", "deep/events.out.tfevents.1.v2.keras_initx")
        for folder in (used.results, used.logs):
            (folder / "trial_0099").symlink_to(elsewhere)
        (used.results / "results.json").unlink(missing_ok=True)
        (used.results / "results.json").symlink_to(elsewhere / "trial.json")
        before = content(elsewhere)
        used.open(SETTINGS, "overwrite")
        assert content(elsewhere) == before
        assert not (used.results / "results.json").is_symlink()

    def test_overwrite_removes_no_logs_behind_a_link(self, tmp_path: Path) -> None:
        results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
        folders = SearchFolders(results, results / "logs")
        folders.open(SETTINGS)
        write(elsewhere, *LOGS)
        folders.logs.rmdir()
        folders.logs.symlink_to(elsewhere)
        before = content(elsewhere)
        folders.open(SETTINGS, "overwrite")
        assert content(elsewhere) == before
        # The search did not write weights that lie behind a link, so it has lost no study.
        write(elsewhere, "best_1.weights.h5")
        (results / "trial_0000").symlink_to(elsewhere)
        folders.check_study_kept("study.db", 0)

    def test_partial_files_of_a_killed_process(self, used: SearchFolders) -> None:
        before = {name for name in content(used.results) if "partial" not in name}
        write(used.results, "partial.0f.results.json", "partial.0f.best_model.keras", "trial_0000/x.txt")
        write(used.results, "trial_0000/partial.0f.best_1.weights.h5", "partial.txt")
        used.remove_partial()
        assert content(used.results).keys() == {*before, "trial_0000/x.txt", "partial.txt"}


class TestUnusable:
    @pytest.mark.parametrize("which", ["results", "logs"])
    @pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
    def test_a_path_at_or_below_a_file(self, tmp_path: Path, which: str, below: str) -> None:
        write(tmp_path, "file")
        paths = {"results": tmp_path / "results", "logs": tmp_path / "logs", which: tmp_path / "file" / below}
        error = refused(SearchFolders(**paths), tmp_path)
        assert error.argument == which
        assert "is a file" in str(error)
        assert not (tmp_path / "results").exists()

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir(mode=0o500)
        error = refused(SearchFolders(tmp_path / "locked" / "results", tmp_path / "logs"), tmp_path)
        assert "Not writable" in str(error)
