"""The race in a search: one process runs it, and it errs no more often when a trial leaves it."""

from collections.abc import Callable
from typing import Any

import pytest
from keras_initx.tuning import InitializerTuner
from keras_initx.tuning.study import locks
from keras_initx.tuning.study.locks import StudyLock

pytestmark = pytest.mark.one_backend

OTHER = {"host": "elsewhere", "machine": "elsewhere", "pid": 1, "token": "another"}
OPTIONS: dict[str, Any] = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
OPTIONS = {**OPTIONS, "learning_rates": [0.01]}


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], float]], None]:
    """Gives each trial's seed the score that a function of both has for it."""

    def use(score: Callable[[int, int], float]) -> None:
        true = InitializerTuner.run_seed

        def run_seed(tuner: Any, trial: Any, seed: int, *twin: Any) -> Any:
            record, model = true(tuner, trial, seed, *twin)
            return {**record, "score": score(int(trial.trial_id), seed)}, model

        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)

    return use


def test_a_trial_that_fails_makes_no_look_cheaper(quick: Any, scored: Any) -> None:
    # Two trials would be told apart by their first three seeds; as two of three they are not.
    lead = {2: 0.85, 3: 1.0, 4: 1.2}

    def score(trial: int, seed: int) -> float:
        if trial == 2 and seed == 3:
            raise FloatingPointError("no number")
        return lead.get(seed, 1.0) if trial == 0 else 0.0

    scored(score)
    result = quick(**{**OPTIONS, "initializers": ["he_normal", "auto", "own"]}, extra_seeds=9)
    assert [t.race for t in result.trials] == [(2, 3, 4, 5), (2, 3, 4, 5), (2,)]
    assert result.trials[2].out == "seed 3: FloatingPointError: no number"
    assert result.best.number == 0


class TestTakenOver:
    """The race of a process that the others have given up."""

    @pytest.fixture
    def other(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Another process, which takes the race when it is told to, and runs as much of it as it is to."""
        monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)

        class Other:
            runs = ((0, 2), (1, 2), (0, 3), (1, 3))
            waited = 0

            def take(self) -> None:
                self.study.set_user_attr("race_owner", OTHER)

            def finish(self) -> None:
                self.waited += 1
                for trial, seed in self.runs:
                    record = {"score": 0.25, "epochs": 2, "best_epoch": 1, "curves": {}, "seconds": 0.0}
                    if f"race_{trial}_{seed}" not in self.study.user_attrs:
                        self.study.set_user_attr(f"race_{trial}_{seed}", record)
                self.study.set_user_attr("race_owner", None)

        made = Other()
        true = StudyLock._take

        def take(mine: StudyLock, name: str) -> bool:
            made.study = mine._study
            if mine._study.user_attrs.get("race_owner") == OTHER:
                made.finish()
            return true(mine, name)

        monkeypatch.setattr(StudyLock, "_take", take)
        return made

    def test_between_two_runs(self, quick: Any, recorder: Any, other: Any) -> None:
        class Watch(recorder):
            def on_seed_end(self, trial: Any, seed: int, *args: Any) -> None:
                super().on_seed_end(trial, seed, *args)
                if seed == 2:
                    other.take()

        watch = Watch()
        result = quick(**OPTIONS, extra_seeds=4, observers=[watch])
        assert other.waited == 1
        # Its first run is its own; all others are those of whoever had the race.
        assert [seed for _, seed in watch.seeds if seed >= 2] == [2]
        assert [seeds for _, seeds in watch.begun if seeds[0] >= 2] == [[2]]
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]

    @pytest.mark.parametrize("fails", [False, True])
    def test_during_a_run(self, quick: Any, recorder: Any, other: Any, monkeypatch: Any, fails: bool) -> None:
        true = InitializerTuner.run_seed

        def run_seed(tuner: Any, trial: Any, seed: int, *twin: Any) -> Any:
            record, model = true(tuner, trial, seed, *twin)
            if seed == 2:
                other.take()
                if fails:
                    raise FloatingPointError("no number")
                # Better than all: its weights would be kept.
                record = {**record, "score": 2.0}
            return record, model

        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)
        watch = recorder()
        result = quick(**OPTIONS, extra_seeds=4, observers=[watch])
        assert other.waited == 1
        assert [seed for _, seed in watch.seeds if seed >= 2] == []
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]
        assert {t.seeds[2]["score"] for t in result.trials} == {0.25}
        assert {t.out for t in result.trials} == {""}
        assert not list(result.folders.results.glob("trial_*/best_2.weights.h5"))

    def test_what_the_other_one_leaves_is_run(self, quick: Any, recorder: Any, other: Any) -> None:
        class Watch(recorder):
            def on_seed_end(self, trial: Any, seed: int, *args: Any) -> None:
                super().on_seed_end(trial, seed, *args)
                if seed == 2 and not other.waited:
                    other.take()

        # It was given up in its turn.
        other.runs = ()
        watch = Watch()
        result = quick(**OPTIONS, extra_seeds=4, observers=[watch])
        assert other.waited == 1
        assert [seed for _, seed in watch.seeds if seed >= 2] == [2, 2, 3, 3]
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]

    @pytest.mark.parametrize("name", ["report_race_seed", "report_out_of_race"])
    def test_while_it_is_written(self, quick: Any, other: Any, name: str) -> None:
        result = quick(**OPTIONS)
        oracle = result.tuner.oracle
        given = (2, {"score": 1.0}) if name == "report_race_seed" else ("seed 2: no",)
        with oracle.hold("race"):
            other.take()
            with pytest.raises(locks.LockLost):
                getattr(oracle, name)("0000", *given)
        assert oracle.result("0000").race == ()
        assert oracle.result("0000").out == ""
