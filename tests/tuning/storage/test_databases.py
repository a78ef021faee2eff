"""Test the storages of a study: files, journals and databases, and the errors of those that fail to open."""

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.storage.databases import _engine_options, _without_secrets, open_storage, redacted

from keras_initx import InitxError
from tests.support import processes

pytestmark = pytest.mark.one_backend


class TestOpenStorage:
    def test_a_file_by_default(self, tmp_path: Path) -> None:
        optuna.create_study(storage=open_storage(None, tmp_path))
        assert (tmp_path / "study.db").is_file()

    def test_an_optuna_storage_is_taken_as_it_is(self, tmp_path: Path) -> None:
        storage = optuna.storages.InMemoryStorage()
        assert open_storage(storage, tmp_path) is storage

    @pytest.mark.parametrize("content", [b"not a database " * 100, b""])
    def test_a_damaged_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "study.db").write_bytes(content)
        if not content:
            # SQLite takes an empty file for a new database.
            open_storage(None, tmp_path)
            return
        with pytest.raises(
            InitxError, match=r"^`storage` .*study\.db' cannot be opened: file is not a database"
        ):
            open_storage(None, tmp_path)

    @pytest.mark.slow
    def test_processes_that_start_at_the_same_moment(self, tmp_path: Path) -> None:
        """Without a second attempt, one in ten failed."""
        code = (
            "import pathlib, sys, time, optuna\n"
            "from keras_initx.tuning.storage.databases import open_storage\n"
            "folder = pathlib.Path(sys.argv[1]); (folder / sys.argv[2]).touch()\n"
            "while len(list(folder.glob('ready*'))) < 3: pass\n"
            "for n in range(12):\n"
            "    time.sleep(-time.time() % 0.5)\n"
            "    storage = open_storage(f'sqlite:///{folder}/{n}.db', folder)\n"
            "    optuna.create_study(storage=storage, study_name='s', load_if_exists=True)\n"
        )
        folder = str(tmp_path)
        started = [
            processes.start(processes.source, code, folder, folder, f"ready{n}", output=tmp_path / f"{n}.out")
            for n in range(3)
        ]
        for process in started:
            process.join(1000)
        errors = [processes.errors_of(tmp_path / f"{n}.out") for n in range(3)]
        assert [process.exitcode for process in started] == [0, 0, 0], errors

    def test_a_damaged_journal(self, tmp_path: Path) -> None:
        (tmp_path / "a.journal").write_text('garbage\n{"x"')
        with pytest.raises(InitxError, match=r"^`storage` '.*a\.journal' cannot be opened: "):
            open_storage(tmp_path / "a.journal", tmp_path)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        for storage in (f"sqlite:///{tmp_path}/no/a.db", f"{tmp_path}/no/a.journal", "nonsense"):
            with pytest.raises(InitxError, match=r"^`storage` '.*' cannot be opened: "):
                open_storage(storage, tmp_path)

    @pytest.mark.parametrize("storage", ["study.sqlite", "nosuch://host/db"])
    def test_a_text_that_is_no_url(self, tmp_path: Path, storage: str) -> None:
        with pytest.raises(InitxError, match=r"or a URL such as sqlite:///study\.db, then try again\.$"):
            open_storage(storage, tmp_path)

    def test_no_driver_and_no_password_in_the_message(self, tmp_path: Path) -> None:
        with pytest.raises(
            InitxError, match=r"^`storage` 'mysql\+oursql://me:\*\*\*@host/db' cannot be opened: .*oursql"
        ) as caught:
            open_storage("mysql+oursql://me:secret@host/db", tmp_path)
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value.__cause__)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            (
                "postgresql://me:secret@host/db",
                r"^`storage` 'postgresql://me:\*\*\*@host/db' needs a database driver, psycopg2?, that is "
                r'not installed\. Run pip install "keras-initx\[postgresql\]", and begin the URL with '
                r"postgresql\+psycopg2://\.$",
            ),
            (
                "mysql+pymysql://me:secret@host/db",
                r"^`storage` 'mysql\+pymysql://me:\*\*\*@host/db' needs a database driver, pymysql, that is "
                r"not installed\. Install the package of pymysql\.$",
            ),
        ],
    )
    def test_a_driver_that_is_not_installed(
        self, url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("psycopg", "psycopg2", "pymysql"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InitxError, match=message):
            open_storage(url, tmp_path)


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        (None, None),
        ("a/b.journal", "a/b.journal"),
        ("postgresql://me:p@ss:w@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:pa@ss@host/db", "postgresql://me:***@host/db"),
        ("postgresql:///db?host=h&user=me&password=p%40ss", "postgresql:///db?host=h&user=me&password=***"),
        ("mysql://p:p@host/db?ssl_key=k&charset=utf8", "mysql://p:***@host/db?ssl_key=***&charset=utf8"),
        (optuna.storages.InMemoryStorage(), "InMemoryStorage"),
    ],
)
def test_redacted_hides_passwords(storage: Any, text: str | None) -> None:
    assert redacted(storage) == text


