"""Disks that are full or may not be written to, storages locked or damaged: one line, and a way on."""

import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import optuna
import pytest
from keras_initx.tuning._variables import checkpoint_bytes
from keras_initx.tuning.storage import databases
from keras_initx.tuning.storage.failures import (
    StorageFailure,
    atomic_write,
    disk_errors,
    reason_of,
    remedy_for,
    reserve,
    storage_errors,
)
from optuna.exceptions import StorageInternalError

from keras_initx import InitxError
from keras_initx.cli.common import run_safely

pytestmark = pytest.mark.one_backend


class TestTelling:
    @pytest.mark.parametrize(
        ("said", "helps"),
        [
            ("database is locked", "end that process or wait"),
            ("database or disk is full", "more space"),
            ("No space left on device", "more space"),
            ("attempt to write a readonly database", "Make it writable"),
            ("Read-only file system", "Make it writable"),
            ("database disk image is malformed", "It is damaged"),
            ("file is not a database", "It is damaged"),
            ("no such table: trials", "It is damaged"),
            ("something else", "Fix the cause"),
        ],
    )
    def test_each_fault_has_its_remedy(self, said: str, helps: str) -> None:
        assert helps in remedy_for(said)
        assert remedy_for(said).endswith("then continue with resume=True.")

    def test_of_what_has_not_begun_nothing_goes_on(self) -> None:
        assert remedy_for("something else", started=False) == ""
        assert remedy_for("database is locked", started=False).endswith("then try again.")

    def test_the_reason_is_the_databases_without_a_password(self) -> None:
        said = sqlite3.OperationalError("cannot reach mysql://me:secret@host/db.\n(Background on this error)")
        error = StorageInternalError("An exception is raised during the commit.")
        error.__cause__ = said
        assert reason_of(error) == "cannot reach mysql://me:***@host/db"
        assert reason_of(StorageInternalError()) == "StorageInternalError"

    def test_keras_tuner_lets_it_through(self) -> None:
        with pytest.raises(StorageFailure) as caught, storage_errors("a.db"):
            raise StorageInternalError from OSError("database is locked")
        assert isinstance(caught.value, InitxError)
        assert isinstance(caught.value, keras_tuner.errors.FatalError)

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, errno.EDQUOT])
    def test_what_disks_say_is_told_of_the_folder(self, tmp_path: Path, code: int) -> None:
        with (
            pytest.raises(
                StorageFailure, match=rf"^`results` .* cannot be written to: {os.strerror(code)}\."
            ),
            disk_errors("results", tmp_path),
        ):
            raise OSError(code, "whatever")

    def test_hdf5_says_it_in_its_own_words(self, tmp_path: Path) -> None:
        with pytest.raises(StorageFailure, match=r"No space left"), disk_errors("results", tmp_path):
            raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message)")
        with pytest.raises(RuntimeError, match="mine"), disk_errors("results", tmp_path):
            raise RuntimeError("mine")

    def test_what_others_say_is_theirs(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), disk_errors("results", tmp_path):
            raise FileNotFoundError(errno.ENOENT, "the user's own file")


class TestWhole:
    def test_it_is_there_or_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text("before")

        def half() -> None:
            with atomic_write(path) as partial:
                partial.write_text("ha")
                raise OSError(errno.ENOSPC, "full")

        with pytest.raises(StorageFailure, match="more space"):
            half()
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "before")]
        with atomic_write(path) as partial:
            partial.write_text("after")
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "after")]

    def test_an_error_of_the_users_own_is_theirs(self, tmp_path: Path) -> None:
        def half() -> None:
            with atomic_write(tmp_path / "a") as partial:
                partial.touch()
                raise LookupError

        with pytest.raises(LookupError):
            half()
        assert list(tmp_path.iterdir()) == []


ON_JAX = keras.backend.backend() == "jax"
FLOAT64 = pytest.param("float64", marks=pytest.mark.skipif(ON_JAX, reason="JAX has no float64 by default"))


class TestRoom:
    def test_there_is_enough_or_an_error(self, disk: Path) -> None:
        reserve(disk / "a", 2**20)
        assert (disk / "a").read_bytes() == b""
        with pytest.raises(OSError, match="No space left"):
            reserve(disk / "a", 2**22)

    @pytest.mark.parametrize("policy", ["float32", FLOAT64, "mixed_bfloat16"])
    def test_for_all_that_a_model_writes(self, tmp_path: Path, policy: str) -> None:
        layers = [keras.layers.Dense(100, dtype=policy) for _ in range(5)]
        model = keras.Sequential([keras.Input((100,)), *layers])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        model.save_weights(tmp_path / "a.weights.h5")
        written = (tmp_path / "a.weights.h5").stat().st_size
        assert written <= checkpoint_bytes(model) < 1.5 * written


