"""Test the errors of disks and storages: which are recognized, and with which remedy."""

import errno
import os
import resource
import signal
import sqlite3
from pathlib import Path

import keras
import keras_tuner
import pytest
from keras_initx.tuning._variables import checkpoint_bytes
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

pytestmark = pytest.mark.one_backend


class TestMessages:
    @pytest.mark.parametrize(
        ("reason", "remedy"),
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
    def test_each_reason_has_its_remedy(self, reason: str, remedy: str) -> None:
        assert remedy in remedy_for(reason)
        assert remedy_for(reason).endswith('then continue with mode="resume".')

    def test_before_a_search_has_started_there_is_nothing_to_resume(self) -> None:
        assert remedy_for("something else", started=False) == ""
        assert remedy_for("database is locked", started=False).endswith("then try again.")

    def test_the_reason_is_the_database_errors_without_a_password(self) -> None:
        cause = sqlite3.OperationalError("cannot reach mysql://me:secret@host/db.\n(Background)")
        error = StorageInternalError("An exception is raised during the commit.")
        error.__cause__ = cause
        assert reason_of(error) == "cannot reach mysql://me:***@host/db"
        assert reason_of(StorageInternalError()) == "StorageInternalError"

    def test_keras_tuner_lets_it_through(self) -> None:
        with pytest.raises(StorageFailure) as caught, storage_errors("a.db"):
            raise StorageInternalError from OSError("database is locked")
        assert isinstance(caught.value, InitxError)
        assert isinstance(caught.value, keras_tuner.errors.FatalError)

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, errno.EDQUOT])
    def test_errors_of_disks_name_the_folder(self, tmp_path: Path, code: int) -> None:
        with (
            pytest.raises(
                StorageFailure, match=rf"^`results` .* cannot be written to: {os.strerror(code)}\."
            ),
            disk_errors("results", tmp_path),
        ):
            raise OSError(code, "whatever")

    def test_errors_of_hdf5_are_recognized(self, tmp_path: Path) -> None:
        with pytest.raises(StorageFailure, match=r"No space left"), disk_errors("results", tmp_path):
            raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message)")
        with pytest.raises(RuntimeError, match="mine"), disk_errors("results", tmp_path):
            raise RuntimeError("mine")

    def test_other_errors_are_raised_unchanged(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), disk_errors("results", tmp_path):
            raise FileNotFoundError(errno.ENOENT, "the user's own file")


class TestAtomicWrite:
    def test_the_file_is_complete_or_unchanged(self, tmp_path: Path) -> None:
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

    def test_another_error_removes_the_file_too(self, tmp_path: Path) -> None:
        def half() -> None:
            with atomic_write(tmp_path / "a") as partial:
                partial.touch()
                raise LookupError

        with pytest.raises(LookupError):
            half()
        assert list(tmp_path.iterdir()) == []

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


ON_JAX = keras.backend.backend() == "jax"
FLOAT64 = pytest.param("float64", marks=pytest.mark.skipif(ON_JAX, reason="JAX has no float64 by default"))


class TestReserve:
    def test_the_disk_has_room_or_it_raises(self, disk: Path) -> None:
        reserve(disk / "a", 2**20)
        assert (disk / "a").read_bytes() == b""
        with pytest.raises(OSError, match="No space left"):
            reserve(disk / "a", 2**22)

    @pytest.mark.parametrize("policy", ["float32", FLOAT64, "mixed_bfloat16"])
    def test_checkpoint_bytes_cover_a_weights_file(self, tmp_path: Path, policy: str) -> None:
        layers = [keras.layers.Dense(100, dtype=policy) for _ in range(5)]
        model = keras.Sequential([keras.Input((100,)), *layers])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        model.save_weights(tmp_path / "a.weights.h5")
        written = (tmp_path / "a.weights.h5").stat().st_size
        assert written <= checkpoint_bytes(model) < 1.5 * written
