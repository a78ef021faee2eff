"""Test which study a folder or a storage leads to."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from keras_initx.tuning import contains_study, write_report
from keras_initx.tuning.report.find_study import find_study
from keras_initx.tuning.storage import open_storage
from optuna.exceptions import StorageInternalError

from keras_initx import InitxError
from tests.support.report_page import ALL, Page, folder_of

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_a_storage_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, *ALL)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{folder / 'study.db'}"
    assert contains_study(url)
    assert contains_study(folder)
    assert not contains_study(tmp_path)
    assert write_report(url) == Path("report.html")
    assert Page(tmp_path / "report.html").table("reason")["2"][0] == "screened"
    optuna.create_study(storage=url, study_name="other")
    with pytest.raises(
        InitxError, match=r"^`study_name` must be a study of the storage \(keras-initx, other\), got None\."
    ):
        write_report(url)
    assert "No trial has begun." in Page(write_report(url, study_name="other")).text
    # A study can be named after a folder and be kept elsewhere.
    (tmp_path / "other").mkdir()
    assert write_report("other", storage=url) == Path("other/report.html")
    assert "No trial has begun." in Page(Path("other/report.html")).text
    with pytest.raises(InitxError, match=r"^`storage` must be None, since `source` is a storage itself, got"):
        write_report(url, storage=url)


@pytest.mark.parametrize("url", ["sqlite:///missing.db", "missing.journal"])
def test_nothing_is_created_for_a_storage_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InitxError, match=r"^`storage` must be an existing file, got .*missing"):
        write_report(url)
    with pytest.raises(
        InitxError,
        match=r"^`source` must be the folder of a search, which contains study\.db, .*, got 'nowhere'",
    ):
        write_report("nowhere")
    assert not list(tmp_path.iterdir())


class TestReadOnly:
    def test_a_report_changes_no_byte_of_a_study(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, *ALL)
        before = (folder / "study.db").read_bytes()
        with find_study(folder) as study:
            with pytest.raises(StorageInternalError) as caught:
                study.set_user_attr("mine", 1)
            assert "readonly database" in str(caught.value.__cause__)
        assert (folder / "study.db").read_bytes() == before

    def test_a_study_whose_process_was_killed_while_it_wrote(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, *ALL)
        folders = [folder, tmp_path / "killed"]
        with closing(sqlite3.connect(folder / "study.db", isolation_level=None)) as database:
            # With so small a cache, SQLite writes to the file before the transaction ends.
            database.execute("pragma cache_size = 1")
            database.execute("begin")
            database.execute("delete from trial_user_attributes")
            shutil.copytree(*folders)
            database.execute("rollback")
        assert (folders[1] / "study.db-journal").is_file()
        before, after = ((f / "study.db").read_bytes() for f in folders)
        assert before != after
        tables = [Page(write_report(f)).tables for f in folders]
        assert tables[0] == tables[1]
        assert (folders[1] / "study.db").read_bytes() == after

    def test_no_table_is_created_in_a_database_of_something_else(self, tmp_path: Path) -> None:
        path = tmp_path / "of ours.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("create table mine (a integer)")
        before = path.read_bytes()
        with pytest.raises(InitxError, match=r"^`storage` .*cannot be opened: no such table: "):
            write_report(f"sqlite:///{path}", tmp_path / "report.html")
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        "storage", ["sqlite:///{}/other.db", "{}/other.journal", "mysql://me:secret@host/d"]
    )
    def test_settings_lead_to_nothing_outside_their_folder(self, tmp_path: Path, storage: str) -> None:
        storage = storage.format(tmp_path)
        if "host" not in storage:
            optuna.create_study(storage=open_storage(storage, tmp_path), study_name="search")
        folder = tmp_path / "search"
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps({"storage": storage}))
        with pytest.raises(
            InitxError, match=r"study is kept in .*(other|host).* pass it as `storage`"
        ) as caught:
            write_report(folder)
        assert "secret" not in str(caught.value)
        if "host" not in storage:
            assert write_report(folder, storage=storage).is_file()

    def test_settings_lead_to_a_file_in_their_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "search"
        folder.mkdir()
        journal = str(folder / "own.journal")
        optuna.create_study(storage=open_storage(journal, folder), study_name="search")
        (folder / "settings.json").write_text(json.dumps({"storage": journal}))
        assert write_report(folder).is_file()

    @pytest.mark.parametrize("settings", ["[]", "3", "null", "{"])
    def test_settings_that_are_no_settings(self, tmp_path: Path, settings: str) -> None:
        (tmp_path / "settings.json").write_text(settings)
        with pytest.raises(InitxError, match=r"^`source` must be the folder of a search"):
            write_report(tmp_path)
