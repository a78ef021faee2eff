"""A study that the user's storage already contains is resumed, replaced or refused."""

from pathlib import Path

import optuna
import pytest
from keras_initx.tuning.study.resume import SETTINGS_ATTRIBUTE, check_study, remove_study

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
        InitxError, match=r"^`storage` 'sqlite:///.*' already contains a study named 'a'\. Pass resume=True"
    ):
        check_study(url, "a", {"epochs": 3}, resume=False, overwrite=False)
    assert check_study(url, "a", {"epochs": 3}, resume=True, overwrite=False)
    assert not check_study(url, "a", {"epochs": 3}, resume=False, overwrite=True)
    assert not check_study(url, "b", {"epochs": 3}, resume=False, overwrite=False)


def test_other_settings_are_refused(url: str) -> None:
    with pytest.raises(InitxError, match="epochs"):
        check_study(url, "a", {"epochs": 4}, resume=True, overwrite=False)


def test_remove(url: str) -> None:
    remove_study(url, "b")
    assert optuna.get_all_study_names(url) == ["a"]
    remove_study(url, "a")
    assert optuna.get_all_study_names(url) == []
