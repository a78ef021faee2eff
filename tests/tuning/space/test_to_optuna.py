"""KerasTuner's hyperparameters as parameters of a study: ranges, scales, names."""

import math
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_initx.tuning.space.to_optuna import allows, count_points, filled, parameters_of, range_of
from scipy import stats

pytestmark = pytest.mark.one_backend


def space_of(declare: Any) -> list[Any]:
    hp = keras_tuner.HyperParameters()
    declare(hp)
    return hp.space


def drawn(declare: Any, n: int) -> list[Any]:
    """Return values that Optuna's random sampler draws."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    (parameter,) = parameters_of(space_of(declare))
    return [parameter.value_of(parameter.suggest(study.ask())) for _ in range(n)]


class TestReverseLog:
    def test_floats_are_drawn_as_keras_tuner_draws_them(self) -> None:
        declare = lambda hp: hp.Float("x", 1e-3, 1.0, sampling="reverse_log")  # noqa: E731
        (hp,) = space_of(declare)
        values = drawn(declare, 1000)
        # The cumulative probability of KerasTuner's own formula is uniform.
        assert stats.kstest([hp.value_to_prob(v) for v in values], "uniform").pvalue > 1e-3
        linear = [(v - 1e-3) / 0.999 for v in values]
        assert stats.kstest(linear, "uniform").pvalue < 1e-9

    def test_integers_are_drawn_as_keras_tuner_draws_them(self) -> None:
        declare = lambda hp: hp.Int("x", 1, 6, sampling="reverse_log")  # noqa: E731
        (hp,) = space_of(declare)
        values = drawn(declare, 1200)
        assert {type(v) for v in values} == {int}
        # KerasTuner rounds a value from [1, 7) down: v comes from 7 - v < u <= 8 - v, with log(u) uniform.
        expected = [1200 * math.log((8 - v) / (7 - v)) / math.log(7) for v in range(1, 7)]
        assert stats.chisquare([values.count(v) for v in range(1, 7)], expected).pvalue > 1e-3
        own = [hp.prob_to_value((i + 0.5) / 1200) for i in range(1200)]
        assert [own.count(v) for v in range(1, 7)] == pytest.approx(expected, abs=1)

    @pytest.mark.parametrize(("kind", "values"), [("Float", [0.5, 2.0, 3.7, 8.0]), ("Int", [1, 2, 5, 8])])
    def test_stored_parameter_belongs_to_the_value(self, kind: str, values: list[Any]) -> None:
        declare = lambda hp: getattr(hp, kind)("x", values[0], 8, sampling="reverse_log")  # noqa: E731
        (parameter,) = parameters_of(space_of(declare))
        assert parameter.name == "x (reversed)"
        for value in values:
            stored = parameter.stored(value)
            assert allows(parameter.distribution, stored)
            assert parameter.value_of(stored) == pytest.approx(value)

    def test_a_step_is_a_factor(self) -> None:
        declare = lambda hp: hp.Float("x", 1.0, 8.0, step=2, sampling="reverse_log")  # noqa: E731
        (hp,) = space_of(declare)
        (parameter,) = parameters_of([hp])
        assert parameter.name == "x"
        assert set(drawn(declare, 60)) == set(hp.values) == {8.0, 7.0, 5.0, 1.0}


def conditional(*lows: int) -> list[Any]:
    def declare(hp: Any) -> None:
        hp.Choice("kind", ["a", "b"])
        for name, low in zip("ab", lows, strict=True):
            with hp.conditional_scope("kind", [name]):
                hp.Int("units", low, low + 5)

    return space_of(declare)


class TestNames:
    def test_equal_ranges_under_two_conditions_share_a_parameter(self) -> None:
        assert [p.name for p in parameters_of(conditional(1, 1))] == ["kind", "units", "units"]

    def test_another_range_gets_the_condition(self) -> None:
        assert [p.name for p in parameters_of(conditional(1, 9))] == ["kind", "units", "units [kind=b]"]

    @pytest.mark.parametrize(("kind", "units"), [("a", 3), ("b", 12)])
    def test_value_of_the_active_one(self, kind: str, units: int) -> None:
        values = {"kind": kind, "units": 3, "units [kind=b]": 12}
        hyperparameters = filled(conditional(1, 9), lambda parameter: values[parameter.name])
        assert hyperparameters.values == {"kind": kind, "units": units}

    def test_fixed_values_are_no_parameters(self) -> None:
        space = space_of(lambda hp: hp.Fixed("fixed", 7))
        assert parameters_of(space) == []
        assert filled(space, lambda parameter: None).values == {"fixed": 7}


def test_a_range_contains_its_values_only() -> None:
    space = space_of(
        lambda hp: (
            hp.Int("i", 1, 9, step=4),
            hp.Float("f", 0.0, 0.7, step=0.1),
            hp.Choice("c", [1, 2]),
            hp.Boolean("b"),
        )
    )
    integer, real, choice, flag = map(range_of, space)
    assert [v for v in (0, 1, 2, 5, 9, 13, 5.0) if allows(integer, v)] == [1, 5, 9]
    assert [v for v in (-0.1, 0.0, 0.05, 0.3, 0.7, 0.8) if allows(real, v)] == [0.0, 0.3, 0.7]
    assert [v for v in (1, 2, 3, True, "1") if allows(choice, v) and type(v) is int] == [1, 2]
    assert not allows(choice, True)
    assert [v for v in (0, 1, False, True) if allows(flag, v)] == [False, True]


@pytest.mark.parametrize(
    ("declare", "points"),
    [
        (lambda hp: (hp.Choice("a", [1, 2, 3]), hp.Boolean("b")), 6),
        (lambda hp: (hp.Int("a", 1, 100, sampling="log"), hp.Fixed("b", 1)), 100),
        (lambda hp: hp.Float("a", 0.0, 1.0, step=0.25), 5),
        (lambda hp: (hp.Float("a", 0.0, 1.0), hp.Boolean("b")), None),
        (lambda hp: None, 1),
    ],
)
def test_points_of_a_space(declare: Any, points: int | None) -> None:
    hp = keras_tuner.HyperParameters()
    declare(hp)
    assert count_points(hp) == points
