"""A KerasTuner oracle proposes the values, and the Optuna study stores the results."""

from typing import Any

import keras_tuner
import optuna
import pytest
from keras_initx.tuning.study.samplers.keras_tuner_oracle import OracleSampler

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

OPTIONS = {"seeds": 1, "epochs": 1, "enqueue": [], "initializers": ["he_normal", "auto", "zeros"]}


class Fixed(keras_tuner.Oracle):
    """Proposes a list of values in turn, and records the results that it has received by then."""

    def __init__(self, proposals: list[dict[str, Any]]) -> None:
        super().__init__("val_accuracy")
        self.proposals, self.known = list(proposals), []

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self.known.append(
            {name: (t.score, dict(t.hyperparameters.values)) for name, t in self.trials.items()}
        )
        return {"status": "RUNNING", "values": self.proposals.pop(0)}


def proposals(*names: str) -> list[dict[str, Any]]:
    return [{"initializer": name, "learning_rate": 0.001} for name in names]


def test_users_oracle_proposes_and_receives_every_score(quick: Any) -> None:
    oracle = Fixed(proposals("auto", "he_normal", "zeros", "auto"))
    result = quick(tuner=oracle, trials=4, **OPTIONS)
    assert [t.values["initializer"] for t in result.trials] == ["auto", "he_normal", "zeros", "auto"]
    assert [t.status for t in result.trials] == ["completed", "completed", "screened", "completed"]
    scores = {t.number: t.sample.mean for t in result.trials if t.seeds}
    assert [len(known) for known in oracle.known] == [0, 1, 2, 3]
    last = oracle.known[-1]
    assert {name: score for name, (score, _) in last.items()} == {
        "0000": scores[0], "0001": scores[1],
        # A trial that was ended early counts as the worst one.
        "0002": min(scores[0], scores[1]),
    }  # fmt: skip
    assert last["0002"][1]["initializer"] == "zeros"


def test_resumed_search_passes_earlier_trials_to_a_new_oracle(quick: Any) -> None:
    first = quick(tuner=Fixed(proposals("auto", "he_normal")), trials=2, **OPTIONS)
    oracle = Fixed(proposals("he_normal"))
    quick(tuner=oracle, trials=3, mode="resume", **OPTIONS)
    assert {name: score for name, (score, _) in oracle.known[0].items()} == {
        f"{t.number:04d}": t.sample.mean for t in first.trials
    }


def test_value_that_is_not_allowed_is_drawn_at_random(quick: Any) -> None:
    oracle = Fixed([{"initializer": "nonsense"}, {}])
    for trial in quick(tuner=oracle, trials=2, **OPTIONS).trials:
        assert trial.values["initializer"] in OPTIONS["initializers"]


@pytest.mark.parametrize("name", ["BayesianOptimizationOracle", "RandomSearchOracle"])
def test_oracles_of_keras_tuner(quick: Any, name: str) -> None:
    oracle = getattr(keras_tuner.oracles, name)("val_accuracy", max_trials=99, seed=0)
    result = quick(tuner=oracle, trials=6, learning_rates=[0.1, 0.01, 0.001], **OPTIONS)
    assert len(result.trials) == 6
    assert len({tuple(t.values.items()) for t in result.trials}) > 2
    assert optuna.trial.TrialState.COMPLETE in {t.state for t in result.tuner.oracle.study.trials}


def test_bayesian_optimization_finds_the_bottom_of_a_bowl() -> None:
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    oracle = keras_tuner.oracles.BayesianOptimizationOracle(
        keras_tuner.Objective("y", "min"), num_initial_points=4, seed=0
    )
    study = optuna.create_study(sampler=OracleSampler(oracle, space.copy))
    study.optimize(lambda trial: (trial.suggest_float("x", -1.0, 1.0) - 0.3) ** 2, n_trials=15)
    assert study.best_params["x"] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("oracle", "instead"),
    [
        (keras_tuner.oracles.GridSearchOracle("val_accuracy"), "tuner='grid'"),
        (keras_tuner.oracles.HyperbandOracle("val_accuracy"), "pruner='hyperband'"),
    ],
)
def test_oracle_that_keeps_its_progress_to_itself(quick: Any, oracle: Any, instead: str) -> None:
    with pytest.raises(InitxError, match=f"^`tuner` .*Oracle cannot be resumed.*Use {instead}"):
        quick(tuner=oracle, **OPTIONS)


@pytest.mark.parametrize("method", ["create_trial", "update_trial", "end_trial", "score_trial"])
def test_an_oracle_whose_own_method_would_never_be_called(quick: Any, method: str) -> None:
    base = keras_tuner.oracles.RandomSearchOracle
    own = type("Own", (base,), {method: lambda self, *args: getattr(base, method)(self, *args)})
    with pytest.raises(InitxError, match=f"^`tuner` Own overrides {method}, .*populate_space"):
        quick(tuner=own("val_accuracy"), **OPTIONS)


def test_new_process_does_not_repeat_proposals(quick: Any) -> None:
    def oracle() -> keras_tuner.Oracle:
        return keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=99, seed=3)

    options = {**OPTIONS, "learning_rates": [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]}
    quick(tuner=oracle(), trials=3, **options)
    result = quick(tuner=oracle(), trials=6, mode="resume", **options)
    assert len({tuple(t.values.items()) for t in result.trials}) == 6


def test_oracle_without_further_proposals_ends_the_search(quick: Any) -> None:
    class Two(Fixed):
        def populate_space(self, trial_id: str) -> dict[str, Any]:
            if not self.proposals:
                return {"status": "STOPPED"}
            return super().populate_space(trial_id)

    result = quick(tuner=Two(proposals("auto", "he_normal")), trials=9, **OPTIONS)
    assert [t.values["initializer"] for t in result.trials] == ["auto", "he_normal"]


@pytest.mark.parametrize("objective", ["val_loss", keras_tuner.Objective("val_accuracy", "min")])
def test_oracle_for_another_objective(quick: Any, objective: Any) -> None:
    oracle = keras_tuner.oracles.RandomSearchOracle(objective)
    with pytest.raises(InitxError, match=r"^`tuner` .*, got one for .*Objective\('val_accuracy', 'max'\)"):
        quick(tuner=oracle, **OPTIONS)


def test_trials_without_values_are_not_passed_to_the_oracle() -> None:
    received: list[Any] = []

    class Watched(keras_tuner.oracles.RandomSearchOracle):
        def populate_space(self, trial_id: str) -> dict[str, Any]:
            received.append({name: dict(t.hyperparameters.values) for name, t in self.trials.items()})
            return super().populate_space(trial_id)

    # Pretend that it is one of KerasTuner.
    Watched.__module__ = "keras_tuner.oracles.own"
    x = {"x": optuna.distributions.FloatDistribution(-1, 1)}
    study = optuna.create_study(direction="maximize")
    surplus = study.ask()
    surplus.set_user_attr("surplus", True)
    study.tell(surplus.number, state=optuna.trial.TrialState.FAIL)
    study.add_trial(optuna.trial.create_trial(value=0.5, params={"x": 0.1}, distributions=x))
    space = keras_tuner.HyperParameters()
    space.Float("x", -1.0, 1.0)
    study.sampler = OracleSampler(Watched(keras_tuner.Objective("y", "max"), seed=0), space.copy)
    study.ask(x)
    # It was asked once, and had received the one trial that ran.
    assert received == [{"0001": {"x": 0.1}}]
