"""The arguments of `InitializerTuner`: KerasTuner's, those that exclude each other, and an own `fit`."""

from pathlib import Path
from typing import Any, ClassVar

import keras
import keras_tuner
import pytest
from keras_initx.tuning import InitializerTuner, OptunaOracle, SearchSpace

from keras_initx import InitxError
from tests.tuning.training.tuners import line, line_data, make

pytestmark = pytest.mark.one_backend


class TestOwnFit:
    """A HyperModel that trains by code of its own."""

    class TwoPhases(keras_tuner.HyperModel):
        """Tells the callbacks of its first phase only."""

        def build(self, hp: Any) -> keras.Model:
            return line(0.01)()

        def fit(
            self, hp: Any, model: keras.Model, x: Any, y: Any, validation_data: Any, **options: Any
        ) -> float:
            model.fit(
                x, y, validation_data=validation_data, epochs=2, verbose=0, callbacks=options["callbacks"]
            )
            model.fit(x, y, epochs=3, verbose=0)
            return float(model.evaluate(*validation_data, verbose=0))

    class FineTuned(TwoPhases):
        """Tells the callbacks of both phases, and returns the History of the second, which is worse."""

        def fit(
            self, hp: Any, model: keras.Model, x: Any, y: Any, validation_data: Any, **options: Any
        ) -> Any:
            fit = {"validation_data": validation_data, "verbose": 0, "callbacks": options["callbacks"]}
            model.fit(x, y, epochs=4, **fit)
            model.optimizer.learning_rate = 2.0
            return model.fit(x, y, epochs=6, initial_epoch=4, **fit)

    @pytest.mark.parametrize("kind", [TwoPhases, FineTuned])
    def test_the_saved_weights_are_those_that_scored(self, tmp_path: Path, kind: Any) -> None:
        train, validation = line_data()
        tuner = InitializerTuner(
            kind(), "val_loss", 1, executions_per_trial=1, directory=str(tmp_path), project_name="p"
        )
        tuner.oracle.verbose = 0
        tuner.search(*train, validation_data=validation)
        (model,) = tuner.get_best_models()
        score = tuner.oracle.get_best_trials()[0].score
        assert float(model.evaluate(*validation, verbose=0)) == pytest.approx(score, rel=1e-5)


