"""Several processes share the study of an oracle: one takes over the trial of another that is gone."""

import os
import signal
import threading
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import optuna
import pytest
from keras_initx.tuning import Execution, OptunaOracle, Results, search
from keras_initx.tuning.study import heartbeat
from keras_initx.tuning.study.attributes import seed_records
from keras_initx.tuning.study.heartbeat import new_owner
from keras_initx.tuning.study.lease import TakenOver

from tests.support import processes
from tests.tuning.study.plain_tuner import PlainTuner, a_number, a_range, run

pytestmark = pytest.mark.one_backend


def trial_of_another_machine(folder: Path, trials: int) -> optuna.trial.Trial:
    """Return a running trial, whose owner seems to be a process of another machine."""
    oracle = OptunaOracle(max_trials=trials)
    PlainTuner(oracle, folder, a_number, a_range)
    oracle.verbose = 0
    running = oracle.leases[oracle.create_trial("tuner0").trial_id].trial
    running.set_user_attr("owner", {"host": "elsewhere", "pid": 1, "machine": "another", "token": "a"})
    return running


class TestTakeover:
    def test_trial_of_a_running_process_is_left_alone(self, tmp_path: Path) -> None:
        oracle = OptunaOracle(max_trials=2)
        PlainTuner(oracle, tmp_path, a_number, a_range)
        oracle.verbose = 0
        trial = oracle.create_trial("tuner0")
        running = oracle.leases[trial.trial_id].trial
        parent = {**new_owner(), "pid": os.getppid(), "started": None}
        running.set_user_attr("owner", parent)
        second = run(tmp_path, a_number, a_range, trials=2, storage=None)
        assert len(second.seen) == 1
        assert [t.state.name for t in second.oracle.frozen_trials()] == ["RUNNING", "COMPLETE"]
        # A process had this id before the parent.
        running.set_user_attr("owner", {**parent, "started": "1"})
        assert len(run(tmp_path, a_number, trials=2, storage=None).seen) == 1

    def test_trial_of_another_machine_is_left_alone_while_its_heartbeat_changes(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(heartbeat, "STALE_SECONDS", 2.0)
        monkeypatch.setattr("keras_initx.tuning.study.oracle._POLL_SECONDS", 0.2)
        running = trial_of_another_machine(tmp_path, trials=2)
        stopped = threading.Event()

        def live() -> None:
            for beat in range(7):
                running.set_user_attr("heartbeat", beat)
                stopped.wait(0.5)
            stopped.set()

        thread = threading.Thread(target=live)
        thread.start()
        seen = run(tmp_path, a_number, trials=2, storage=None).seen
        assert stopped.is_set()
        thread.join()
        assert len(seen) == 2

    def test_trial_that_becomes_stale_between_two_looks_is_taken_over(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("keras_initx.tuning.study.oracle._POLL_SECONDS", 0.0)
        trial_of_another_machine(tmp_path, trials=1)
        # It is alive when the second process looks for a stale trial, and stale when it decides to wait.
        looks = iter([False])
        monkeypatch.setattr(heartbeat.Liveness, "is_stale", lambda *_: next(looks, True))
        assert len(run(tmp_path, a_number, trials=1, storage=None).seen) == 1

    def test_process_that_lost_a_trial_does_not_report(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Check the owner at every epoch, because otherwise values wait for the next check.
        monkeypatch.setattr("keras_initx.tuning.study.lease._CHECK_SECONDS", -1.0)
        oracle = OptunaOracle(max_trials=2)
        PlainTuner(oracle, tmp_path, a_number, a_range)
        oracle.verbose = 0
        trial = oracle.create_trial("tuner0")
        oracle.report_seed(trial.trial_id, 0, {"score": 0.1})
        oracle.leases[trial.trial_id].trial.set_user_attr("owner", new_owner())
        for report in (
            lambda: oracle.report_seed(trial.trial_id, 1, {"score": 0.2}),
            lambda: oracle.report_epoch(trial.trial_id, 3, 0.2),
            lambda: oracle.end_early(trial.trial_id, "pruned", "it was bad"),
        ):
            with pytest.raises(TakenOver, match="took over trial 0"):
                report()
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        (frozen,) = oracle.frozen_trials()
        assert frozen.state.name == "RUNNING"
        assert list(oracle.seed_results(trial.trial_id)) == [0]
        assert frozen.intermediate_values == {}

    def test_released_trial_is_taken_at_once(self, tmp_path: Path) -> None:
        oracle = OptunaOracle(max_trials=1)
        PlainTuner(oracle, tmp_path, a_number, a_range)
        oracle.verbose = 0
        oracle.create_trial("tuner0")
        oracle.release()
        assert len(run(tmp_path, a_number, trials=1, storage=None).seen) == 1


def joined_search(folder: str, kill_after: int = 0, mode: Any = "new") -> tuple[list[Any], Any]:
    """Run a search that kills its process after some seeds; return its seeds and result."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")

    def build() -> keras.Model:
        layers = [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")]
        model = keras.Sequential(layers)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    class Watch:
        seeds: ClassVar[list[tuple[int, int]]] = []

        def on_trial_begin(self, trial: Any, seeds: Any) -> None: ...
        def on_epoch_end(self, epochs: int) -> None: ...
        def on_trial_end(self, trial: Any, status: str) -> None: ...
        def on_seed_end(self, trial: Any, seed: int, record: Any, skipped_epochs: int) -> None:
            self.seeds.append((int(trial.trial_id), seed))
            if len(self.seeds) == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)

    result = search(
        build, x, y, validation_data=(x, y), tuner="random", trials=3, epochs=1, seeds=2,
        execution=Execution(jit_compile=False), verbose=0, observers=[Watch()],
        results=Results(f"{folder}/results", mode, f"{folder}/logs"),
    )  # fmt: skip
    return Watch.seeds, result


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_trial_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    # Three seeds are finished: both of trial 0, and the first of trial 1.
    folder = str(tmp_path / "killed")
    killed = processes.start(joined_search, folder, 3, output=tmp_path / "out")
    killed.join(1000)
    assert killed.exitcode == -signal.SIGKILL, processes.errors_of(tmp_path / "out")[-2000:]
    storage = f"sqlite:///{folder}/results/study.db"
    before = optuna.load_study(study_name="keras-initx", storage=storage).trials
    # The candidates are enqueued in the study before the first trial.
    assert [t.state.name for t in before] == ["COMPLETE", "RUNNING", "WAITING"]
    assert list(seed_records(before[1])) == [0]

    seeds, resumed = joined_search(folder, mode="resume")
    assert seeds == [(1, 1), (2, 0), (2, 1)]
    after = optuna.load_study(study_name="keras-initx", storage=storage).trials
    assert [t.state.name for t in after] == ["COMPLETE"] * 3
    assert after[1].params == before[1].params
    assert seed_records(after[1])[0] == seed_records(before[1])[0]

    _, whole = joined_search(str(tmp_path / "whole"))
    assert [dict(t.values) for t in resumed.trials] == [dict(t.values) for t in whole.trials]
    assert [t.sample for t in resumed.trials] == [t.sample for t in whole.trials]
