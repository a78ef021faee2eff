"""When the values of a running trial reach the study, and which process may write them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.pruning.layer_signal import LayerStart
from keras_initx.tuning.study import heartbeat, lease
from keras_initx.tuning.study.heartbeat import new_owner
from keras_initx.tuning.study.lease import TakenOver, TrialLease
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

pytestmark = pytest.mark.one_backend

ELSEWHERE = {"host": "h", "machine": "another boot", "pid": 1, "started": "1", "token": "a"}
FIRST = "0000"
Make = Callable[..., OptunaOracle]


class ServerGone(Exception):
    """The error of a database driver."""


class Asked(optuna.pruners.BasePruner):
    """Prunes nothing, and records the steps that it was asked about."""

    def __init__(self) -> None:
        self.steps: list[int | None] = []

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.steps.append(trial.last_step)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves only when a test adds to it or the code sleeps."""
    now = [1000.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(lease.time, "sleep", wait)
    return now


@pytest.fixture
def make(tmp_path: Path, clock: list[float]) -> Make:
    """Return an oracle, as one of several processes that share a study."""

    def make(trials: int = 2, **options: Any) -> OptunaOracle:
        storage = f"sqlite:///{tmp_path}/study.db"
        objective = keras_tuner.Objective("score", "max")
        oracle = OptunaOracle(objective, trials, "random", storage, **options)
        space = keras_tuner.HyperParameters()
        space.Float("x", 0.0, 1.0)
        oracle.update_space(space)
        oracle.verbose = 0
        return oracle

    return make


def end(oracle: OptunaOracle, trial: Any, status: str = "COMPLETED") -> FrozenTrial:
    trial.status = status
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    oracle.end_trial(trial)
    return oracle.frozen(trial.trial_id)


class TestEpochs:
    def test_values_reach_the_study_once_a_second(self, make: Make, clock: list[float]) -> None:
        oracle = make()
        oracle.create_trial("t")
        stored = []
        for step, seconds in enumerate([0.0, 0.4, 0.4, 0.4, 0.4, 0.8]):
            clock[0] += seconds
            assert not oracle.report_epoch(FIRST, step, step / 10)
            stored.append(len(oracle.frozen(FIRST).intermediate_values))
        assert stored == [1, 1, 1, 4, 4, 6]
        assert oracle.frozen(FIRST).intermediate_values == {step: step / 10 for step in range(6)}

    def test_finished_seed_has_all_values(self, make: Make) -> None:
        oracle = make()
        oracle.create_trial("t")
        for step in range(3):
            oracle.report_epoch(FIRST, step, 0.5)
        oracle.report_seed(FIRST, 0, {"score": 0.5})
        assert list(oracle.frozen(FIRST).intermediate_values) == [0, 1, 2]

    def test_failed_trial_keeps_its_values(self, make: Make) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        for step in range(3):
            oracle.report_epoch(FIRST, step, 0.5)
        frozen = end(oracle, trial, "FAILED")
        assert frozen.state == TrialState.FAIL
        assert list(frozen.intermediate_values) == [0, 1, 2]

    def test_values_of_a_lost_trial_are_not_stored(self, make: Make, clock: list[float]) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        oracle.report_epoch(FIRST, 0, 0.1)
        oracle.report_epoch(FIRST, 1, 0.2)
        oracle.leases[FIRST].trial.set_user_attr("owner", ELSEWHERE)
        clock[0] += 1.5
        with pytest.raises(TakenOver):
            oracle.report_epoch(FIRST, 2, 0.3)
        frozen = end(oracle, trial)
        assert frozen.state == TrialState.RUNNING
        assert frozen.intermediate_values == {0: 0.1}

    def test_pruner_receives_each_value_at_once(self, make: Make) -> None:
        oracle, pruner = make(), Asked()
        oracle.set_pruner(pruner)
        oracle.create_trial("t")
        for step in range(3):
            oracle.report_epoch(FIRST, step, 0.5)
        assert pruner.steps == [0, 1, 2]

    def test_pruner_is_not_asked_about_values_of_an_earlier_process(self, make: Make) -> None:
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

    def test_values_equal_the_curves_after_an_interruption(
        self, quick: Any, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Interrupting(recorder):  # type: ignore[misc]
            def on_epoch_end(self, epochs: int) -> None:
                super().on_epoch_end(epochs)
                if self.epochs == 7:
                    raise KeyboardInterrupt

        monkeypatch.setattr(lease, "_CHECK_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            quick(trials=1, epochs=4, observers=[Interrupting()])
        url = f"sqlite:///{tmp_path}/results/study.db"
        interrupted = optuna.load_study(study_name="keras-initx", storage=url).trials[0]
        assert list(interrupted.intermediate_values) == [0, 1, 2, 3, 4, 5]
        result = quick(trials=1, epochs=4, mode="resume")
        curves = [r["curves"]["val_accuracy"] for r in result.trials[0].seeds.values()]
        assert len(result.trials) == 1
        assert result.tuner.oracle.frozen(FIRST).intermediate_values == dict(
            enumerate(np.concatenate(curves))
        )


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Fail the next write of a kind, as if the database were unreachable; then `owner` takes the trial."""

    def cut(oracle: OptunaOracle, method: str, owner: Any = None, at: int = 1) -> None:
        storage, calls = oracle.study._storage, []
        write, set_attribute = getattr(storage, method), storage.set_trial_user_attr

        def fails(trial_id: int, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            if len(calls) == at:
                if owner is not None:
                    set_attribute(trial_id, "owner", owner)
                raise OperationalError("", {}, ServerGone("connection refused"))
            return write(trial_id, *args, **kwargs)

        monkeypatch.setattr(storage, method, fails)

    return cut


def epoch(oracle: OptunaOracle) -> None:
    lease.time.sleep(2.0)
    oracle.report_epoch(FIRST, 0, 0.5)


def asked(oracle: OptunaOracle) -> None:
    class Noting(optuna.pruners.BasePruner):
        """Writes to the trial, as successive halving does."""

        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            study._storage.set_trial_system_attr(trial._trial_id, "rung", 1)
            return False

    oracle.set_pruner(Noting())
    oracle.report_epoch(FIRST, 0, 0.5)


WRITES: Sequence[tuple[str, Callable[[OptunaOracle], Any]]] = [
    ("set_trial_user_attr", lambda oracle: oracle.report_seed(FIRST, 0, {"score": 1.0})),
    ("set_trial_user_attr", lambda oracle: oracle.report_start(FIRST, [LayerStart("dense")])),
    ("set_trial_user_attr", lambda oracle: oracle.end_early(FIRST, "pruned", "it was bad")),
    ("set_trial_intermediate_value", epoch),
    ("set_trial_system_attr", asked),
]


class TestCutOff:
    @pytest.mark.parametrize(("method", "write"), WRITES)
    def test_trial_lost_before_the_retry_is_not_written_to(
        self, make: Make, cut: Any, method: str, write: Any
    ) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        oracle.check_owned(FIRST)
        before = oracle.frozen(FIRST)
        cut(oracle, method, ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"), pytest.raises(TakenOver):
            write(oracle)
        frozen = end(oracle, trial)
        assert frozen.user_attrs == {**before.user_attrs, "owner": ELSEWHERE}
        assert frozen.system_attrs == before.system_attrs
        assert frozen.state == TrialState.RUNNING

    @pytest.mark.parametrize(
        ("status", "early"), [("COMPLETED", False), ("FAILED", False), ("COMPLETED", True)]
    )
    def test_lost_trial_is_not_ended(self, make: Make, cut: Any, status: str, early: bool) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        if early:
            oracle.end_early(FIRST, "pruned", "it was bad")
        cut(oracle, "set_trial_state_values", ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"):
            assert end(oracle, trial, status).state == TrialState.RUNNING
        assert oracle.get_trial(FIRST).status == "INVALID"
        # The next trial starts as usual.
        assert oracle.create_trial("t").trial_id == "0001"

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_nothing_is_missing_if_the_trial_was_not_lost(self, make: Make, cut: Any, at: int) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        oracle.check_owned(FIRST)
        for step in range(3):
            oracle.report_epoch(FIRST, step, step / 10)
        cut(oracle, "set_trial_intermediate_value", at=at)
        with pytest.warns(UserWarning, match="cannot be reached"):
            oracle.report_seed(FIRST, 0, {"score": 1.0})
        frozen = end(oracle, trial)
        assert frozen.state == TrialState.COMPLETE
        assert frozen.intermediate_values == {0: 0.0, 1: 0.1, 2: 0.2}
        assert frozen.user_attrs["seed_0"] == {"score": 1.0}

    def test_trial_that_another_process_took_before_the_retry_is_not_taken(
        self, make: Make, cut: Any
    ) -> None:
        first = make()
        first.create_trial("t")
        first.release()
        second = make()
        cut(second, "set_trial_user_attr", ELSEWHERE)
        with pytest.warns(UserWarning, match="cannot be reached"):
            assert second.create_trial("t").trial_id == "0001"
        assert second.frozen(FIRST).user_attrs["owner"] == ELSEWHERE

    def test_reason_of_the_last_process_does_not_end_a_trial(self, make: Make) -> None:
        first = make()
        first.create_trial("t")
        first.end_early(FIRST, "pruned", "it was bad")
        first.release()
        second = make()
        trial = second.create_trial("t")
        assert trial.trial_id == FIRST
        end(second, trial)
        assert (second.result(FIRST).status, second.result(FIRST).reason) == ("completed", "")

    def test_observer_is_notified_of_a_loss_in_the_last_write(
        self, quick: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tell, observer = TrialLease.tell, recorder()

        def lost(self: TrialLease, *args: Any) -> None:
            monkeypatch.setattr(TrialLease, "tell", tell)
            self.trial.set_user_attr("owner", new_owner())
            raise TakenOver

        monkeypatch.setattr(TrialLease, "tell", lost)
        quick(trials=1, epochs=1, seeds=1, observers=[observer])
        # The new owner is dead, so the search takes the trial back.
        assert observer.ended == ["taken over", "completed"]

    def test_trial_that_a_process_lost_and_gets_again_starts_fresh(self, make: Make) -> None:
        oracle = make()
        trial = oracle.create_trial("t")
        oracle.end_early(FIRST, "pruned", "it was bad")
        oracle.leases[FIRST].trial.set_user_attr("owner", {})
        end(oracle, trial)
        again = oracle.create_trial("t")
        assert again.trial_id == FIRST
        assert end(oracle, again).state == TrialState.COMPLETE


class TestOthers:
    def test_stale_trial_is_noticed_while_another_trains(self, make: Make, clock: list[float]) -> None:
        oracle = make(trials=9)
        stale = oracle.study.ask()
        stale.set_user_attr("owner", ELSEWHERE)
        trial = oracle.create_trial("t")
        assert trial.trial_id == "0001"
        # Forget what `create_trial` saw, so that only the heartbeat thread can notice it.
        oracle.shared.liveness._last_change.clear()
        for _ in range(7):
            oracle.beat()
            clock[0] += 10
        end(oracle, trial)
        assert oracle.create_trial("t").trial_id == FIRST

    def test_trial_without_an_owner_is_waited_for(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        # Its process asked for it and is about to store its owner, or was killed in between.
        monkeypatch.setattr(heartbeat, "_SIGNING_GRACE", 360 * heartbeat._SIGNING_GRACE)
        oracle = make()
        oracle.study.ask()
        trial = oracle.create_trial("t")
        assert trial.trial_id == "0001"
        end(oracle, trial)
        assert oracle.create_trial("t").status == "IDLE"
        monkeypatch.setattr(heartbeat, "_SIGNING_GRACE", 0 * heartbeat._SIGNING_GRACE)
        trial = oracle.create_trial("t")
        assert trial.trial_id == FIRST
        end(oracle, trial)
        assert oracle.create_trial("t").status == "STOPPED"
