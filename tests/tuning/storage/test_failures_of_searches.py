"""Test searches whose disk is full or read-only, or whose storage is locked or damaged."""

import errno
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import optuna
import pytest
from keras_initx.tuning.storage import StorageFailure, databases

from keras_initx import InitxError
from keras_initx.cli.common import run_safely
from tests.tuning.storage.conftest import as_root

pytestmark = pytest.mark.one_backend


class Acting:
    """An observer that calls a function once, after the given number of seeds."""

    def __init__(self, act: Callable[[], Any], after: int = 1) -> None:
        self._act, self._left = act, after

    def on_trial_begin(self, trial: Any, seeds: Any) -> None: ...
    def on_epoch_end(self, epochs: int) -> None: ...
    def on_trial_end(self, trial: Any, status: str) -> None: ...
    def on_seed_end(self, trial: Any, seed: int, record: Any, skipped_epochs: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


def records(result: Any) -> list[Any]:
    """Return the results of a search, without times."""
    return [(t.values, t.status, {s: r["curves"] for s, r in t.seeds.items()}) for t in result.trials]


def partials(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("partial.*"))


@pytest.fixture
def check_resumed(quick: Any, tmp_path: Path, uninterrupted: dict[str, Any]) -> Callable[..., None]:
    """Return a check that a failed search resumes, and ends with the results of an uninterrupted one."""

    def check(logs: Path, results: Path, **options: Any) -> None:
        for path in (results, logs):
            assert partials(path) == []
        resumed = quick(results=results, logs=logs, mode="resume", **options)
        assert {t.status for t in resumed.trials} == {"completed"}
        options.pop("storage", None)
        key = str(sorted(options))
        if key not in uninterrupted:
            alone = quick(results=tmp_path / "alone", logs=tmp_path / "alone_logs", **options)
            uninterrupted[key] = records(alone)
        assert records(resumed) == uninterrupted[key]
        assert (results / "best_model.keras").exists()

    return check


class TestLocked:
    @pytest.fixture(autouse=True)
    def short_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(databases, "_LOCK_TIMEOUT", 0.2)

    @staticmethod
    def lock(path: Path) -> sqlite3.Connection:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other

    def test_in_a_trial(self, quick: Any, tmp_path: Path, check_resumed: Any) -> None:
        results, held = tmp_path / "results", []
        locking = Acting(lambda: held.append(self.lock(results / "study.db")))
        with pytest.raises(StorageFailure) as caught:
            quick(observers=[locking])
        message = str(caught.value)
        assert message.startswith(
            f"`storage` '{results}/study.db' failed: database is locked. Another process"
        )
        assert "Another process has locked it: end that process or wait for it, then continue" in message
        held[0].close()
        check_resumed(tmp_path / "logs", results)

    def test_before_it_begins(self, quick: Any, tmp_path: Path) -> None:
        storage = f"sqlite:///{tmp_path}/own.db"
        quick(storage=storage, trials=1)
        held = self.lock(tmp_path / "own.db")
        with pytest.raises(InitxError, match=r"^`storage` .*own\.db.*is locked.*then try again\.$"):
            quick(storage=storage, trials=2, mode="resume")
        held.close()
        assert len(quick(storage=storage, trials=2, mode="resume").trials) == 2

    def test_a_storage_object_of_the_users_own(self, quick: Any, tmp_path: Path) -> None:
        url, options = f"sqlite:///{tmp_path}/own.db", {"connect_args": {"timeout": 0.2}}
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        held: list[Any] = []
        with pytest.raises(StorageFailure, match=r"^`storage` 'RDBStorage' failed: .*is locked"):
            quick(storage=storage, observers=[Acting(lambda: held.append(self.lock(tmp_path / "own.db")))])
        held[0].close()
        resumed = quick(storage=storage, mode="resume")
        assert [t.status for t in resumed.trials] == ["completed"] * 2


def fill(folder: Path) -> None:
    """Fill the disk of a folder to the last byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


class TestFull:
    @pytest.mark.parametrize(
        "which", ["results", "logs", pytest.param("journal", marks=pytest.mark.slow), "seed"]
    )
    def test_nothing_is_lost(
        self, quick: Any, disk: Path, tmp_path: Path, check_resumed: Any, compiled_model: Any, which: str
    ) -> None:
        paths = {"results": tmp_path / "results", "logs": tmp_path / "logs"}
        options: dict[str, Any] = {}
        if which == "journal":
            # Long records, because the last page of a full disk may have room for short ones.
            journal = str(disk / "study.journal")
            options |= {"storage": journal, "epochs": 40, "trials": 1, "model": compiled_model}
        else:
            name = "logs" if which == "logs" else "results"
            paths[name] = disk / name
        # Between the seeds of a trial, or at its end.
        filling = Acting(lambda: fill(disk), after=2 if which == "seed" else 1)
        with pytest.raises(StorageFailure, match='more space, then continue with mode="resume"') as caught:
            quick(**paths, **options, observers=[filling])
        argument = {"journal": ("storage",), "logs": ("logs",)}.get(which, ("results", "storage"))
        assert caught.value.argument in argument
        (disk / "filler").unlink()
        check_resumed(paths["logs"], paths["results"], **options)

    def test_full_from_the_beginning(self, quick: Any, disk: Path) -> None:
        (disk / "results").mkdir()
        fill(disk)
        with pytest.raises(InitxError, match="more space"):
            quick(results=disk / "results")
        (disk / "filler").unlink()
        assert not (disk / "results/settings.json").exists()
        assert len(quick(results=disk / "results").trials) == 2

    def test_the_weights_have_no_room(self, quick: Any, disk: Path, tmp_path: Path, capfd: Any) -> None:
        def wide() -> keras.Model:
            layers = [keras.Input((4,)), keras.layers.Dense(90000), keras.layers.Dense(2)]
            model = keras.Sequential(layers)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile("sgd", loss, metrics=["accuracy"])
            return model

        with pytest.raises(
            StorageFailure, match=rf"^`results` '{disk}/results/trial_0000' cannot be .*No space left"
        ):
            quick(wide, results=disk / "results", trials=1, initializers=["he_auto"])
        assert partials(disk / "results") == []
        assert "Traceback" not in capfd.readouterr().err
        as_root("mount", "-o", "remount,size=64m", str(disk))
        resumed = quick(wide, results=disk / "results", trials=1, initializers=["he_auto"], mode="resume")
        assert [t.status for t in resumed.trials] == ["completed"]


class TestReadOnly:
    def test_from_the_beginning(self, quick: Any, disk: Path) -> None:
        as_root("mount", "-o", "remount,ro", str(disk))
        with pytest.raises(InitxError, match=r"^`results` .* cannot be written to: Read-only"):
            quick(results=disk / "results")

    @pytest.mark.parametrize("kind", ["file", "journal"])
    def test_while_it_runs(
        self, quick: Any, disk: Path, tmp_path: Path, check_resumed: Any, kind: str
    ) -> None:
        journal = {"storage": str(disk / "study.journal")} if kind == "journal" else {}
        results = tmp_path / "results" if journal else disk / "results"
        # The search keeps its log open for writing, so only a bind mount can become read-only.
        lazily = Acting(lambda: as_root("mount", "--bind", str(disk), str(disk))
                        and as_root("mount", "-o", "remount,bind,ro", str(disk)))  # fmt: skip
        try:
            with pytest.raises(StorageFailure, match=r"(?i)(read-?only|unable to open).*Make it writable"):
                quick(results=results, observers=[lazily], **journal)
        finally:
            as_root("umount", "-l", str(disk))
        check_resumed(tmp_path / "logs", results, **journal)


@pytest.fixture(scope="module")
def finished_folders() -> list[Path]:
    """Return a list for the folder of the search that `finished` copies."""
    return []


@pytest.fixture
def finished(quick: Any, tmp_path: Path, tmp_path_factory: Any, finished_folders: list[Path]) -> Path:
    """Return the results folder of a finished search of one trial, a copy that a test may damage."""
    if not finished_folders:
        folder = tmp_path_factory.mktemp("finished")
        quick(trials=1, results=folder / "results", logs=folder / "logs")
        finished_folders.append(folder)
    shutil.copytree(finished_folders[0], tmp_path, dirs_exist_ok=True)
    return tmp_path / "results"


class TestDamaged:
    def damage(self, path: Path, how: str) -> None:
        content = path.read_bytes()
        path.write_bytes(
            {
                "garbage": b"garbage " * 999,
                "cut": content[: len(content) // 2],
                "header": content[:50],
                "holes": content[:4096] + b"\xff" * (len(content) - 4096),
            }[how]
        )

    @pytest.mark.parametrize("how", ["garbage", "cut", "header", "holes"])
    def test_a_study(self, quick: Any, finished: Path, tmp_path: Path, how: str) -> None:
        shutil.copy(finished / "study.db", tmp_path / "copy.db")
        self.damage(finished / "study.db", how)
        with pytest.raises(InitxError, match=r"^`storage` '.*study\.db' .*It is damaged: restore a copy"):
            quick(trials=2, mode="resume")
        shutil.copy(tmp_path / "copy.db", finished / "study.db")
        # One of the cases runs a second trial, to show that the restored study can be written to.
        trials = 2 if how == "holes" else 1
        assert len(quick(trials=trials, mode="resume").trials) == trials
        self.damage(finished / "study.db", how)
        assert len(quick(trials=1, mode="overwrite").trials) == 1

    def test_a_study_in_a_trial(self, quick: Any, tmp_path: Path) -> None:
        damaging = Acting(lambda: self.damage(tmp_path / "results/study.db", "holes"))
        with pytest.raises(StorageFailure, match=r"^`storage` .*It is damaged"):
            quick(observers=[damaging])

    @pytest.mark.parametrize("lost", ["empty", "gone"])
    def test_a_study_that_is_lost(self, quick: Any, finished: Path, lost: str) -> None:
        (finished / "study.db").unlink()
        if lost == "empty":
            (finished / "study.db").touch()
        message = r"study\.db' is empty, but .* has the weights .*Restore a copy.*overwrite"
        with pytest.raises(InitxError, match=message):
            quick(trials=2, mode="resume")
        assert len(list((finished / "trial_0000").glob("best_?.weights.h5"))) == 1
        assert len(quick(trials=1, mode="overwrite").trials) == 1

    def test_a_journal(self, quick: Any, tmp_path: Path) -> None:
        path = tmp_path / "own.journal"
        quick(trials=1, seeds=1, storage=str(path))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:3], b'{"op_\n', *lines[3:]]))
        with pytest.raises(InitxError, match=r"^`storage` '.*own\.journal' .*It is damaged"):
            quick(trials=2, seeds=1, storage=str(path), mode="resume")
        path.write_bytes(b"".join(lines))
        assert len(quick(trials=2, seeds=1, storage=str(path), mode="resume").trials) == 2

    @pytest.mark.parametrize("text", ["", '{"version": "1", "da', "\0\0\0"])
    def test_settings(self, quick: Any, finished: Path, text: str) -> None:
        path = finished / "settings.json"
        intact = path.read_text()
        path.write_text(text)
        for options in ({"mode": "resume"}, {"mode": "overwrite"}, {"mode": "join"}, {}):
            with pytest.raises(InitxError, match=r"settings\.json is damaged\. Restore a copy of that file"):
                quick(trials=2, **options)
        path.write_text(intact)
        assert len(quick(trials=1, mode="resume").trials) == 1


class TestCommand:
    """The messages on the terminal."""

    OPTIONS = ("tune", "--dataset", "iris", "--initializers", "he_auto", "--activations", "relu",
               "--learning-rates", "0.01", "--epochs", "1", "--seeds", "1", "--depth", "1", "--width", "4",
               "--no-jit-compile", "--quiet")  # fmt: skip

    def run(self, tmp_path: Path, capfd: Any, *more: str) -> tuple[int, str]:
        from keras_initx.cli import app

        paths = ("--results", str(tmp_path / "results"), "--logs", str(tmp_path / "logs"))
        code = run_safely(app, [*self.OPTIONS, *paths, *more])
        return code, capfd.readouterr().err

    def test_one_line(self, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(databases, "_LOCK_TIMEOUT", 0.2)
        assert self.run(tmp_path, capfd)[0] == 0
        held = TestLocked.lock(tmp_path / "results/study.db")
        code, message = self.run(tmp_path, capfd, "--resume")
        assert code == 2
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert "study.db" in message
        assert "locked" in message
        held.close()
        (tmp_path / "results/study.db").write_bytes(b"garbage" * 999)
        code, message = self.run(tmp_path, capfd, "--resume")
        assert (code, message.count("\n"), message[:7]) == (2, 1, "error: ")
        assert "It is damaged" in message
        (tmp_path / "results/settings.json").write_text("{")
        code, message = self.run(tmp_path, capfd, "--resume")
        assert (code, message.count("\n"), message[:7]) == (2, 1, "error: ")
        assert "settings.json" in message

    def test_a_full_disk(self, disk: Path, capfd: Any) -> None:
        fill(disk)
        code, message = self.run(disk, capfd)
        assert (code, message.count("\n"), message[:7]) == (2, 1, "error: ")
        assert "more space" in message

    def test_any_error_of_the_system(self, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*args: Any, **kwargs: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "somewhere")

        assert run_safely(failing, []) == 1  # type: ignore[arg-type]
        assert capfd.readouterr().err == "error: [Errno 13] Permission denied: 'somewhere'\n"
