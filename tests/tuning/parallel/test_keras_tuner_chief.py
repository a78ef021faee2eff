"""KerasTuner's chief and workers: our tuner shares one study, any other uses KerasTuner's connection."""

import re
import socket
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning import InitializerTuner, OptunaOracle
from keras_initx.tuning.parallel.keras_tuner_chief import is_chief, wait_for_workers
from keras_initx.tuning.study.attributes import seed_records

from keras_initx import InitxError
from tests.support import processes
from tests.support.studies import trials_of

pytestmark = pytest.mark.one_backend

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/kerastuner.md").read_text(encoding="utf-8")

ANY_TUNER = """
import time
import keras_tuner
from keras_initx.tuning import OptunaOracle

class Tuner(keras_tuner.Tuner):
    def run_trial(self, trial, **options):
        time.sleep(0.3)
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


def run_together(folder: Path, program: str) -> dict[str, str]:
    """Run a program as a chief and two workers; return what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    started = {
        name: processes.start(
            processes.source,
            program,
            str(folder),
            output=folder / name,
            environment={**shared, "KERASTUNER_TUNER_ID": name},
        )
        for name in ("chief", "tuner0", "tuner1")
    }
    try:
        for process in started.values():
            process.join(1000)
    finally:
        for process in started.values():
            process.kill()
    errors = {name: processes.errors_of(folder / name)[-3000:] for name in started}
    assert {name: process.exitcode for name, process in started.items()} == dict.fromkeys(started, 0), errors
    return {name: (folder / name).read_text() for name in started}


@pytest.mark.slow
def test_program_of_the_docs(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    out = run_together(tmp_path, program)
    started = {name: text.count("Running Trial #") for name, text in out.items()}
    assert started["chief"] == 0
    assert min(started["tuner0"], started["tuner1"]) > 0
    # Each trial runs once.
    assert sum(started.values()) == 6
    trials = trials_of(None, tmp_path / "results/chief", "keras-initx")
    assert [t.state.name for t in trials] == ["COMPLETE"] * 6
    for trial in trials:
        scores = [record["score"] for record in seed_records(trial).values()]
        assert list(seed_records(trial)) == [0, 1]
        assert trial.value == pytest.approx(sum(scores) / 2)
    # After the wait, the chief has the results of all trials.
    assert len(re.findall(r"^\d completed .*\(n=2\)", out["chief"], re.MULTILINE)) == 6
    assert len(list((tmp_path / "results/chief").glob("trial_*/best_?.weights.h5"))) == 6


@pytest.mark.slow
def test_keras_tuners_guide(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from keras_initx.tuning import InitializerTuner
from tests.tuning.published_guides_on_training import distributed

tuner = distributed(InitializerTuner, max_trials=4, jit_compile=False, overwrite=False)
print([trial.status for trial in tuner.oracle.get_best_trials(9)])
"""
    out = run_together(tmp_path, program)
    assert out["chief"].splitlines()[-1] == str(["COMPLETED"] * 4)
    assert sum(text.count("Running Trial #") for text in out.values()) == 4


@pytest.mark.slow
def test_other_tuner_over_keras_tuners_connection(tmp_path: Path) -> None:
    out = run_together(tmp_path, ANY_TUNER)
    # Here the chief shows the progress.
    assert out["chief"].count("Running Trial #") == 6
    trials = trials_of(None, tmp_path / "results/chief", "keras-initx")
    assert [t.state.name for t in trials] == [*["COMPLETE"] * 2, "FAIL", *["COMPLETE"] * 3]
    for trial in trials:
        expected = trial.params["units"] + (trial.params["kind"] == "b")
        assert trial.value == (None if trial.number == 2 else expected)


def test_is_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.delenv("KERASTUNER_ORACLE_IP", raising=False)
    assert not is_chief()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    assert is_chief()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    assert not is_chief()


def test_chief_waits_for_all_trials_of_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = OptunaOracle("val_loss", 2, storage=f"sqlite:///{tmp_path}/study.db")
    worker = OptunaOracle("val_loss", 2, storage=f"sqlite:///{tmp_path}/study.db")
    waits = []

    def work(seconds: float) -> None:
        waits.append(seconds)
        worker.study.tell(worker.study.ask(), 0.5)

    monkeypatch.setattr("time.sleep", work)
    wait_for_workers(oracle)
    assert len(waits) == 2


def test_chief_refuses_a_search_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Any
) -> None:
    for name, value in (("TUNER_ID", "chief"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    tuner = InitializerTuner(small_model, oracle=OptunaOracle("val_loss"), directory=str(tmp_path))
    with pytest.raises(
        InitxError, match=r"^`max_trials` must be an integer >= 1, got None\..*chief waits until"
    ):
        tuner.search()


@pytest.mark.parametrize("name", ["chief", "tuner0"])
def test_processes_do_not_remove_what_they_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Any, name: str
) -> None:
    place = {"directory": str(tmp_path), "project_name": "p"}
    InitializerTuner(small_model, "val_loss", overwrite=True, **place)
    assert (tmp_path / "p").is_dir()
    for variable, value in (("TUNER_ID", name), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{variable}", value)
    with pytest.raises(
        InitxError, match=r"^`overwrite=True` cannot be used with a chief.* remove the folder"
    ):
        InitializerTuner(small_model, "val_loss", overwrite=True, **place)
    assert (tmp_path / "p").is_dir()


def test_worker_keeps_its_own_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Any
) -> None:
    for name, value in (("TUNER_ID", "tuner0"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    oracle = OptunaOracle("val_loss")
    tuner = InitializerTuner(small_model, oracle=oracle, directory=str(tmp_path))
    assert tuner.oracle is oracle


def test_oracle_knows_which_tuners_will_ask_again(tmp_path: Path) -> None:
    """KerasTuner's chief ends once this set is empty; a tuner that asks an ended chief waits for an hour."""
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