class Acting:
    """An observer that does something once, after so many seeds."""

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
    """What a search found, but for the clock."""
    return [(t.values, t.status, {s: r["curves"] for s, r in t.seeds.items()}) for t in result.trials]


def partials(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("partial.*"))


@pytest.fixture
def goes_on(quick: Any, tmp_path: Path) -> Callable[..., None]:
    """Checks that the search that was ended is resumed, finishes, and is that of one go."""

    def check(logs: Path, results: Path, **options: Any) -> None:
        for path in (results, logs):
            assert partials(path) == []
        resumed = quick(results=results, logs=logs, resume=True, **options)
        assert {t.status for t in resumed.trials} == {"completed"}
        options.pop("storage", None)
        alone = quick(results=tmp_path / "alone", logs=tmp_path / "alone_logs", **options)
        assert records(resumed) == records(alone)
        assert (results / "best_model.keras").exists()

    return check


class TestLocked:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(databases, "_LOCK_TIMEOUT", 0.2)

    @staticmethod
    def lock(path: Path) -> sqlite3.Connection:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other

    def test_in_a_trial(self, quick: Any, tmp_path: Path, goes_on: Any) -> None:
        results, held = tmp_path / "results", []
        locking = Acting(lambda: held.append(self.lock(results / "study.db")))
        with pytest.raises(StorageFailure) as caught:
            quick(observers=[locking])
        said = str(caught.value)
        assert said.startswith(f"`storage` '{results}/study.db' failed: database is locked. Another process")
        assert "Another process has locked it: end that process or wait for it, then continue" in said
        held[0].close()
        goes_on(tmp_path / "logs", results)

    def test_before_it_begins(self, quick: Any, tmp_path: Path) -> None:
        storage = f"sqlite:///{tmp_path}/own.db"
        quick(storage=storage, trials=1)
        held = self.lock(tmp_path / "own.db")
        with pytest.raises(InitxError, match=r"^`storage` .*own\.db.*is locked.*then try again\.$"):
            quick(storage=storage, trials=2, resume=True)
        held.close()
        assert len(quick(storage=storage, trials=2, resume=True).trials) == 2

    def test_a_storage_object_of_the_users_own(self, quick: Any, tmp_path: Path) -> None:
        url, options = f"sqlite:///{tmp_path}/own.db", {"connect_args": {"timeout": 0.2}}
        storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        held: list[Any] = []
        with pytest.raises(StorageFailure, match=r"^`storage` 'RDBStorage' failed: .*is locked"):
            quick(storage=storage, observers=[Acting(lambda: held.append(self.lock(tmp_path / "own.db")))])
        held[0].close()
        resumed = quick(storage=storage, resume=True)
        assert [t.status for t in resumed.trials] == ["completed"] * 2


def as_root(*command: str) -> bool:
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not as_root(
        "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)
    ):
        pytest.skip("no disk can be mounted here")
    yield folder
    as_root("umount", "-l", str(folder))


