"""Test that a half-written last line of a journal file is removed, and nothing else."""

import os
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.storage.journal import Journal
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

pytestmark = pytest.mark.one_backend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.journal"


def study_of(path: Path, backend: Any = Journal) -> optuna.Study:
    return optuna.create_study(
        storage=JournalStorage(backend(str(path))), study_name="a", load_if_exists=True
    )


def test_optuna_reads_and_writes_the_same_file(path: Path) -> None:
    study_of(path).ask().set_user_attr("grüße", [1.5, None])
    theirs = study_of(path, JournalFileBackend)
    assert theirs.trials[0].user_attrs == {"grüße": [1.5, None]}
    theirs.ask()
    assert len(study_of(path).trials) == 2


@pytest.mark.parametrize("half", ['{"op_coda":', '{"op_code":4,"x":"' + "y" * 10000])
def test_a_line_that_a_killed_process_left_is_removed(path: Path, half: str) -> None:
    study_of(path).ask()
    whole = path.read_bytes()
    path.write_bytes(whole + half.encode())
    # The line counts neither before the next write nor after it.
    assert len(study_of(path).trials) == 1
    study_of(path).ask()
    assert path.read_bytes().startswith(whole + b"{")
    assert half.encode() not in path.read_bytes()
    assert len(study_of(path).trials) == 2


def test_a_file_of_half_a_line_starts_empty(path: Path) -> None:
    path.write_bytes(b'{"op_')
    study_of(path).ask()
    assert len(study_of(path).trials) == 1


@pytest.mark.parametrize("relative", [False, True])
def test_the_lock_of_a_killed_process_is_waited_for_ten_seconds(
    path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(path.parent.parent)
    journal = path.relative_to(path.parent.parent) if relative else path
    Journal(str(journal))._lock_file.acquire()
    now = [0.0]

    def clock() -> float:
        # Time also passes for a loop that does not sleep.
        now[0] += 0.001
        assert now[0] < 30
        return now[0]

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    study_of(journal)
    assert 10 < now[0] < 13


def test_all_lines_of_a_write_or_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        # The write itself succeeds.
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageInternalError) as caught:
            study.ask()
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == before
    assert not path.with_name("a.journal.lock").exists()
    study.ask()
    assert len(study_of(path).trials) == 1


def test_a_damaged_line_is_an_error(path: Path) -> None:
    study_of(path).ask()
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(StorageInternalError) as caught:
        study_of(path)
    assert "malformed" in str(caught.value.__cause__)
