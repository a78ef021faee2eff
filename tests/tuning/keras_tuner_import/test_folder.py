"""Folders that cannot be read are named, with the way out."""

import shutil
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning import read_keras_tuner

from keras_initx import InitxError
from tests.support.keras_tuner_searches import Tuner, run

pytestmark = pytest.mark.one_backend


class TestUnreadableFolders:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InitxError, match=r"^`folder` '.*nowhere' is not a folder\."):
            read_keras_tuner(tmp_path / "nowhere", tmp_path / "results")
        assert not list(tmp_path.iterdir())

    def test_nothing_of_keras_tuner(self, tmp_path: Path, searched: Any) -> None:
        with pytest.raises(
            InitxError, match=r"^`folder` '.*' is not the project folder .* with its oracle\.json\.$"
        ):
            read_keras_tuner(tmp_path)
        with pytest.raises(InitxError, match=r"It contains one: .*random\.$"):
            read_keras_tuner(searched[0].parent)

    @pytest.mark.parametrize("name", ["oracle.json", "trial_3/trial.json"])
    @pytest.mark.parametrize("damage", ["", '{"score": 1', "[1]", "{}", '{"hyperparameters": {"space": 1}}'])
    def test_a_damaged_file_is_named_and_can_be_left_out(
        self, searched: Any, tmp_path: Path, name: str, damage: str
    ) -> None:
        copy = shutil.copytree(searched[0], tmp_path / "copy")
        (copy / name).write_text(damage)
        with pytest.raises(
            InitxError, match=rf"^`folder` has a damaged file: '.*{name}'\. .*can be read without it"
        ):
            read_keras_tuner(copy, tmp_path / "results")
        assert not (tmp_path / "results").exists()
        (copy / name).unlink()
        trials = read_keras_tuner(copy).trials
        expected = [str(n) for n in range(8) if not (n == 3 and name.startswith("trial"))]
        assert [t.user_attrs["trial_id"] for t in trials] == expected

    def test_nothing_completed(self, tmp_path: Path) -> None:
        class Failing(Tuner):
            def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
                raise keras_tuner.errors.FailedTrialError("out of memory")

        with pytest.raises(RuntimeError, match="consecutive"):
            run(tmp_path, tuner=Failing)
        with pytest.raises(InitxError, match=r"^`folder` .*: none of its 3 trials is completed\."):
            read_keras_tuner(tmp_path / "random")