def fill(folder: Path) -> None:
    """Leaves no room in it."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


class TestFull:
    @pytest.mark.parametrize("which", ["results", "logs", "journal", "seed"])
    def test_nothing_is_lost(self, quick: Any, disk: Path, tmp_path: Path, goes_on: Any, which: str) -> None:
        paths = {"results": tmp_path / "results", "logs": tmp_path / "logs"}
        options: dict[str, Any] = {}
        if which == "journal":
            # Long records: a page of the disk may have room for short ones.
            options |= {"storage": str(disk / "study.journal"), "epochs": 40}
        else:
            name = "logs" if which == "logs" else "results"
            paths[name] = disk / name
        # Between the seeds of a trial, or at its end.
        filling = Acting(lambda: fill(disk), after=2 if which == "seed" else 1)
        with pytest.raises(StorageFailure, match="more space, then continue with resume=True") as caught:
            quick(**paths, **options, observers=[filling])
        argument = {"journal": ("storage",), "logs": ("logs",)}.get(which, ("results", "storage"))
        assert caught.value.argument in argument
        (disk / "filler").unlink()
        goes_on(paths["logs"], paths["results"], **options)

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
        resumed = quick(wide, results=disk / "results", trials=1, initializers=["he_auto"], resume=True)
        assert [t.status for t in resumed.trials] == ["completed"]

    def test_a_limit_of_the_process(self, tmp_path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with (
                pytest.raises(StorageFailure, match=r"File too large\. Give it more"),
                atomic_write(tmp_path / "a") as p,
            ):
                p.write_bytes(b"\0" * 2000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert list(tmp_path.iterdir()) == []


class TestReadOnly:
    def test_from_the_beginning(self, quick: Any, disk: Path) -> None:
        as_root("mount", "-o", "remount,ro", str(disk))
        with pytest.raises(InitxError, match=r"^`results` .* cannot be written to: Read-only"):
            quick(results=disk / "results")

    @pytest.mark.parametrize("kind", ["file", "journal"])
    def test_while_it_runs(self, quick: Any, disk: Path, tmp_path: Path, goes_on: Any, kind: str) -> None:
        journal = {"storage": str(disk / "study.journal")} if kind == "journal" else {}
        results = tmp_path / "results" if journal else disk / "results"
        # A file that is open for writing would keep the disk from it: the search's own log.
        lazily = Acting(lambda: as_root("mount", "--bind", str(disk), str(disk))
                        and as_root("mount", "-o", "remount,bind,ro", str(disk)))  # fmt: skip
        try:
            with pytest.raises(StorageFailure, match=r"(?i)(read-?only|unable to open).*Make it writable"):
                quick(results=results, observers=[lazily], **journal)
        finally:
            as_root("umount", "-l", str(disk))
        goes_on(tmp_path / "logs", results, **journal)


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
    def test_a_study(self, quick: Any, tmp_path: Path, how: str) -> None:
        quick(trials=1)
        shutil.copy(tmp_path / "results/study.db", tmp_path / "copy.db")
        self.damage(tmp_path / "results/study.db", how)
        with pytest.raises(InitxError, match=r"^`storage` '.*study\.db' .*It is damaged: restore a copy"):
            quick(trials=2, resume=True)
        shutil.copy(tmp_path / "copy.db", tmp_path / "results/study.db")
        assert len(quick(trials=2, resume=True).trials) == 2
        self.damage(tmp_path / "results/study.db", how)
        assert len(quick(trials=1, overwrite=True).trials) == 1

    def test_a_study_in_a_trial(self, quick: Any, tmp_path: Path) -> None:
        damaging = Acting(lambda: self.damage(tmp_path / "results/study.db", "holes"))
        with pytest.raises(StorageFailure, match=r"^`storage` .*It is damaged"):
            quick(observers=[damaging])

    @pytest.mark.parametrize("lost", ["empty", "gone"])
    def test_a_study_that_is_lost(self, quick: Any, tmp_path: Path, lost: str) -> None:
        quick(trials=1)
        (tmp_path / "results/study.db").unlink()
        if lost == "empty":
            (tmp_path / "results/study.db").touch()
        with pytest.raises(
            InitxError, match=r"study\.db' is empty, but .* has the weights .*Restore a copy.*overwrite"
        ):
            quick(trials=2, resume=True)
        assert len(list((tmp_path / "results/trial_0000").glob("best_?.weights.h5"))) == 1
        assert len(quick(trials=1, overwrite=True).trials) == 1

    def test_a_journal(self, quick: Any, tmp_path: Path) -> None:
        path = tmp_path / "own.journal"
        quick(trials=1, storage=str(path))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:3], b'{"op_\n', *lines[3:]]))
        with pytest.raises(InitxError, match=r"^`storage` '.*own\.journal' .*It is damaged"):
            quick(trials=2, storage=str(path), resume=True)
        path.write_bytes(b"".join(lines))
        assert len(quick(trials=2, storage=str(path), resume=True).trials) == 2

    @pytest.mark.parametrize("text", ["", '{"version": "1", "da', "\0\0\0"])
    def test_settings(self, quick: Any, tmp_path: Path, text: str) -> None:
        quick(trials=1)
        path = tmp_path / "results/settings.json"
        good = path.read_text()
        path.write_text(text)
        for options in ({"resume": True}, {"overwrite": True}, {"join": True}, {}):
            with pytest.raises(InitxError, match=r"settings\.json is damaged\. Restore a copy of that file"):
                quick(trials=2, **options)
        path.write_text(good)
        assert len(quick(trials=2, resume=True).trials) == 2


class TestCommand:
    """What a user of the shell sees."""

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
        code, said = self.run(tmp_path, capfd, "--resume")
        assert code == 2
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert "study.db" in said
        assert "locked" in said
        held.close()
        (tmp_path / "results/study.db").write_bytes(b"garbage" * 999)
        code, said = self.run(tmp_path, capfd, "--resume")
        assert (code, said.count("\n"), said[:7]) == (2, 1, "error: ")
        assert "It is damaged" in said
        (tmp_path / "results/settings.json").write_text("{")
        code, said = self.run(tmp_path, capfd, "--resume")
        assert (code, said.count("\n"), said[:7]) == (2, 1, "error: ")
        assert "settings.json" in said

    def test_a_full_disk(self, disk: Path, capfd: Any) -> None:
        fill(disk)
        code, said = self.run(disk, capfd)
        assert (code, said.count("\n"), said[:7]) == (2, 1, "error: ")
        assert "more space" in said

    def test_any_error_of_the_system(self, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*args: Any, **kwargs: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", "somewhere")

        assert run_safely(failing, []) == 1  # type: ignore[arg-type]
        assert capfd.readouterr().err == "error: [Errno 13] Permission denied: 'somewhere'\n"
