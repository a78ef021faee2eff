"""Test the result of a search: its best trial, its best model and its files."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from keras_initx.tuning import DEFAULT_INITIALIZERS, DenseNetwork, SearchResult, load_table, model_rows
from keras_initx.tuning.search.result import has_search

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_the_mean_is_over_seeds_and_the_best_trial_has_the_best_mean(random_search: SearchResult) -> None:
    assert [t.number for t in random_search.trials] == [0, 1, 2]
    assert {t.status for t in random_search.trials} == {"completed"}
    for trial in random_search.trials:
        assert list(trial.seeds) == [4, 9]
        assert trial.sample.mean == np.mean([r["score"] for r in trial.seeds.values()])
        stored = random_search.tuner.oracle.frozen_trials()[trial.number].value
        assert stored == trial.sample.mean
    assert random_search.best.sample.mean == max(t.sample.mean for t in random_search.trials)
    assert str(random_search.folders.logs) in random_search.tensorboard
    assert has_search(random_search.folders.results)
    assert not has_search(random_search.folders.logs)


def test_the_best_model_evaluates_to_its_best_seed(random_search: SearchResult, pairs: Any) -> None:
    model = random_search.best_model()
    metrics = model.evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
    assert metrics["accuracy"] == pytest.approx(max(random_search.best.sample.scores), abs=1e-7)


def test_the_results_file_contains_every_seed(random_search: SearchResult) -> None:
    content = json.loads(random_search.results_file.read_text())
    assert content["best_trial"] == random_search.best.number
    assert content["settings"]["seeds"] == [4, 9]
    assert content["settings"]["space"]["initializer"]["values"] == [*DEFAULT_INITIALIZERS, "own"]
    assert len(content["trials"]) == 3
    for trial, written in zip(random_search.trials, content["trials"], strict=True):
        assert written["hyperparameters"] == trial.values
        assert written["mean"] == trial.sample.mean
        assert written["seeds"].keys() == {"4", "9"}
        for seed, record in trial.seeds.items():
            assert written["seeds"][str(seed)] == record


def test_the_best_model_of_a_table_takes_raw_rows(quick: Any, tmp_path: Path) -> None:
    rows = range(60)
    columns = {"size": [n % 7 / 7 for n in rows], "kind": ["ab"[n % 2] for n in rows]}
    frame = pd.DataFrame({**columns, "label": ["yn"[n % 2] for n in rows]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = load_table(tmp_path / "table.csv", "label")
    network = DenseNetwork(data, ["relu"], ["he_auto"], [0.1], depth=1, width=4)
    result = quick(network, data, space=None, trials=1, seeds=1)
    in_memory, saved = result.best_model(), keras.models.load_model(result.model_file)
    predicted = [model.predict(model_rows(model, frame), verbose=0) for model in (in_memory, saved)]
    assert predicted[0].shape == (60, 2)
    np.testing.assert_array_equal(*predicted)
