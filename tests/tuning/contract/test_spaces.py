"""The values that a build used are stored, and read back exactly."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from tests.tuning.contract.makers import Maker, compiled, data, search

pytestmark = pytest.mark.one_backend


def loop(hp: Any) -> float:
    """Declare a number of units for each of several layers."""
    return sum(hp.Int(f"units_{i}", 1, 64, default=9) for i in range(hp.Int("layers", 1, 4)))


def scopes(hp: Any) -> float:
    kind = hp.Choice("kind", ["wide", "deep"])
    with hp.conditional_scope("kind", ["wide"]):
        width = hp.Int("width", 10, 90)
    with hp.conditional_scope("kind", ["deep"]):
        depth = hp.Int("depth", 1, 9)
    return float(width if kind == "wide" else depth)


def read_back(tuner: Any) -> dict[str, dict[str, Any]]:
    """Return the values of every trial, as each way of reading them shows them."""
    trials = tuner.oracle.get_best_trials(99)
    by_id = {t.trial_id: dict(t.hyperparameters.values) for t in trials}
    assert [dict(hp.values) for hp in tuner.get_best_hyperparameters(99)] == list(by_id.values())
    assert {i: dict(tuner.oracle.get_trial(i).hyperparameters.values) for i in by_id} == by_id
    return by_id


class Recorded:
    """Runs `build` on hyperparameters and records which values it used."""

    def __init__(self, build: Any) -> None:
        self.build, self.used = build, []

    def __call__(self, hp: Any) -> float:
        score = self.build(hp)
        self.used.append(dict(hp.values))
        return score


@pytest.mark.parametrize("build", [loop, scopes])
@pytest.mark.parametrize("known", [True, False])
def test_every_value_that_a_build_used(make: Maker, build: Any, known: bool) -> None:
    run = Recorded(build)
    tuner = search(make(build if known else None, run, max_trials=6))
    assert len(run.used) == 6
    used = {f"{number}": values for number, values in enumerate(run.used)}
    for reader in (tuner, make(build if known else None, run, max_trials=6)):
        stored = {str(int(name)): values for name, values in read_back(reader).items()}
        assert stored == used
        for values in stored.values():
            hp = next(h for h in reader.get_best_hyperparameters(99) if h.values == values)
            before = dict(hp.values)
            # A build from what is read back uses the same values, and adds none.
            build(hp)
            assert hp.values == before


def test_late_values_are_defaults(make: Maker) -> None:
    run = Recorded(loop)
    search(make(None, run, max_trials=1))
    assert {v for name, v in run.used[0].items() if name != "layers"} == {9}


def test_inactive_values_are_left_out(make: Maker) -> None:
    tuner = search(make(scopes, scopes, max_trials=8))
    for values in read_back(tuner).values():
        assert values.keys() == {"kind", "width" if values["kind"] == "wide" else "depth"}


def test_later_trials_search_what_appeared_during_a_build(make: Maker) -> None:
    run = Recorded(loop)
    search(make(None, run, max_trials=8))
    assert len({values["units_0"] for values in run.used}) > 2


def test_best_models_are_the_trained_ones(make: Maker) -> None:
    trained: list[tuple[float, Any]] = []

    class Deep(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            layers = range(hp.Int("layers", 1, 3))
            return compiled([keras.layers.Dense(hp.Int(f"units_{i}", 2, 9)) for i in layers])

        def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            history = super().fit(hp, model, *args, **kwargs)
            trained.append((history.history["val_loss"][0], model.get_weights()))
            return history

    search(make(Deep(), objective="val_loss", max_trials=3), **data())
    trained.sort(key=lambda pair: pair[0])
    for model, (_, weights) in zip(
        make(Deep(), objective="val_loss", max_trials=3).get_best_models(3), trained, strict=True
    ):
        assert [w.shape for w in model.get_weights()] == [w.shape for w in weights]
        for got, expected in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_new_entries_that_are_not_tuned_keep_their_default(make: Maker) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("layers", 1, 4)
    options = {"hyperparameters": space, "tune_new_entries": False, "max_trials": 4}
    run = Recorded(loop)
    search(make(loop, run, **options))
    assert {v for values in run.used for name, v in values.items() if name.startswith("units")} == {9}
    assert len({values["layers"] for values in run.used}) > 1
    stored = read_back(make(loop, run, **options))
    assert [stored[name] for name in sorted(stored)] == run.used


def test_new_entries_that_are_not_allowed(make: Maker) -> None:
    space = keras_tuner.HyperParameters()
    space.Int("layers", 1, 4)
    with pytest.raises(RuntimeError, match=r"^`allow_new_entries` is `False`, but found new entries"):
        make(loop, loop, hyperparameters=space, allow_new_entries=False)


def test_given_hyperparameters_override_those_of_the_build(make: Maker) -> None:
    space = keras_tuner.HyperParameters()
    space.Fixed("layers", 2)
    space.Int("units_1", 100, 110)
    run = Recorded(loop)
    search(make(loop, run, hyperparameters=space, max_trials=3))
    for values in run.used:
        assert values["layers"] == 2
        assert 100 <= values["units_1"] <= 110
        assert 1 <= values["units_0"] <= 64


@pytest.mark.parametrize("ranges", [(10, 20, 30), (10, 10, 10)])
def test_one_name_under_several_conditions(make_ours: Maker, ranges: tuple[int, ...]) -> None:
    # KerasTuner drops the value of the active one and raises `KeyError`.
    def build(hp: Any) -> float:
        kind = hp.Choice("kind", ["a", "b", "c"])
        units = {}
        for name, low in zip("abc", ranges, strict=True):
            with hp.conditional_scope("kind", [name]):
                units[name] = hp.Int("units", low, low + 5)
        assert ranges["abc".index(kind)] <= units[kind] <= ranges["abc".index(kind)] + 5
        return float(units[kind])

    run = Recorded(build)
    search(make_ours(build, run, max_trials=9))
    assert {values["kind"] for values in run.used} == {"a", "b", "c"}
    stored = read_back(make_ours(build, run, max_trials=9))
    assert [stored[name] for name in sorted(stored)] == run.used


def test_values_drawn_in_reverse_log(make: Maker) -> None:
    run = Recorded(lambda hp: hp.Float("x", 0.01, 1.0, sampling="reverse_log"))
    stored = read_back(
        search(make(lambda hp: hp.Float("x", 0.01, 1.0, sampling="reverse_log"), run, max_trials=40))
    )
    assert [stored[name]["x"] for name in sorted(stored)] == [values["x"] for values in run.used]
    # Its mean is 0.795; a log scale's is 0.215, a linear one's 0.505; the error of 40 draws is 0.04.
    assert np.mean([values["x"] for values in run.used]) > 0.65


def test_no_combination_is_tried_twice_and_the_search_ends(make: Maker) -> None:
    def four(hp: Any) -> float:
        return hp.Choice("a", [1, 2]) + hp.Boolean("b")

    run = Recorded(four)
    search(make(four, run, max_trials=12))
    assert len(run.used) == len({tuple(v.values()) for v in run.used}) == 4
    # Nor in another process.
    search(make(four, run, max_trials=12))
    assert len(run.used) == 4


def test_combinations_repeat_on_request(with_oracle: Maker) -> None:
    run = Recorded(lambda hp: float(hp.Boolean("b")))
    tuner = search(with_oracle(None, run, max_trials=7, repeats=True))
    assert len(run.used) == 7
    earlier = [run.used[:number].count(values) for number, values in enumerate(run.used)]
    assert [tuner.oracle.repetition_of(name) for name in tuner.oracle.start_order] == earlier
    assert max(earlier) > 1


def test_a_build_may_read_given_hyperparameters_without_declaring_them(make: Maker) -> None:
    def reads(hp: Any) -> keras.Model:
        return compiled([keras.layers.Dense(hp.get("units"))])

    space = keras_tuner.HyperParameters()
    space.Choice("units", [3, 5])
    options = {"hyperparameters": space, "tune_new_entries": False, "objective": "val_loss", "max_trials": 2}
    tuner = search(make(reads, **options), **data())
    assert {t.hyperparameters.get("units") for t in tuner.oracle.trials.values()} == {3, 5}