class TestSearches:
    def test_the_same_search_as_in_a_file(self, quick: Any, tmp_path: Path) -> None:
        in_file = quick()
        storages = {
            "url": f"sqlite:///{tmp_path}/own.db",
            "journal": str(tmp_path / "own.journal"),
            "object": optuna.storages.InMemoryStorage(),
        }
        for kind, storage in storages.items():
            other = quick(storage=storage, results=tmp_path / kind, logs=tmp_path / f"{kind}_logs")
            assert [t.sample for t in other.trials] == [t.sample for t in in_file.trials], kind
            assert not (tmp_path / kind / "study.db").exists()
            assert (tmp_path / kind / "best_model.keras").exists()

    # Whether this machine trained the best seed depends on the scores.
    @pytest.mark.filterwarnings(r"ignore:best_model\.keras was not written")
    def test_a_study_of_that_name_is_kept_joined_or_removed(self, quick: Any, tmp_path: Path) -> None:
        storage = str(tmp_path / "own.journal")
        quick(storage=storage, trials=1)

        def again(**options: Any) -> Any:
            # As from another machine: with the same storage and another folder.
            return quick(storage=storage, results=tmp_path / "b/results", logs=tmp_path / "b/logs", **options)

        with pytest.raises(
            InitxError, match=r'^`storage` .* already contains a study named .results.\..*mode="overwrite"'
        ):
            again(trials=1)
        assert not (tmp_path / "b").exists()
        with pytest.raises(InitxError, match=r"^`epochs` must be 1, as when the search began, got 3\."):
            again(trials=2, epochs=3, mode="join")
        assert len(again(trials=2, mode="join").trials) == 2
        # The storage may be spelled differently, and resume needs no results folder on this machine.
        assert len(again(trials=3, mode="resume").trials) == 3
        other = {"storage": str(Path(storage).parent / "." / "own.journal"), "logs": tmp_path / "c/logs"}
        assert len(quick(trials=4, mode="resume", results=tmp_path / "c/results", **other).trials) == 4
        assert len(quick(storage=storage, trials=1, mode="overwrite").trials) == 1

    def test_a_search_that_cannot_start_again_is_not_removed(self, quick: Any, tmp_path: Path) -> None:
        storage = str(tmp_path / "own.journal")
        quick(storage=storage, trials=1)
        (tmp_path / "file").touch()
        with pytest.raises(InitxError, match=r"^`logs` '.*file' must be a folder, but .*file is a file\."):
            quick(storage=storage, trials=1, mode="overwrite", logs=tmp_path / "file")
        assert len(quick(storage=storage, trials=1, mode="resume").trials) == 1


def test_a_part_of_the_password_that_a_driver_takes_for_the_host_is_hidden() -> None:
    reason = 'could not translate host name "ssw0rd@127.0.0.1" to address'
    assert "ssw0rd" not in _without_secrets("postgresql://u:pa@ssw0rd@127.0.0.1/db", reason)


def test_a_server_of_several_hosts_keeps_the_options_in_its_url() -> None:
    url = "postgresql+psycopg2://u:p@/db?host=a:5433&host=b:5434&connect_timeout=3"
    options = _engine_options(url)["connect_args"]
    assert "host" not in options
    assert "connect_timeout" not in options
    assert options["tcp_user_timeout"] == 20_000


def test_resuming_without_the_storage_changes_nothing(quick: Any, tmp_path: Path) -> None:
    quick(storage=str(tmp_path / "own.journal"), trials=1)
    before = (tmp_path / "results/settings.json").read_bytes()
    with pytest.raises(InitxError, match=r"^`storage` must be '.*own\.journal', .*, got None"):
        quick(mode="resume", trials=2)
    assert (tmp_path / "results/settings.json").read_bytes() == before
    assert not (tmp_path / "results/study.db").exists()
