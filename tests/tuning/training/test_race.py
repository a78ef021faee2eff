"""The race in a search: one process runs it, also after it was taken over and after a seed has failed."""

from collections.abc import Callable
from typing import Any

import pytest
from keras_initx.tuning import InitializerTuner
from keras_initx.tuning.study import locks
from keras_initx.tuning.study.locks import StudyLock

pytestmark = pytest.mark.one_backend

OTHER = {"host": "elsewhere", "machine": "elsewhere", "pid": 1, "token": "another"}
OPTIONS: dict[str, Any] = {"tuner": "grid", "trials": None, "initializers": ["he_normal", "auto"], "seeds": 2}
OPTIONS = {**OPTIONS, "learning_rates": [0.01], "epochs": 1, "screening": False}


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], float]], None]:
    """Replace the score of each seed by a function of the trial and the seed."""

    def use(score: Callable[[int, int], float]) -> None:
        original = InitializerTuner.run_seed

        def run_seed(tuner: Any, trial: Any, seed: int, *same_model: Any) -> Any:
            record, model = original(tuner, trial, seed, *same_model)
            return {**record, "score": score(int(trial.trial_id), seed)}, model

        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)

    return use


def test_failed_trial_does_not_lower_the_level(quick: Any, scored: Any) -> None:
    # Of two trials, three seeds would separate them; as two of three trials, they need more seeds.
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
    """The race of a process that has lost its lock."""

    @pytest.fixture
    def other(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Another process, which takes the lock over in `take` and runs the seeds in `runs`."""
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

        other = Other()
        original = StudyLock._take

        def take(lock: StudyLock, name: str) -> bool:
            other.study = lock._study
            if lock._study.user_attrs.get("race_owner") == OTHER:
                other.finish()
            return original(lock, name)

        monkeypatch.setattr(StudyLock, "_take", take)
        return other

    def test_between_two_runs(self, quick: Any, recorder: Any, other: Any) -> None:
        class Watch(recorder):
            def on_seed_end(self, trial: Any, seed: int, *args: Any) -> None:
                super().on_seed_end(trial, seed, *args)
                if seed == 2:
                    other.take()

        observer = Watch()
        result = quick(**OPTIONS, extra_seeds=4, observers=[observer])
        assert other.waited == 1
        # This process ran only the first seed, and the other process the rest.
        assert [seed for _, seed in observer.seeds if seed >= 2] == [2]
        assert [seeds for _, seeds in observer.begun if seeds[0] >= 2] == [[2]]
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]

    @pytest.mark.parametrize("fails", [False, True])
    def test_during_a_run(self, quick: Any, recorder: Any, other: Any, monkeypatch: Any, fails: bool) -> None:
        original = InitializerTuner.run_seed

        def run_seed(tuner: Any, trial: Any, seed: int, *same_model: Any) -> Any:
            record, model = original(tuner, trial, seed, *same_model)
            if seed == 2:
                other.take()
                if fails:
                    raise FloatingPointError("no number")
                # The best score of all, so that its weights would be kept.
                record = {**record, "score": 2.0}
            return record, model

        monkeypatch.setattr(InitializerTuner, "run_seed", run_seed)
        observer = recorder()
        result = quick(**OPTIONS, extra_seeds=4, observers=[observer])
        assert other.waited == 1
        assert [seed for _, seed in observer.seeds if seed >= 2] == []
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]
        assert {t.seeds[2]["score"] for t in result.trials} == {0.25}
        assert {t.out for t in result.trials} == {""}
        assert not list(result.folders.results.glob("trial_*/best_2.weights.h5"))

    def test_runs_what_the_other_process_leaves(self, quick: Any, recorder: Any, other: Any) -> None:
        class Watch(recorder):
            def on_seed_end(self, trial: Any, seed: int, *args: Any) -> None:
                super().on_seed_end(trial, seed, *args)
                if seed == 2 and not other.waited:
                    other.take()

        # The other process dies before it has run anything.
        other.runs = ()
        observer = Watch()
        result = quick(**OPTIONS, extra_seeds=4, observers=[observer])
        assert other.waited == 1
        assert [seed for _, seed in observer.seeds if seed >= 2] == [2, 2, 3, 3]
        assert [t.race for t in result.trials] == [(2, 3), (2, 3)]

    @pytest.mark.parametrize("name", ["report_race_seed", "report_out_of_race"])
    def test_during_a_write(self, quick: Any, other: Any, name: str) -> None:
        result = quick(**OPTIONS)
        oracle = result.tuner.oracle
        arguments = (2, {"score": 1.0}) if name == "report_race_seed" else ("seed 2: no",)
        with oracle.hold("race"):
            other.take()
            with pytest.raises(locks.LockLost):
                getattr(oracle, name)("0000", *arguments)
        assert oracle.result("0000").race == ()
        assert oracle.result("0000").out == ""
