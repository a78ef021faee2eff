"""Trials that fall behind end: over epochs by Optuna's pruners, over seeds by Wilcoxon's test."""

import keras
import numpy as np
import optuna
import pytest
from keras_initx.tuning.pruning.pruners import Pruning
from scipy import stats

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend


class TestNames:
    @pytest.mark.parametrize(
        ("name", "cls"),
        [
            ("median", optuna.pruners.MedianPruner),
            ("halving", optuna.pruners.SuccessiveHalvingPruner),
            ("hyperband", optuna.pruners.HyperbandPruner),
        ],
    )
    def test_over_epochs(self, name, cls):
        assert type(Pruning(name, 9, 3).over_epochs) is cls
        assert Pruning(name, 9, 3).names == [name]

    def test_one_of_each_kind(self):
        own = optuna.pruners.PercentilePruner(25.0)
        both = Pruning([own, "wilcoxon"], 9, 3)
        assert both.over_epochs is own
        assert both.names == ["PercentilePruner", "wilcoxon"]
        with pytest.raises(
            InitxError,
            match=r"^`pruner` must be at most one pruner over epochs .*, got \['median', 'halving'\]",
        ):
            Pruning(["median", "halving"], 9, 3)
        with pytest.raises(InitxError, match=r"^`pruner` 'medain' is not known\. Did you mean 'median'"):
            Pruning("medain", 9, 3)


class TestOverSeeds:
    @pytest.mark.parametrize("direction", ["max", "min"])
    def test_equals_wilcoxons_test(self, direction):
        generator, sign = np.random.default_rng(0), 1 if direction == "max" else -1
        best = {s: sign * v for s, v in enumerate(generator.normal(1, 0.1, 8))}
        pruned = []
        for shift in np.linspace(0, 0.3, 13):
            own = {s: v - sign * (shift + generator.normal(0, 0.1)) for s, v in list(best.items())[:6]}
            differences = [sign * (own[s] - best[s]) for s in own]
            expected = stats.wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue < 0.1
            expected &= np.mean(list(own.values())) * sign < np.mean(list(best.values())) * sign
            pruned.append(
                Pruning("wilcoxon", 9, 8).is_behind(own, [best, dict.fromkeys(best, -9.0 * sign)], direction)
            )
            assert pruned[-1] == expected
        assert set(pruned) == {True, False}

    def test_no_other_trial_and_no_pruner_over_seeds(self):
        assert not Pruning("wilcoxon", 9, 8).is_behind({0: 0.1, 1: 0.1}, [], "max")
        assert not Pruning("median", 9, 8).is_behind({0: 0.1}, [{0: 0.9}], "max")


class TestInASearch:
    def test_run_that_falls_behind_ends(self, quick):
        """A learning rate of nearly 0 learns nothing: the trial is pruned in its first seed."""
        rates = [0.05, 0.06, 0.07, 1e-9]
        result = quick(
            trials=4, initializers=["he_normal"], learning_rates=rates, seeds=2, epochs=5, screening=False,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=2),
            objective="val_loss", enqueue=[{"learning_rate": rate} for rate in rates],
        )  # fmt: skip
        *_, slow = result.trials
        assert slow.values["learning_rate"] == 1e-9
        assert slow.status == "pruned"
        assert "behind other trials after epoch" in slow.reason
        assert not slow.seeds
        assert result.best.values["learning_rate"] != 1e-9
        frozen = result.tuner.oracle.frozen(f"{slow.number:04d}")
        assert frozen.state == optuna.trial.TrialState.PRUNED
        # The steps start at 0, and only the first seed has any.
        assert list(frozen.intermediate_values) == list(range(len(frozen.intermediate_values)))
        assert len(frozen.intermediate_values) < 5

    def test_trial_that_is_worse_seed_by_seed_ends_early(self, quick):
        result = quick(
            initializers=["he_normal"], learning_rates=[0.1, 1e-9], epochs=2, seeds=6, pruner="wilcoxon",
            screening=False, objective="val_loss",
            enqueue=[{"learning_rate": 0.1}, {"learning_rate": 1e-9}],
        )  # fmt: skip
        slow = result.trials[1]
        assert slow.status == "pruned"
        assert 4 <= len(slow.seeds) < 6
        assert "worse than the best trial" in slow.reason

    def test_pruned_trials_in_a_row_do_not_end_the_search(self, quick):
        class Always(optuna.pruners.BasePruner):
            def prune(self, study, trial):
                return trial.number > 0

        result = quick(trials=5, seeds=1, epochs=1, screening=False, pruner=Always())
        assert [t.status for t in result.trials] == ["completed", *["pruned"] * 4]

    def test_study_has_every_epoch_of_every_seed_and_keeps_the_pruner(self, quick):
        result = quick(trials=1, epochs=3, seeds=2)
        frozen = result.tuner.oracle.frozen("0000")
        curves = [r["curves"]["val_accuracy"] for r in result.trials[0].seeds.values()]
        assert frozen.intermediate_values == dict(enumerate(np.concatenate(curves)))
        with pytest.raises(InitxError, match=r"^`pruner` must be \[\].*, got \['median'\]"):
            quick(trials=1, epochs=3, seeds=2, pruner="median", mode="resume")


def test_pruned_run_does_not_affect_the_next_trial_of_the_reused_model(quick):
    class Second(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number == 1

    options = {
        "tuner": "grid", "trials": None, "initializers": ["he_normal"], "learning_rates": [0.1, 0.01, 0.05],
        "screening": False, "seeds": 1,
    }  # fmt: skip
    pruned = quick(pruner=Second(), **options)
    keras.utils.clear_session()
    whole = quick(mode="overwrite", **options)
    assert [t.status for t in pruned.trials] == ["completed", "pruned", "completed"]
    assert pruned.trials[2].sample == whole.trials[2].sample
