"""KerasTuner's chief and workers as real processes: our tuner on one study, any other over its connection."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_initx.tuning import InitializerTuner, OptunaOracle
from keras_initx.tuning.parallel.keras_tuner_chief import is_chief, wait_for_workers
from keras_initx.tuning.storage.databases import storage_session
from keras_initx.tuning.study.attributes import seed_records

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

PAGE = (Path(__file__).parents[3] / "docs/kerastuner.md").read_text(encoding="utf-8")

ANY_TUNER = """
import time
import keras_tuner
from keras_initx.tuning import OptunaOracle

class Tuner(keras_tuner.Tuner):
    def run_trial(self, trial, **options):
        time.sleep(1)
        if trial.trial_id == "0002":
            raise ValueError("no such layer")
        return trial.hyperparameters.get("units") + (trial.hyperparameters.get("kind") == "b")

def build(hp):
    hp.Int("units", 1, 9)
    hp.Choice("kind", ["a", "b"])

oracle = OptunaOracle("val_loss", 6, "random")
tuner = Tuner(oracle, build, directory="results", project_name="chief")
tuner.search()
"""


def together(folder: Path, program: str) -> dict[str, str]:
    """Runs a program as a chief and two workers; returns what each printed."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    started = {
        name: subprocess.Popen(
            [sys.executable, "program.py"],
            cwd=folder,
            env={**shared, "KERASTUNER_TUNER_ID": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("chief", "tuner0", "tuner1")
    }
    try:
        ended = {name: process.communicate(timeout=240) for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    assert {name: process.returncode for name, process in started.items()} == dict.fromkeys(started, 0), ended
    return {name: out for name, (out, _) in ended.items()}


def study(folder: Path) -> list[optuna.trial.FrozenTrial]:
    with storage_session(None, folder / "results/chief") as storage:
        return optuna.load_study(study_name="keras-initx", storage=storage).trials


@pytest.mark.slow
def test_the_program_of_the_page(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    out = together(tmp_path, program)
    begun = {name: text.count("Running Trial #") for name, text in out.items()}
    assert begun["chief"] == 0
    assert min(begun["tuner0"], begun["tuner1"]) > 0
    # Each once, whoever ran it.
    assert sum(begun.values()) == 6
    trials = study(tmp_path)
    assert [t.state.name for t in trials] == ["COMPLETE"] * 6
    for trial in trials:
        scores = [record["score"] for record in seed_records(trial).values()]
        assert list(seed_records(trial)) == [0, 1]
        assert trial.value == pytest.approx(sum(scores) / 2)
    # The chief has all of them, when it goes on.
    assert len(re.findall(r"^\d completed .*\(n=2\)", out["chief"], re.MULTILINE)) == 6
    assert len(list((tmp_path / "results/chief").glob("trial_*/best_?.weights.h5"))) == 6


@pytest.mark.slow
def test_any_tuner_over_keras_tuners_connection(tmp_path: Path) -> None:
    out = together(tmp_path, ANY_TUNER)
    # There the chief shows the progress.
    assert out["chief"].count("Running Trial #") == 6
    trials = study(tmp_path)
    assert [t.state.name for t in trials] == [*["COMPLETE"] * 2, "FAIL", *["COMPLETE"] * 3]
    for trial in trials:
        expected = trial.params["units"] + (trial.params["kind"] == "b")
        assert trial.value == (None if trial.number == 2 else expected)


def test_who_is_the_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.delenv("KERASTUNER_ORACLE_IP", raising=False)
    assert not is_chief()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    assert is_chief()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    assert not is_chief()


def test_it_waits_for_all_trials_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = OptunaOracle("val_loss", 2, storage=f"sqlite:///{tmp_path}/study.db")
    worker = OptunaOracle("val_loss", 2, storage=f"sqlite:///{tmp_path}/study.db")
    waits = []

    def work(seconds: float) -> None:
        waits.append(seconds)
        worker.study.tell(worker.study.ask(), 0.5)

    monkeypatch.setattr("time.sleep", work)
    wait_for_workers(oracle)
    assert len(waits) == 2


def test_a_search_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any) -> None:
    for name, value in (("TUNER_ID", "chief"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    tuner = InitializerTuner(OptunaOracle("val_loss"), lambda hp: None, *pairs, directory=str(tmp_path))
    with pytest.raises(InitxError, match=r"^max_trials: received None; .*chief waits for"):
        tuner.search()


def test_a_worker_keeps_its_own_oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Any) -> None:
    for name, value in (("TUNER_ID", "tuner0"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    oracle = OptunaOracle("val_loss")
    tuner = InitializerTuner(oracle, lambda hp: None, *pairs, directory=str(tmp_path))
    assert tuner.oracle is oracle


def test_the_oracle_knows_who_will_ask_again(tmp_path: Path) -> None:
    """By this KerasTuner's chief knows when it may end: who asks one that is no more waits for an hour."""
    oracle = OptunaOracle("val_loss", 1, "random", storage=f"sqlite:///{tmp_path}/study.db")
    oracle.verbose = 0
    trial = oracle.create_trial("tuner0")
    assert oracle.create_trial("tuner1").status == "STOPPED"
    assert oracle.tuner_ids == {"tuner0"}
    oracle.update_trial(trial.trial_id, {"val_loss": 0.5})
    trial.status = keras_tuner.engine.trial.TrialStatus.COMPLETED
    oracle.end_trial(trial)
    assert oracle.tuner_ids == {"tuner0"}
    assert oracle.create_trial("tuner0").status == "STOPPED"
    assert oracle.tuner_ids == set()
