"""What reaches the study of a running trial, when, and from whom."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.pruning.layer_signal import LayerStart
from keras_initx.tuning.study import heartbeat, memory
from keras_initx.tuning.study.heartbeat import new_owner
from keras_initx.tuning.study.memory import TakenOver
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

pytestmark = pytest.mark.one_backend

ELSEWHERE = {"host": "h", "machine": "another boot", "pid": 1, "started": "1", "token": "a"}
FIRST = "0000"
Make = Callable[..., OptunaOracle]


class ServerGone(Exception):
    """What a driver raises."""


class Asked(optuna.pruners.BasePruner):
    """Remembers of which step it was asked."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.steps.append(trial.last_step)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only moves by what is added to it or waited for."""
    now = [1000.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(memory.time, "sleep", wait)
    return now


@pytest.fixture
def make(tmp_path: Path, clock: list[float]) -> Make:
    """A process of a search: all share a study, in which a trial has one number."""

    def made(trials: int = 2, **options: Any) -> OptunaOracle:
        storage = f"sqlite:///{tmp_path}/study.db"
        goal = keras_tuner.Objective("score", "max")
        found = OptunaOracle(goal, trials, "random", storage, **options)
        space = keras_tuner.HyperParameters()
        space.Float("x", 0.0, 1.0)
        found.update_space(space)
        found.verbose = 0
        return found

    return made


def ended(process: OptunaOracle, trial: Any, status: str = "COMPLETED") -> FrozenTrial:
    trial.status = status
    process.update_trial(trial.trial_id, {"score": 1.0})
    process.end_trial(trial)
    return process.frozen(trial.trial_id)


class TestEpochs:
    def test_they_reach_the_study_once_a_second(self, make: Make, clock: list[float]) -> None:
        process = make()
        process.create_trial("t")
        seen = []
        for step, seconds in enumerate([0.0, 0.4, 0.4, 0.4, 0.4, 0.8]):
            clock[0] += seconds
            assert not process.report_epoch(FIRST, step, step / 10)
            seen.append(len(process.frozen(FIRST).intermediate_values))
        assert seen == [1, 1, 1, 4, 4, 6]
        assert process.frozen(FIRST).intermediate_values == {step: step / 10 for step in range(6)}

    def test_a_seed_that_is_done_has_all_of_them(self, make: Make) -> None:
        process = make()
        process.create_trial("t")
        for step in range(3):
            process.report_epoch(FIRST, step, 0.5)
        process.report_seed(FIRST, 0, {"score": 0.5})
        assert list(process.frozen(FIRST).intermediate_values) == [0, 1, 2]

    def test_a_trial_that_fails_keeps_them(self, make: Make) -> None:
        process = make()
        trial = process.create_trial("t")
        for step in range(3):
            process.report_epoch(FIRST, step, 0.5)
        frozen = ended(process, trial, "FAILED")
        assert frozen.state == TrialState.FAIL
        assert list(frozen.intermediate_values) == [0, 1, 2]

    def test_those_of_a_trial_that_was_taken_over_are_not_stored(
        self, make: Make, clock: list[float]
    ) -> None:
        process = make()
        trial = process.create_trial("t")
        process.report_epoch(FIRST, 0, 0.1)
        process.report_epoch(FIRST, 1, 0.2)
        process._running[FIRST].set_user_attr("owner", ELSEWHERE)
        clock[0] += 1.5
        with pytest.raises(TakenOver):
            process.report_epoch(FIRST, 2, 0.3)
        frozen = ended(process, trial)
        assert frozen.state == TrialState.RUNNING
        assert frozen.intermediate_values == {0: 0.1}

    def test_a_pruner_sees_each_at_once(self, make: Make) -> None:
        process, pruner = make(), Asked()
        process.set_pruner(pruner)
        process.create_trial("t")
        for step in range(3):
            process.report_epoch(FIRST, step, 0.5)
        assert pruner.steps == [0, 1, 2]

    def test_a_pruner_is_not_asked_of_what_was_there(self, make: Make) -> None:
        first = make()
        first.set_pruner(optuna.pruners.MedianPruner())
        first.create_trial("t")
        for step in range(3):
            first.report_epoch(FIRST, step, 0.5)
        first.release()
        second, pruner = make(), Asked()
        second.set_pruner(pruner)
        assert second.create_trial("t").trial_id == FIRST
        for step in range(5):
            second.report_epoch(FIRST, step, 0.5)
        # The last step of the trial is the one that has just been trained.
        assert pruner.steps == [3, 4]

    def test_after_an_interruption_they_are_those_of_the_curves(
        self, quick: Any, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupting(recorder):  # type: ignore[misc]
            def on_epoch_end(self, epochs: int) -> None:
                super().on_epoch_end(epochs)
                if self.epochs == 7:
                    raise KeyboardInterrupt

        monkeypatch.setattr(memory, "_CHECK_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            quick(trials=1, epochs=4, observers=[Interrupting()])
        url = f"sqlite:///{tmp_path}/results/study.db"
        left = optuna.load_study(study_name="keras-initx", storage=url).trials[0]
        assert list(left.intermediate_values) == [0, 1, 2, 3, 4, 5]
        result = quick(trials=1, epochs=4, resume=True)
        curves = [r["curves"]["val_accuracy"] for r in result.trials[0].seeds.values()]
        assert len(result.trials) == 1
        assert result.tuner.oracle.frozen(FIRST).intermediate_values == dict(
            enumerate(np.concatenate(curves))
        )


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Cuts a process off in its next write of a kind; `owner` takes the trial before its next try."""

    def cut(process: OptunaOracle, method: str, owner: Any = None, at: int = 1) -> None:
        storage, calls = process.study._storage, []
        write, sign = getattr(storage, method), storage.set_trial_user_attr

        def fails(trial_id: int, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == at:
                if owner is not None:
                    sign(trial_id, "owner", owner)
                raise OperationalError("", {}, ServerGone("connection refused"))
            return write(trial_id, *args, **kwargs)

        monkeypatch.setattr(storage, method, fails)

    return cut


def epoch(process: OptunaOracle) -> None:
    memory.time.sleep(2.0)
    process.report_epoch(FIRST, 0, 0.5)


def asked(process: OptunaOracle) -> None:
    class Noting(optuna.pruners.BasePruner):
        """As successive halving does."""

        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            study._storage.set_trial_system_attr(trial._trial_id, "rung", 1)
            return False

    process.set_pruner(Noting())
    process.report_epoch(FIRST, 0, 0.5)


WRITES: Sequence[tuple[str, Callable[[OptunaOracle], Any]]] = [
    ("set_trial_user_attr", lambda process: process.report_seed(FIRST, 0, {"score": 1.0})),
    ("set_trial_user_attr", lambda process: process.report_start(FIRST, [LayerStart("dense")])),
    ("set_trial_user_attr", lambda process: process.end_early(FIRST, "pruned", "it was bad")),
    ("set_trial_intermediate_value", epoch),
    ("set_trial_system_attr", asked),
]


class TestCutOff:
    @pytest.mark.parametrize(("method", "write"), WRITES)
    def test_what_is_lost_meanwhile_is_not_written_to(
        self, make: Make, cut: Any, method: str, write: Any
    ) -> None:
        process = make()
        trial = process.create_trial("t")
        process.check_owned(FIRST)
        before = process.frozen(FIRST)
        cut(process, method, ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"), pytest.raises(TakenOver):
            write(process)
        frozen = ended(process, trial)
        assert frozen.user_attrs == {**before.user_attrs, "owner": ELSEWHERE}
        assert frozen.system_attrs == before.system_attrs
        assert frozen.state == TrialState.RUNNING

    @pytest.mark.parametrize(
        ("status", "early"), [("COMPLETED", False), ("FAILED", False), ("COMPLETED", True)]
    )
    def test_it_is_not_ended(self, make: Make, cut: Any, status: str, early: bool) -> None:
        process = make()
        trial = process.create_trial("t")
        if early:
            process.end_early(FIRST, "pruned", "it was bad")
        cut(process, "set_trial_state_values", ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"):
            assert ended(process, trial, status).state == TrialState.RUNNING
        assert process.get_trial(FIRST).status == "INVALID"
        # The next one is begun as if it had not been.
        assert process.create_trial("t").trial_id == "0001"

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_nothing_is_missing_where_it_was_not_lost(self, make: Make, cut: Any, at: int) -> None:
        process = make()
        trial = process.create_trial("t")
        process.check_owned(FIRST)
        for step in range(3):
            process.report_epoch(FIRST, step, step / 10)
        cut(process, "set_trial_intermediate_value", at=at)
        with pytest.warns(UserWarning, match="cannot be reached"):
            process.report_seed(FIRST, 0, {"score": 1.0})
        frozen = ended(process, trial)
        assert frozen.state == TrialState.COMPLETE
        assert frozen.intermediate_values == {0: 0.0, 1: 0.1, 2: 0.2}
        assert frozen.user_attrs["seed_0"] == {"score": 1.0}

    def test_a_trial_that_another_process_signed_meanwhile_is_not_taken(self, make: Make, cut: Any) -> None:
        first = make()
        first.create_trial("t")
        first.release()
        second = make()
        cut(second, "set_trial_user_attr", ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"):
            assert second.create_trial("t").trial_id == "0001"
        assert second.frozen(FIRST).user_attrs["owner"] == ELSEWHERE

    def test_a_trial_is_not_ended_for_a_reason_of_its_last_process(self, make: Make) -> None:
        first = make()
        first.create_trial("t")
        first.end_early(FIRST, "pruned", "it was bad")
        first.release()
        second = make()
        trial = second.create_trial("t")
        assert trial.trial_id == FIRST
        ended(second, trial)
        assert (second.result(FIRST).status, second.result(FIRST).reason) == ("completed", "")

    def test_an_observer_hears_of_it_also_at_the_very_end(
        self, quick: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tell, observer = OptunaOracle._tell, recorder()

        def lost(self: OptunaOracle, running: Any, *args: Any) -> None:
            monkeypatch.setattr(OptunaOracle, "_tell", tell)
            running.set_user_attr("owner", new_owner())
            raise TakenOver

        monkeypatch.setattr(OptunaOracle, "_tell", lost)
        quick(trials=1, epochs=1, seeds=1, observers=[observer])
        # Who took it over is gone at once.
        assert observer.ended == ["taken over", "completed"]

    def test_what_a_process_lost_and_is_given_again_is_as_new(self, make: Make) -> None:
        process = make()
        trial = process.create_trial("t")
        process.end_early(FIRST, "pruned", "it was bad")
        process._running[FIRST].set_user_attr("owner", {})
        ended(process, trial)
        again = process.create_trial("t")
        assert again.trial_id == FIRST
        assert ended(process, again).state == TrialState.COMPLETE


class TestOthers:
    def test_who_trains_sees_that_signs_of_life_fail_to_come(self, make: Make, clock: list[float]) -> None:
        process = make(trials=9)
        lost = process.study.ask()
        lost.set_user_attr("owner", ELSEWHERE)
        trial = process.create_trial("t")
        assert trial.trial_id == "0001"
        # Another look than that of the beginning of a trial.
        process._liveness._seen.clear()
        for _ in range(7):
            process._beat()
            clock[0] += 10
        ended(process, trial)
        assert process.create_trial("t").trial_id == FIRST

    def test_a_trial_that_nobody_signed_is_left_alone_and_waited_for(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A process asked the study, and has yet to put down its name, or was killed in this moment.
        monkeypatch.setattr(heartbeat, "_SIGNING_GRACE", 360 * heartbeat._SIGNING_GRACE)
        process = make()
        process.study.ask()
        trial = process.create_trial("t")
        assert trial.trial_id == "0001"
        ended(process, trial)
        assert process.create_trial("t").status == "IDLE"
        monkeypatch.setattr(heartbeat, "_SIGNING_GRACE", 0 * heartbeat._SIGNING_GRACE)
        trial = process.create_trial("t")
        assert trial.trial_id == FIRST
        ended(process, trial)
        assert process.create_trial("t").status == "STOPPED"
