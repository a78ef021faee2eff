"""Optuna's samplers by name, and the candidates that are tried first."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning import InitializerHyperModel, OptunaOracle, Range, SearchSpace
from keras_initx.tuning.study.samplers import check_sampler, make_sampler

from keras_initx import InitxError
from tests.tuning.study.plain_tuner import a_number, a_range, run

pytestmark = pytest.mark.one_backend

Quick = Callable[..., Any]

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="Optuna's GPSampler needs PyTorch")
MODELS = ["cmaes", pytest.param("gp", marks=needs_torch)]


def bowl(hp: Any) -> float:
    x, y = hp.Float("x", -1.0, 1.0), hp.Float("y", -1.0, 1.0)
    name = hp.Choice("name", ["far", "near", "other"])
    return (x - 0.3) ** 2 + (y + 0.4) ** 2 + (0.0 if name == "near" else 0.3)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("bayes", "Bayesian optimization is 'tpe' or 'gp'"),
        ("Bayesian", "Bayesian optimization is 'tpe' or 'gp'"),
        ("hyperband", "pass pruner='hyperband'"),
    ],
)
def test_names_of_other_methods_are_refused_with_what_takes_their_place(name: str, instead: str) -> None:
    with pytest.raises(InitxError, match=rf"is not known\..*{instead}"):
        check_sampler(name)


class TestSamplers:
    @pytest.mark.parametrize("name", MODELS)
    def test_sampler_with_a_model_finds_a_minimum(self, tmp_path: Path, name: str) -> None:
        tuner = run(tmp_path, bowl, bowl, trials=40, sampler=name)
        scores = [t.value for t in tuner.oracle.frozen_trials()]
        assert np.mean(scores[-10:]) < np.mean(scores[:10])
        assert min(scores) < 0.1

    @pytest.mark.parametrize("name", ["tpe", "random", *MODELS])
    def test_equal_seeds_equal_searches(self, tmp_path: Path, name: str) -> None:
        seen = [run(tmp_path / str(n), bowl, bowl, trials=14, sampler=name).seen for n in range(2)]
        assert seen[0] == seen[1]

    def test_tpe_considers_running_trials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []
        tpe = optuna.samplers.TPESampler

        def noted(**options: Any) -> Any:
            calls.append(options)
            return tpe(**options)

        monkeypatch.setattr(optuna.samplers, "TPESampler", noted)
        for name in ("tpe", "cmaes"):
            make_sampler(name, 1)
        assert [options["constant_liar"] for options in calls] == [True, True]

    def test_constant_liar_changes_nothing_for_one_process(self, tmp_path: Path) -> None:
        def values(sampler: Any) -> list[Any]:
            study = optuna.create_study(sampler=sampler)
            study.optimize(lambda trial: trial.suggest_float("x", -1.0, 1.0) ** 2, n_trials=20)
            return [trial.params for trial in study.trials]

        plain = optuna.samplers.TPESampler(seed=3, constant_liar=False)
        assert values(make_sampler("tpe", 3)) == values(plain)


class TestUsersSampler:
    def test_seeded_sampler_does_not_repeat_itself_after_a_restart(self, tmp_path: Path) -> None:
        for trials in (1, 3, 6):
            sampler = optuna.samplers.RandomSampler(seed=0)
            oracle = run(tmp_path, a_number, a_range, trials=trials, sampler=sampler).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 6

    def test_seeded_sampler_does_not_repeat_itself_after_an_interrupted_trial(self, tmp_path: Path) -> None:
        def dies(hp: Any) -> float:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, dies, a_range, sampler=optuna.samplers.RandomSampler(seed=0))
        sampler = optuna.samplers.RandomSampler(seed=0)
        oracle = run(tmp_path, a_number, a_range, sampler=sampler, trials=2).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 2

    def test_processes_that_share_a_study_draw_different_values(self, tmp_path: Path) -> None:
        one, two = (
            run(tmp_path / n, a_number, a_range, sampler=optuna.samplers.RandomSampler(seed=0), shared=True)
            for n in ("a", "b")
        )
        assert one.seen[0] != two.seen[0]

    def test_equal_seeds_equal_searches(self, tmp_path: Path) -> None:
        one, two = (
            run(tmp_path / n, a_number, a_range, sampler=optuna.samplers.RandomSampler(seed=0))
            for n in ("a", "b")
        )
        assert one.seen == two.seen

    def test_values_that_an_oracle_leaves_open_are_not_repeated(self, tmp_path: Path) -> None:
        class Silent(keras_tuner.Oracle):
            def populate_space(self, trial_id: str) -> dict[str, Any]:
                return {"status": "RUNNING", "values": {}}

        for trials in (3, 6):
            sampler = Silent(keras_tuner.Objective("default_objective", "min"), seed=1)
            oracle = run(tmp_path, a_number, a_range, trials=trials, sampler=sampler).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 6


class TestPackages:
    def test_missing_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InitxError, match=r"^`tuner` 'cmaes' needs the package cmaes.*pip install cmaes"):
            check_sampler("cmaes")
        check_sampler("tpe")

    def test_unknown_name(self) -> None:
        with pytest.raises(InitxError, match="cmaes"):
            OptunaOracle("val_loss", 3, sampler="cmeas")

    @needs_torch
    def test_gp_is_the_sampler_of_optuna(self) -> None:
        assert type(make_sampler("gp", 1)).__name__ == "GPSampler"


class TestEnqueue:
    def test_candidates_come_first_and_count(self, tmp_path: Path) -> None:
        candidates = [{"x": 0.25}, {"x": -0.5, "flag": True}]

        def declare(hp: Any) -> None:
            hp.Float("x", -1.0, 1.0)
            hp.Boolean("flag")

        tuner = run(tmp_path, a_number, declare, trials=4, enqueue=candidates)
        assert [values["x"] for values in tuner.seen[:2]] == [0.25, -0.5]
        assert tuner.seen[1]["flag"] is True
        assert len(tuner.seen) == 4

    def test_fewer_trials_than_candidates(self, tmp_path: Path) -> None:
        tuner = run(
            tmp_path,
            a_number,
            lambda hp: hp.Float("x", -1.0, 1.0),
            trials=1,
            enqueue=[{"x": 0.1}, {"x": 0.2}],
        )
        assert tuner.seen == [{"x": 0.1}]
        assert len(tuner.oracle.frozen_trials()) == 1

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            (
                {"initialiser": "auto"},
                r"^`enqueue` has 'initialiser', which .* Hyperparameters: initializer, learning_rate\.$",
            ),
            (
                {"initializer": "zeros"},
                r"^`enqueue` must give 'initializer' one of 'auto', 'he_normal', got 'zeros'",
            ),
            ("initializer", r"^`enqueue` must be a list of dictionaries .*, got \['initializer'\]"),
        ],
    )
    def test_a_candidate_that_is_not_in_the_space(
        self, quick: Quick, tmp_path: Path, values: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(InitxError, match=text):
            quick(initializers=["auto", "he_normal"], enqueue=[values])
        assert not list(tmp_path.rglob("*"))

    def test_a_candidate_out_of_range(self, quick: Quick) -> None:
        with pytest.raises(
            InitxError, match=r"^`enqueue` must give 'learning_rate' .*from 0.0001 to 0.01, got 1.0\."
        ):
            quick(learning_rates=Range(1e-4, 1e-2), enqueue=[{"learning_rate": 1.0}])

    def test_single_dictionary(self, quick: Quick) -> None:
        with pytest.raises(InitxError, match=r"^`enqueue` must be a list of dictionaries .*, got \{"):
            quick(enqueue={"initializer": "auto"})

    def test_grid_accepts_none(self) -> None:
        with pytest.raises(InitxError, match=r"^`enqueue` must be empty for a grid, got \[\{'x': 1\}\]"):
            OptunaOracle("val_loss", sampler="grid", enqueue=[{"x": 1}])

    def test_search_starts_with_recommended_candidates(self, quick: Quick) -> None:
        quick = functools.partial(quick, seeds=1, epochs=1)
        result = quick(trials=3, initializers=["zeros", "auto", "own", "he_auto", "random_uniform"])
        assert [t.values["initializer"] for t in result.trials] == ["own", "he_auto", "auto"]
        options = {"initializers": ["he_normal", "auto"], "enqueue": [], "mode": "overwrite", "seed": 2}
        assert len(quick(trials=1, **options).trials) == 1

    def test_resumed_search_continues_with_the_candidates(self, quick: Quick, recorder: Any) -> None:
        options = {"trials": 2, "seeds": 1, "epochs": 1, "initializers": ["zeros", "own", "he_auto"]}
        with pytest.raises(KeyboardInterrupt):
            quick(observers=[recorder(after=1)], **options)
        result = quick(mode="resume", **options)
        assert [t.values["initializer"] for t in result.trials][:2] == ["own", "he_auto"]


class TestWholeModels:
    def chosen(self, name: str, model: keras.Model) -> keras.Model:
        hp = keras_tuner.HyperParameters()
        hp.values = {"initializer": name}
        keras.utils.set_random_seed(3)
        return InitializerHyperModel(model, SearchSpace([name], None)).build(hp)

    def model(self) -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((300,)),
                keras.layers.Dense(7, kernel_initializer=keras.initializers.RandomUniform(3.0, 4.0)),
                keras.layers.Dense(2, bias_initializer="ones"),
            ]
        )
        model.compile("sgd", "mse")
        return model

    def test_own_draws_from_the_initializers_of_the_model(self) -> None:
        model = self.model()
        model.layers[0].kernel.assign(0 * model.layers[0].kernel)
        drawn = self.chosen("own", model)
        kernel = keras.ops.convert_to_numpy(drawn.layers[0].kernel)
        assert kernel.min() >= 3
        assert kernel.max() <= 4
        assert kernel.std() > 0.2

    def test_initialize_scales_by_measurement(self) -> None:
        drawn = self.chosen("initialize:auto", self.model())
        x = np.random.default_rng(0).normal(size=(500, 300)).astype("float32")
        hidden = x @ keras.ops.convert_to_numpy(drawn.layers[0].kernel)
        assert np.sqrt(np.mean(hidden**2)) == pytest.approx(1, abs=0.1)

    def test_every_method_but_lsuv_is_a_name(self) -> None:
        with pytest.raises(InitxError, match="initialize:"):
            self.chosen("initialize:lsuv", self.model())
        with pytest.raises(InitxError, match=r"Did you mean 'initialize:edge'\?"):
            self.chosen("initialize:edg", self.model())

    def test_search_over_them(self, quick: Quick) -> None:
        names = ["initialize:auto", "initialize:gpn", "own"]
        result = quick(
            tuner="grid", trials=None, initializers=names, learning_rates=[0.01], seeds=1, epochs=1
        )
        assert sorted(t.values["initializer"] for t in result.trials) == sorted(names)
        assert {t.status for t in result.trials} == {"completed"}
