"""Optuna's samplers by name, and the candidates that are tried before theirs."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning import InitializerHyperModel, OptunaOracle, Range
from keras_initx.tuning.study.samplers import check_sampler, make_sampler

from keras_initx import InitxError
from tests.tuning.study.test_oracle import a_number, a_range, run

pytestmark = pytest.mark.one_backend

Quick = Callable[..., Any]

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="Optuna's GPSampler needs PyTorch")
MODELS = ["cmaes", pytest.param("gp", marks=needs_torch)]


def bowl(hp: Any) -> float:
    x, y = hp.Float("x", -1.0, 1.0), hp.Float("y", -1.0, 1.0)
    name = hp.Choice("name", ["far", "near", "other"])
    return (x - 0.3) ** 2 + (y + 0.4) ** 2 + (0.0 if name == "near" else 0.3)


class TestSamplers:
    @pytest.mark.parametrize("name", MODELS)
    def test_a_model_of_the_objective_finds_a_minimum(self, tmp_path: Path, name: str) -> None:
        tuner = run(tmp_path, bowl, bowl, trials=40, sampler=name)
        scores = [t.value for t in tuner.oracle.frozen_trials()]
        assert np.mean(scores[-10:]) < np.mean(scores[:10])
        assert min(scores) < 0.1

    @pytest.mark.parametrize("name", ["tpe", "random", *MODELS])
    def test_equal_seeds_equal_searches(self, tmp_path: Path, name: str) -> None:
        seen = [run(tmp_path / str(n), bowl, bowl, trials=14, sampler=name).seen for n in range(2)]
        assert seen[0] == seen[1]

    def test_tpe_sees_what_others_try(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[dict[str, Any]] = []
        tpe = optuna.samplers.TPESampler

        def noted(**options: Any) -> Any:
            made.append(options)
            return tpe(**options)

        monkeypatch.setattr(optuna.samplers, "TPESampler", noted)
        for name in ("tpe", "cmaes"):
            make_sampler(name, 1)
        assert [options["constant_liar"] for options in made] == [True, True]

    def test_what_one_process_draws_is_the_same_as_without(self, tmp_path: Path) -> None:
        def drawn(sampler: Any) -> list[Any]:
            study = optuna.create_study(sampler=sampler)
            study.optimize(lambda trial: trial.suggest_float("x", -1.0, 1.0) ** 2, n_trials=20)
            return [trial.params for trial in study.trials]

        assert drawn(make_sampler("tpe", 3)) == drawn(optuna.samplers.TPESampler(seed=3, constant_liar=False))


class TestOfTheUsers:
    def test_one_with_a_seed_does_not_repeat_itself_after_a_restart(self, tmp_path: Path) -> None:
        for trials in (1, 3, 6):
            sampler = optuna.samplers.RandomSampler(seed=0)
            oracle = run(tmp_path, a_number, a_range, trials=trials, sampler=sampler).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 6

    def test_nor_after_a_trial_that_was_left_running(self, tmp_path: Path) -> None:
        def dies(hp: Any) -> float:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, dies, a_range, sampler=optuna.samplers.RandomSampler(seed=0))
        sampler = optuna.samplers.RandomSampler(seed=0)
        oracle = run(tmp_path, a_number, a_range, sampler=sampler, trials=2).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 2

    def test_processes_that_share_a_study_draw_other_values(self, tmp_path: Path) -> None:
        found = [
            run(tmp_path / n, a_number, a_range, sampler=optuna.samplers.RandomSampler(seed=0), shared=True)
            for n in ("a", "b")
        ]
        assert found[0].seen[0] != found[1].seen[0]

    def test_equal_seeds_equal_searches(self, tmp_path: Path) -> None:
        found = [
            run(tmp_path / n, a_number, a_range, sampler=optuna.samplers.RandomSampler(seed=0))
            for n in ("a", "b")
        ]
        assert found[0].seen == found[1].seen

    def test_what_an_oracle_leaves_open_is_not_repeated(self, tmp_path: Path) -> None:
        class Silent(keras_tuner.Oracle):
            def populate_space(self, trial_id: str) -> dict[str, Any]:
                return {"status": "RUNNING", "values": {}}

        for trials in (3, 6):
            sampler = Silent(keras_tuner.Objective("default_objective", "min"), seed=1)
            oracle = run(tmp_path, a_number, a_range, trials=trials, sampler=sampler).oracle
        assert len({t.params["x"] for t in oracle.frozen_trials()}) == 6


class TestPackages:
    def test_a_package_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(InitxError, match=r"^tuner: received 'cmaes'.*pip install cmaes"):
            check_sampler("cmaes")
        check_sampler("tpe")

    def test_an_unknown_name(self) -> None:
        with pytest.raises(InitxError, match="cmaes"):
            OptunaOracle("val_loss", 3, sampler="cmeas")

    @needs_torch
    def test_gp_is_optunas(self) -> None:
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
            ({"initialiser": "auto"}, r"^enqueue: received 'initialiser'.*initializer, learning_rate"),
            ({"initializer": "zeros"}, r"^enqueue \(initializer\): received 'zeros'.*he_normal"),
            ("initializer", r"^enqueue: .*a list of dictionaries"),
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
            InitxError, match=r"learning_rate\): received 1.0; allowed: from 0.0001 to 0.01\."
        ):
            quick(learning_rates=Range(1e-4, 1e-2), enqueue=[{"learning_rate": 1.0}])

    def test_one_dictionary_is_no_list(self, quick: Quick) -> None:
        with pytest.raises(InitxError, match=r"^enqueue: .*a list of dictionaries"):
            quick(enqueue={"initializer": "auto"})

    def test_a_grid_takes_none(self) -> None:
        with pytest.raises(InitxError, match=r"^enqueue"):
            OptunaOracle("val_loss", sampler="grid", enqueue=[{"x": 1}])

    def test_a_search_begins_with_what_is_known_to_be_good(self, quick: Quick) -> None:
        result = quick(trials=3, seeds=1, initializers=["zeros", "auto", "own", "he_auto", "random_uniform"])
        assert [t.values["initializer"] for t in result.trials] == ["own", "he_auto", "auto"]
        none = quick(trials=1, seeds=1, initializers=["zeros", "auto"], enqueue=[], overwrite=True, seed=2)
        assert len(none.trials) == 1

    def test_resuming_goes_on_with_the_candidates(self, quick: Quick, recorder: Any) -> None:
        options = {"trials": 3, "seeds": 1, "initializers": ["zeros", "own", "he_auto"]}
        with pytest.raises(KeyboardInterrupt):
            quick(observers=[recorder(after=1)], **options)
        result = quick(resume=True, **options)
        assert [t.values["initializer"] for t in result.trials][:2] == ["own", "he_auto"]


class TestWholeModels:
    def chosen(self, name: str, model: keras.Model) -> keras.Model:
        hp = keras_tuner.HyperParameters()
        hp.values = {"initializer": name}
        keras.utils.set_random_seed(3)
        return InitializerHyperModel(model, [name], None).build(hp)

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

    def test_own_is_what_the_model_was_made_with(self) -> None:
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

    def test_every_method_is_a_name_but_lsuv(self) -> None:
        with pytest.raises(InitxError, match="initialize:"):
            self.chosen("initialize:lsuv", self.model())
        with pytest.raises(InitxError, match=r"Did you mean 'initialize:edge'\?"):
            self.chosen("initialize:edg", self.model())

    def test_a_search_over_them(self, quick: Quick) -> None:
        names = ["initialize:auto", "initialize:gpn", "own"]
        result = quick(tuner="grid", trials=None, initializers=names, learning_rates=[0.01])
        assert sorted(t.values["initializer"] for t in result.trials) == sorted(names)
        assert {t.status for t in result.trials} == {"completed"}
