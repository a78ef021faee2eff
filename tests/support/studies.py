"""Follow the study of other processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import optuna
from keras_initx.tuning.storage.databases import storage_session
from keras_initx.tuning.study.attributes import OWNER_ATTRIBUTE
from keras_initx.tuning.study.shared_study import started_trials
from optuna.trial import TrialState

from keras_initx import InitxError

Found = TypeVar("Found")


def wait_for(
    find: Callable[[], Found | None],
    is_running: Callable[[], bool],
    seconds: float = 1000,
    pause: float = 0.1,
) -> Found:
    """Return the first true value of `find`, within some seconds and while a process runs that causes it."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert is_running(), "the process ended before"
        assert time.monotonic() < deadline, f"not found within {seconds:g} seconds"
        time.sleep(pause)
    return found


@contextmanager
def study_of_others(
    storage: str | None, folder: Path, name: str, is_running: Callable[[], bool]
) -> Iterator[optuna.Study]:
    """Wait for another process to create a study, and open it.

    The study stays open, because opening one takes far longer than reading its trials, and a test that
    polls would take the time of the processes that it waits for.
    """

    def created() -> bool:
        if storage is None and not (folder / "study.db").exists():
            return False
        try:
            with storage_session(storage, folder) as session:
                return name in optuna.get_all_study_names(session)
        except (InitxError, RuntimeError):
            # The other process is creating the tables.
            return False

    wait_for(created, is_running, pause=0.3)
    with storage_session(storage, folder) as session:
        yield optuna.load_study(study_name=name, storage=session)


def trials_of(storage: str | None, folder: Path, name: str) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that ran.

    Two processes may ask for the last trial at the same time; the one that is too late ends its own at once.
    """
    with storage_session(storage, folder) as session:
        return started_trials(optuna.load_study(study_name=name, storage=session).trials)


def running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that a process runs and owns."""
    return [t for t in study.get_trials(states=[TrialState.RUNNING]) if OWNER_ATTRIBUTE in t.user_attrs]
