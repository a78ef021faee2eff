"""Test TensorBoard's pages of a finished search in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import Execution, Results, SearchResult, SearchSpace, search

from tests.support import browser

pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(browser.MISSING),
        reason=f"no {' and no '.join(browser.MISSING)}: apt-get install chromium chromium-driver",
    ),
]


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def result(tmp_path_factory: Any) -> SearchResult:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(72, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    folder = tmp_path_factory.mktemp("browser")
    return search(
        build,
        x[:48],
        y[:48],
        validation_data=(x[48:], y[48:]),
        space=SearchSpace(["auto", "zeros"], [0.01, 0.1]),
        tuner="grid",
        epochs=2,
        seeds=2,
        batch_size=16,
        results=Results(folder / "results", logs=folder / "logs"),
        execution=Execution(jit_compile=False),
        verbose=0,
    )


@pytest.fixture(scope="module")
def pages(result: SearchResult) -> Iterator[browser.TensorBoardPages]:
    logs: Path = result.folders.logs
    with browser.tensorboard(logs) as address, browser.chromium() as driver:
        yield browser.TensorBoardPages(driver, address)


def test_hparams_has_a_row_for_each_trial_with_its_objective(
    pages: browser.TensorBoardPages, result: SearchResult
) -> None:
    rows = {row["Trial ID"]: row for row in pages.rows(len(result.trials))}
    assert rows.keys() == {trial.name for trial in result.trials}
    assert [trial.status for trial in result.trials].count("screened") == 2
    for trial in result.trials:
        row = rows[trial.name]
        assert row["status"] == trial.status
        assert row["initializer"] == trial.values["initializer"]
        assert float(row["learning_rate"]) == trial.values["learning_rate"]
        if trial.status == "completed":
            # The page shows five digits.
            assert float(row["val_accuracy mean"]) == pytest.approx(trial.sample.mean, rel=1e-4)
            assert float(row["val_accuracy std"]) == pytest.approx(trial.sample.std, rel=1e-4)
            assert float(row["seeds"]) == 2
        else:
            # A screened trial was not trained, so it has no numbers.
            assert (row["val_accuracy mean"], float(row["seeds"])) == ("", 0)


def test_custom_scalars_draw_two_charts_with_a_line_for_each_trial(pages: browser.TensorBoardPages) -> None:
    assert pages.charts([4, 4]) == [4, 4]


def test_histograms_draw(pages: browser.TensorBoardPages) -> None:
    # Weights, gradients and activations; the page shows some of each at a time.
    assert pages.histograms(3 * 4) >= 3 * 4


def test_text_shows_the_ranking_and_how_to_repeat_it(
    pages: browser.TensorBoardPages, result: SearchResult
) -> None:
    text = "\n".join(pages.texts(2))
    assert "All trials" in text
    assert result.best.sample.describe() in text
    assert "screened: symmetric" in text
    assert f"enqueue=[{result.best.values!r}]" in text


def test_images_are_drawn(pages: browser.TensorBoardPages) -> None:
    assert sorted(width for width in pages.images(2) if width >= 100) == [700, 800]