class TestKerasTunersArguments:
    """What KerasTuner's `Tuner` does with its arguments and hooks."""

    def search(self, folder: Path, pairs: Any, model: Any, *, kind: Any = InitializerTuner, **options: Any):
        defaults = {"executions_per_trial": 1, "jit_compile": False, "space": SearchSpace(["auto"])}
        fit = {name: options.pop(name) for name in ("callbacks", "class_weight") if name in options}
        tuner = kind(model, "val_loss", 1, **{**defaults, **options}, directory=str(folder), project_name="p")
        tuner.oracle.verbose = 0
        tuner.search(*pairs[0], validation_data=pairs[1], epochs=2, batch_size=48, **fit)
        return tuner

    @pytest.mark.parametrize("flag", ["tune_new_entries", "allow_new_entries"])
    @pytest.mark.parametrize("space", [SearchSpace(["auto", "he_auto"]), None])
    def test_a_chosen_space_is_no_new_entry(
        self, tmp_path: Path, small_model: Any, flag: str, space: Any
    ) -> None:
        given = keras_tuner.HyperParameters()
        given.Choice("units", [3, 5])
        options = {"hyperparameters": given, flag: False, "space": space}
        tuner = InitializerTuner(
            lambda hp: small_model(hp.get("units")), "val_loss", 4, **options, directory=str(tmp_path)
        )
        searched = [hp.name for hp in tuner.oracle.hyperparameters.space]
        # KerasTuner keeps the default of every value that nobody chose, or refuses to start.
        is_left_out = space is None and flag == "tune_new_entries"
        assert searched == (["units"] if is_left_out else ["units", "initializer"])
        assert [hp.name for hp in given.space] == ["units"]

    def test_class_weights_reach_training(self, tmp_path: Path, pairs: Any, small_model: Any) -> None:
        losses = [
            self.search(
                tmp_path / str(weight), pairs, small_model, class_weight={0: weight, 1: weight}
            ).oracle.seed_results("0000")[0]["curves"]["loss"][0]
            for weight in (1.0, 3.0)
        ]
        assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)

    def test_an_argument_that_is_no_argument_of_fit(
        self, tmp_path: Path, pairs: Any, small_model: Any
    ) -> None:
        tuner = make(tmp_path, small_model, pairs)
        with pytest.raises(InitxError, match=r"^`epoch` is not an argument of `fit`\. Did you mean `epochs`"):
            tuner.search(*pairs[0], epoch=3)

    @pytest.mark.parametrize("returned", [None, "low", {"loss": 1.0}])
    def test_a_fit_that_returns_no_score_ends_the_search(
        self, tmp_path: Path, pairs: Any, small_model: Any, returned: Any
    ) -> None:
        class Own(keras_tuner.HyperModel):
            def build(self, hp: Any) -> keras.Model:
                return small_model()

            def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
                return returned

        tuner = make(tmp_path, Own(), pairs)
        with pytest.raises(keras_tuner.errors.FatalError, match="The HyperModel's `fit` must return"):
            tuner.run()
        assert len(tuner.oracle.trials) == 1

    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"seeds": [1, 1]}, "seeds"),
            ({"seeds": 0}, "seeds"),
            ({"seeds": [1], "executions_per_trial": 2}, "executions_per_trial"),
            ({"executions_per_trial": 0}, "executions_per_trial"),
            ({"patience": -3}, "patience"),
            ({"space": ["auto"]}, "space"),
            ({"oracle": OptunaOracle("val_loss", 1), "max_trials": 50}, "max_trials"),
            ({"oracle": OptunaOracle("val_loss", 1), "max_retries_per_trial": 3}, "max_retries_per_trial"),
            ({"seeds": ["a", 0.5]}, "seeds"),
            ({"oracle": "tpe"}, "oracle"),
            ({"max_epochs": 9}, "max_epochs"),
            ({"num_initial_points": 4}, "num_initial_points"),
        ],
    )
    def test_arguments_that_cannot_be_used(
        self, tmp_path: Path, small_model: Any, options: dict[str, Any], argument: str
    ) -> None:
        with pytest.raises(InitxError) as caught:
            InitializerTuner(small_model, **options, directory=str(tmp_path))
        assert caught.value.argument == argument

    def test_arguments_of_other_tuners_name_what_takes_their_place(self, small_model: Any) -> None:
        with pytest.raises(InitxError, match=r"^`factor` is an argument of Hyperb.* Use pruner='hyperband'"):
            InitializerTuner(small_model, "val_loss", factor=3)
        with pytest.raises(InitxError, match=r"^`alpha` is an argument of BayesianOpt.* sampler='gp'"):
            InitializerTuner(small_model, "val_loss", alpha=1e-4)
        with pytest.raises(ValueError, match="Unrecognized arguments"):
            InitializerTuner(small_model, "val_loss", unrecognized=3)

    def test_an_oracle_of_keras_tuner_proposes_the_values(self, tmp_path: Path) -> None:
        class Counting(keras_tuner.oracles.RandomSearchOracle):
            proposed: ClassVar[list[Any]] = []

            def populate_space(self, trial_id: str) -> Any:
                answer = super().populate_space(trial_id)
                self.proposed.append(answer["values"]["x"])
                return answer

        class Tuner(InitializerTuner):
            def run_trial(self, trial: Any, **kwargs: Any) -> float:
                return trial.hyperparameters.Float("x", 0.0, 1.0)

        hp = keras_tuner.HyperParameters()
        hp.Float("x", 0.0, 1.0)
        own = {"max_retries_per_trial": 2, "max_consecutive_failed_trials": 5, "hyperparameters": hp}
        oracle = Counting(keras_tuner.Objective("score", "min"), 4, seed=3, **own)
        tuner = Tuner(oracle=oracle, directory=str(tmp_path))
        tuner.search(verbose=0)
        trials = tuner.oracle.get_best_trials(9)
        assert sorted(t.score for t in trials) == sorted(oracle.proposed)
        assert len(set(oracle.proposed)) == 4
        limits = tuner.oracle.max_retries_per_trial, tuner.oracle.max_consecutive_failed_trials
        assert limits == (2, 5)

    def test_an_unknown_objective_ends_the_search_at_once(
        self, tmp_path: Path, pairs: Any, small_model: Any
    ) -> None:
        tuner = make(tmp_path, small_model, pairs, objective="val_acc")
        with pytest.raises(InitxError, match=r"^`objective` .*got 'val_acc'\. Did you mean 'val_accuracy'\?"):
            tuner.run()
        assert len(tuner.oracle.trials) == 1

    def test_oracle_and_objective_exclude_each_other(self, tmp_path: Path, small_model: Any) -> None:
        with pytest.raises(InitxError, match=r"^`objective` must be None if `oracle` is passed"):
            InitializerTuner(
                small_model, "val_loss", oracle=OptunaOracle("val_loss", 1), directory=str(tmp_path)
            )


@pytest.mark.parametrize(
    "option",
    [
        {"max_trials": True},
        {"max_retries_per_trial": -1},
        {"max_consecutive_failed_trials": 0},
        {"target": float("nan")},
        {"jit_compile": "no"},
        {"screening": "off"},
        {"hyperparameters": {"units": 3}},
    ],
)
def test_a_value_of_another_kind(option: dict[str, Any], small_model: Any, tmp_path: Path) -> None:
    with pytest.raises(InitxError) as caught:
        InitializerTuner(lambda hp: small_model(), "val_loss", directory=tmp_path, **option)
    assert caught.value.argument == next(iter(option))
    assert not any(tmp_path.iterdir())
