"""Test the dashboards of a search, read back with TensorBoard's own back end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import OptunaOracle, SearchResult
from keras_initx.tuning.dashboards import images
from keras_initx.tuning.dashboards.observer import DashboardObserver, as_markdown, parameter_of
from rich.table import Table
from rich.text import Text

from tests.support.tensorboard_reader import Reader

pytestmark = pytest.mark.one_backend

Quick = Callable[..., Any]


def regression() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_one_session_for_each_trial_and_curves_for_each_seed(random_search: SearchResult) -> None:
    result = random_search
    reader = Reader(result.folders.logs)
    groups = reader.sessions()
    assert sorted(g.name for g in groups) == [t.name for t in result.trials]
    assert [len(g.sessions) for g in groups] == [1, 1, 1]
    for trial in result.trials:
        metrics = reader.metrics(trial.name)
        assert metrics["objective/mean"] == pytest.approx(trial.sample.mean, rel=1e-6)
        assert metrics["objective/n"] == 2
        if trial.sample.std:
            assert metrics["objective/std"] == pytest.approx(trial.sample.std, rel=1e-6)
        assert reader.row(trial.name) == {**trial.values, "status": "completed"}
        for seed, record in trial.seeds.items():
            curves = reader.scalars(f"{trial.name}/seed_{seed}")
            assert curves.keys() == {f"epoch/{name}" for name in record["curves"]}
            for name, values in record["curves"].items():
                steps, written = zip(*curves[f"epoch/{name}"], strict=True)
                assert steps == (0, 1)
                np.testing.assert_allclose(written, values, rtol=1e-6)
    (page,) = reader.texts()[("summary", "ranking")]
    assert page.startswith("### All trials")
    assert page.count("completed") == 3


def check_signal(result: SearchResult, screening: bool) -> None:
    reader = Reader(result.folders.logs)
    assert {t.status for t in result.trials} == ({"screened", "completed"} if screening else {"completed"})
    for trial in result.trials:
        assert list(trial.start) == [1, 2]
        scalars = reader.scalars(trial.name)
        for tag, side in (("signal/forward", "forward"), ("signal/backward", "backward")):
            values = [(depth, getattr(layer, side)) for depth, layer in trial.start.items()]
            values = [(depth, value) for depth, value in values if value is not None]
            assert bool(values) == (screening or side == "forward")
            assert scalars.get(tag, []) == [(n, pytest.approx(value, rel=1e-6)) for n, value in values]
        forward = [layer.forward for layer in trial.start.values()]
        assert (max(forward) == 0) == (trial.values["initializer"] == "zeros")
        kinds = {tag.split("/")[0] for run, tag in reader.histograms() if run == trial.name}
        assert kinds == {"weights", "activations"} | ({"gradients"} if screening else set())


def test_the_signal_before_training_also_of_a_screened_trial(screened_search: SearchResult) -> None:
    check_signal(screened_search, screening=True)


def test_the_forward_signal_without_screening(quick: Quick) -> None:
    options = {"tuner": "grid", "initializers": ["zeros", "auto"], "learning_rates": None, "seeds": 1}
    check_signal(quick(**options, screening=False), screening=False)


def test_images_and_how_to_repeat_the_search(screened_search: SearchResult) -> None:
    reader = Reader(screened_search.folders.logs)
    assert reader.images().keys() == {("summary", "search/scores"), ("summary", "search/signal")}
    (page,) = reader.texts()[("summary", "repeat")]
    assert "tuner='grid'" in page
    assert f"enqueue=[{screened_search.best.values!r}]" in page


def test_an_interrupted_search_has_its_pages_and_a_resumed_one_shows_all_trials_once(
    quick: Quick, recorder: Any, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        quick(observers=[recorder(after=3)], images=True)
    pages = {("summary", "ranking"), ("summary", "repeat")}
    assert Reader(tmp_path / "logs").texts().keys() == pages
    result = quick(mode="resume", images=True)
    reader = Reader(result.folders.logs)
    assert reader.texts().keys() == pages
    assert sorted(g.name for g in reader.sessions()) == [t.name for t in result.trials]
    for trial in result.trials:
        assert reader.metrics(trial.name)["objective/mean"] == pytest.approx(trial.sample.mean, rel=1e-6)


def test_an_image_that_cannot_be_drawn_does_not_fail_the_search(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(trials: Any, objective: Any) -> bytes:
        raise ZeroDivisionError("no room")

    monkeypatch.setattr(images, "scores_image", broken)
    with pytest.warns(
        UserWarning, match="The image search/scores could not be drawn: ZeroDivisionError: no room"
    ):
        result = quick(trials=1, seeds=1, images=True)
    assert Reader(result.folders.logs).images().keys() == {("summary", "search/signal")}


def test_a_failed_trial_has_a_session_without_a_mean(quick: Quick) -> None:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    pair = (x, x.sum(axis=1, keepdims=True))
    result = quick(
        regression,
        (pair, pair),
        objective="val_loss",
        learning_rates=[1e30, 0.01],
        initializers=["auto"],
        tuner="grid",
        seeds=1,
    )
    reader = Reader(result.folders.logs)
    for trial in result.trials:
        failed = trial.values["learning_rate"] == 1e30
        assert reader.row(trial.name)["status"] == ("failed" if failed else "completed")
        assert ("objective/mean" in reader.metrics(trial.name)) is not failed


def test_a_hyperparameter_that_appears_later_gets_its_column(tmp_path: Path) -> None:
    class Tuner(keras_tuner.Tuner):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            dashboard.on_trial_begin(trial, [])
            return 1.0

        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            dashboard.on_trial_end(trial, "completed")

    oracle = OptunaOracle(max_trials=1)
    oracle.verbose = 0
    dashboard = DashboardObserver(tmp_path / "logs", oracle)
    tuner = Tuner(oracle, directory=str(tmp_path), project_name="p")
    for number, name in enumerate(["first", "second"]):
        hp = keras_tuner.HyperParameters()
        hp.Int(name, 1, 5)
        oracle.update_space(hp)
        oracle.max_trials = number + 1
        tuner.search()
    reader = Reader(tmp_path / "logs")
    assert {info.name for info in reader.experiment().hparam_infos} == {"first", "second", "status"}
    assert reader.row("trial_0000").keys() == {"first", "status"}
    assert reader.row("trial_0001").keys() == {"first", "second", "status"}


def test_a_hyperparameter_that_a_build_declares_gets_its_column(quick: Quick, tmp_path: Path) -> None:
    def build(hp: Any) -> keras.Model:
        layers = [keras.layers.Dense(hp.Int(f"units_{i}", 2, 9)) for i in range(hp.Int("layers", 2, 3))]
        layers.append(keras.layers.Dense(2, activation="softmax"))
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    result = quick(build, trials=4, seeds=1, epochs=1, initializers=["auto"], learning_rates=[0.01])
    assert {t.status for t in result.trials} == {"completed"}
    reader = Reader(result.folders.logs)
    for trial in result.trials:
        assert reader.row(trial.name) == {**trial.values, "status": "completed"}
        assert {f"units_{i}" for i in range(trial.values["layers"])} <= trial.values.keys()
    shapes = [layer.units for layer in result.best_model().layers[:-1]]
    assert shapes == [result.best.values[f"units_{i}"] for i in range(result.best.values["layers"])]


def test_parameters() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-4, 0.5, sampling="log")
    hp.Int("width", 2, 9)
    hp.Int("even", 2, 6, step=2)
    hp.Choice("name", ["a", "b"])
    hp.Boolean("flag")
    rate, width, even, name, flag = map(parameter_of, hp.space)
    assert (rate.low, rate.high, rate.integer, rate.values) == (1e-4, 0.5, False, None)
    assert (width.low, width.high, width.integer) == (2, 9, True)
    assert even.values == (2, 4, 6)
    assert name.values == ("a", "b")
    assert set(flag.values) == {True, False}
    for parameter in (rate, width, even, name, flag):
        parameter.domain()


def test_a_table_as_markdown() -> None:
    table = Table("a", "b", title="Title")
    table.add_row("1", Text("x | [y]"))
    assert as_markdown(table) == "### Title\n\n| a | b |\n| --- | --- |\n| 1 | x \\| [y] |"
