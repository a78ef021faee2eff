"""Importances, on studies of which it is known what decides."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.report.importance import importances

from keras_initx import InitxError
from keras_initx.cli import main

pytestmark = pytest.mark.one_backend


def study(folder: Path, trials: int, weight: float = 1.0) -> None:
    folder.mkdir(exist_ok=True)
    made = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    scale = {"he_auto": 0.0, "zeros": 5.0, "auto": 0.2}

    def score(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("initializer", list(scale))
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_int("idle", 0, 5)
        return weight * (scale[str(name)] + 2 * rate)

    made.optimize(score, n_trials=trials)


def test_what_decides_comes_first(tmp_path: Path) -> None:
    study(tmp_path, 60)
    found, warning = importances(tmp_path)
    assert found[0].name == "initializer"
    assert found[0].share > 0.8
    assert sum(row.share for row in found) == pytest.approx(1)
    assert next(row for row in found if row.name == "idle").share < 0.1
    assert warning == ""


def test_few_trials_are_told(tmp_path: Path) -> None:
    study(tmp_path, 12)
    assert "12 completed trials are few for 3" in importances(tmp_path)[1]


@pytest.mark.parametrize(("trials", "weight"), [(1, 1.0), (5, 0.0)])
def test_nothing_to_compare(tmp_path: Path, trials: int, weight: float) -> None:
    study(tmp_path, trials, weight)
    with pytest.raises(InitxError, match=r"^results: .*different scores"):
        importances(tmp_path)


def test_no_search_there(tmp_path: Path) -> None:
    with pytest.raises(InitxError, match=r"^results: .*study\.db"):
        importances(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path, 12)
    with pytest.raises(SystemExit):
        main(["importance", str(tmp_path)])
    out = capsys.readouterr().out
    assert "initializer" in out
    assert "Note: 12 completed" in out
    with pytest.raises(SystemExit):
        main(["importance", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["importances"][0]["name"] == "initializer"


def test_a_study_in_a_storage_of_its_own(quick: Any, tmp_path: Path) -> None:
    storage = str(tmp_path / "own.journal")
    options = {"tuner": "grid", "trials": None, "initializers": ["zeros", "he_normal"], "screening": False}
    quick(storage=storage, learning_rates=[0.01, 0.3], **options)
    named, _ = importances(tmp_path / "results", storage)
    # The settings of the search tell where it is.
    assert importances(tmp_path / "results")[0] == named
    assert {found.name for found in named} == {"initializer", "learning_rate"}


def test_a_damaged_study(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("garbage" * 100)
    with pytest.raises(InitxError, match=r"^storage: .*study\.db.*file is not a database"):
        importances(tmp_path)
