"""A study that the user's storage already contains is resumed, replaced or refused."""

import os
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.study import resume
from keras_initx.tuning.study.attributes import HEARTBEAT_ATTRIBUTE, OWNER_ATTRIBUTE
from keras_initx.tuning.study.heartbeat import new_owner
from keras_initx.tuning.study.resume import (
    SETTINGS_ATTRIBUTE,
    check_not_running,
    check_study,
    remove_study,
)

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name="a")
    study.set_user_attr(SETTINGS_ATTRIBUTE, {"epochs": 3})
    return url


def test_existing_study_needs_a_decision(url: str) -> None:
    with pytest.raises(
        InitxError, match=r'^`storage` .sqlite:///.*. already contains a study named .a.\. Pass mode="resume"'
    ):
        check_study(url, "a", {"epochs": 3}, "new")
    assert check_study(url, "a", {"epochs": 3}, "resume")
    assert not check_study(url, "a", {"epochs": 3}, "overwrite")
    assert not check_study(url, "b", {"epochs": 3}, "new")


def test_other_settings_are_refused(url: str) -> None:
    with pytest.raises(InitxError, match="epochs"):
        check_study(url, "a", {"epochs": 4}, "resume")


def test_remove(url: str) -> None:
    remove_study(url, "b")
    assert optuna.get_all_study_names(url) == ["a"]
    remove_study(url, "a")
    assert optuna.get_all_study_names(url) == []


class TestNotRunning:
    @pytest.fixture
    def trial(self, url: str) -> optuna.Trial:
        trial = optuna.load_study(study_name="a", storage=url).ask()
        trial.set_user_attr(OWNER_ATTRIBUTE, {**new_owner(), "pid": os.getppid(), "started": None})
        return trial

    @pytest.mark.parametrize("in_folder", [True, False])
    def test_a_study_with_a_running_process_is_not_removed(
        self, url: str, trial: optuna.Trial, tmp_path: Path, in_folder: bool
    ) -> None:
        storage = None if in_folder else url
        problem = rf'^mode="overwrite" would remove a running search: process {os.getppid()} on .* trial 0\.'
        with pytest.raises(InitxError, match=problem):
            check_not_running(storage, tmp_path, "a")
        # Another study of the storage may go on. The study of a folder is the only one in its file.
        if not in_folder:
            check_not_running(storage, tmp_path, "b")

    def test_a_process_that_has_ended_or_released_its_trial(
        self, trial: optuna.Trial, tmp_path: Path
    ) -> None:
        for owner in ({**new_owner(), "pid": os.getppid(), "started": "1"}, {}):
            trial.set_user_attr(OWNER_ATTRIBUTE, owner)
            check_not_running(None, tmp_path, "a")

    def test_a_process_elsewhere_runs_as_long_as_its_heartbeat_is_recent(
        self, trial: optuna.Trial, tmp_path: Path, monkeypatch: Any
    ) -> None:
        trial.set_user_attr(OWNER_ATTRIBUTE, {"host": "elsewhere", "pid": 1, "machine": "m", "token": "t"})
        monkeypatch.setattr(resume, "STALE_SECONDS", 0.0)
        check_not_running(None, tmp_path, "a")
        trial.set_user_attr(HEARTBEAT_ATTRIBUTE, time.time() + 60)
        with pytest.raises(InitxError, match=r"process 1 on elsewhere trains trial 0\. Stop it first"):
            check_not_running(None, tmp_path, "a")

    def test_nothing_runs_in_a_damaged_file(self, tmp_path: Path) -> None:
        check_not_running(None, tmp_path, "a")
        (tmp_path / "study.db").write_text("garbage" * 100)
        check_not_running(None, tmp_path, "a")
