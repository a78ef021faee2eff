"""Test importances on studies in which the deciding hyperparameter is known."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.report.importance import importances

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend


def study(folder: Path, trials: int, weight: float = 1.0) -> None:
    """Store a study in which the initializer decides and `idle` has no effect."""
    stored = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    scale = {"he_auto": 0.0, "zeros": 5.0, "auto": 0.2}

    def score(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("initializer", list(scale))
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_int("idle", 0, 5)
        return weight * (scale[str(name)] + 2 * rate)

    stored.optimize(score, n_trials=trials)


def test_the_deciding_hyperparameter_comes_first(tmp_path: Path) -> None:
    study(tmp_path, 40)
    rows, warning = importances(tmp_path)
    assert rows[0].name == "initializer"
    assert rows[0].share > 0.8
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert next(row for row in rows if row.name == "idle").share < 0.1
    assert warning == ""


@pytest.mark.parametrize(("trials", "weight"), [(1, 1.0), (5, 0.0)])
def test_too_few_different_scores(tmp_path: Path, trials: int, weight: float) -> None:
    study(tmp_path, trials, weight)
    with pytest.raises(
        InitxError,
        match=r"^`results` must be a search with at least two completed trials of different scores, got",
    ):
        importances(tmp_path)


def test_a_folder_without_a_search(tmp_path: Path) -> None:
    with pytest.raises(
        InitxError, match=r"^`results` must be the folder of a search, which contains study\.db"
    ):
        importances(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_study_in_a_storage_of_its_own(quick: Any, tmp_path: Path) -> None:
    storage = str(tmp_path / "own.journal")
    options = {"tuner": "grid", "trials": None, "initializers": ["zeros", "he_normal"], "screening": False}
    quick(storage=storage, learning_rates=[0.01, 0.3], seeds=1, **options)
    rows, _ = importances(tmp_path / "results", storage)
    assert {row.name for row in rows} == {"initializer", "learning_rate"}
    with pytest.raises(InitxError, match=r"study is kept in .*own\.journal.*pass it as `storage`"):
        importances(tmp_path / "results")


def test_a_damaged_study(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("garbage" * 100)
    with pytest.raises(InitxError, match=r"^`storage` .*study\.db.*file is not a database"):
        importances(tmp_path)
