"""Trials of a study as KerasTuner's, and what a sampler sees of hyperparameters that appear late."""

import pickle
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.study.results import read_trial
from keras_initx.tuning.study.trials import ActiveValues, hyperparameters_of
from keras_tuner.engine import hyperparameters
from optuna.distributions import IntDistribution

from tests.tuning.study.plain_tuner import PlainTuner, run

pytestmark = pytest.mark.one_backend


def loop(hp: Any) -> float:
    return sum(hp.Int(f"units_{i}", 1, 64, default=9) for i in range(hp.Int("layers", 2, 3)))


def test_late_hyperparameters_become_parameters(tmp_path: Path) -> None:
    frozen = run(tmp_path, loop, trials=3, sampler="random").oracle.frozen_trials()
    # Nothing was known when the first trial began.
    assert frozen[0].params == {"layers": 2, "units_0": 9, "units_1": 9}
    assert frozen[0].distributions["units_1"] == IntDistribution(1, 64)
    assert dict(read_trial(frozen[0]).values) == frozen[0].params


def test_default_outside_of_its_range_is_stored_but_no_parameter(tmp_path: Path) -> None:
    oracle = run(tmp_path, lambda hp: hp.Int("x", 1, 5, default=99), trials=1).oracle
    assert oracle.get_best_trials()[0].hyperparameters.values == {"x": 99}
    assert oracle.frozen_trials()[0].params == {}


def test_reports_show_the_real_values(tmp_path: Path) -> None:
    def declare(hp: Any) -> None:
        hp.Float("x", 0.1, 1.0, sampling="reverse_log")
        hp.Fixed("fixed", 3)

    tuner = run(tmp_path, lambda hp: hp.get("x"), declare, trials=2)
    assert [dict(t.values) for t in tuner.oracle.results()] == [{"x": v["x"]} for v in tuner.seen]


def test_trial_that_is_taken_over_keeps_its_values(tmp_path: Path) -> None:
    def declare(hp: Any) -> None:
        hp.Int("layers", 2, 3)

    first = OptunaOracle(max_trials=1)
    PlainTuner(first, tmp_path, loop, declare)
    first.verbose = 0
    begun = first.create_trial("tuner0").hyperparameters.values
    first.release()
    # The new process knows more hyperparameters. Half of the trial's seeds may have run with their defaults.
    second = run(tmp_path, loop, loop, trials=1, storage=None)
    assert second.seen == [begun]
    values = second.oracle.get_best_trials()[0].hyperparameters.values
    assert set(values.values()) - {begun["layers"]} == {9}


def test_hyperparameters_that_a_trial_never_declared_are_left_out() -> None:
    space = keras_tuner.HyperParameters()
    space.Int("a", 1, 9)
    space.Int("b", 1, 9)
    hyperparameters = hyperparameters_of({"a": 3}, space)
    assert [hp.name for hp in hyperparameters.space] == ["a"]
    assert hyperparameters.Int("b", 1, 9, default=5) == 5


def test_active_value_survives_an_inactive_one_of_the_same_name() -> None:
    space = ActiveValues()
    space.Choice("kind", ["a", "b", "c"])
    for name in "abc":
        with space.conditional_scope("kind", [name]):
            space.Int("units", 1 + 10 * "abc".index(name), 10 * "abc".index(name) + 9)
    for kind, units in (("a", 4), ("b", 14), ("c", 24)):
        space.values = {"kind": kind, "units": units}
        space.ensure_active_values()
        assert space.values == {"kind": kind, "units": units}
    # A value of another condition is replaced.
    space.values = {"kind": "b", "units": 3}
    space.ensure_active_values()
    assert 11 <= space.values["units"] <= 19


def test_best_hyperparameters_survive_keras_tuners_serialization(tmp_path: Path) -> None:
    best = run(tmp_path, loop, loop, trials=2).get_best_hyperparameters()[0]
    read = hyperparameters.deserialize(hyperparameters.serialize(best))
    assert read.values == best.values
    assert [hp.name for hp in read.space] == [hp.name for hp in best.space]
    assert pickle.loads(pickle.dumps(best)).values == best.values
