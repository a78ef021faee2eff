"""Real processes on one study: the same results as one process, and nothing lost when some are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.parallel.workers import Workers, worker_environment
from keras_initx.tuning.storage.databases import storage_session
from keras_initx.tuning.study.attributes import OWNER_ATTRIBUTE, seed_records
from keras_initx.tuning.study.heartbeat import new_owner

from keras_initx import InitxError
from keras_initx.cli.common import worker_command

TUNE = [
    "--dataset", "iris", "--initializers", "he_auto,he_normal,auto", "--activations", "relu,tanh",
    "--learning-rates", "0.003", "--seeds", "2", "--no-jit-compile", "--quiet",
]  # fmt: skip

pytestmark = [pytest.mark.one_backend, pytest.mark.skipif(os.name != "posix", reason="sends signals")]


def tune(folder: Path, *options: str, wait: bool = True) -> Any:
    command = [sys.executable, "-m", "keras_initx.tuning", *TUNE, *options]
    process = subprocess.Popen(
        [*command, "--results", str(folder / "results"), "--logs", str(folder / "logs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if not wait:
        return process
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def scores(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "results/results.json").read_text())
    return {
        json.dumps(t["hyperparameters"], sort_keys=True): {s: r["curves"] for s, r in t["seeds"].items()}
        for t in found["trials"]
    }


def study(folder: Path) -> list[optuna.trial.FrozenTrial]:
    with storage_session(None, folder / "results") as storage:
        return optuna.load_study(study_name="keras-initx", storage=storage).trials


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    tune(tmp_path / "one", "--epochs", "3", "--extra-seeds", "6")
    tune(tmp_path / "two", "--epochs", "3", "--extra-seeds", "6", "--workers", "2")
    assert scores(tmp_path / "one") == scores(tmp_path / "two")
    assert len(scores(tmp_path / "two")) == 6
    # The race, too, is run once, by whichever comes first: three trials, two seeds more for each.
    assert sorted(len(seeds) for seeds in scores(tmp_path / "two").values()) == [2, 2, 2, 4, 4, 4]
    owners = {t.user_attrs[OWNER_ATTRIBUTE]["pid"] for t in study(tmp_path / "two")}
    assert len(owners) == 2
    assert (tmp_path / "two/results/best_model.keras").is_file()
    assert len(list((tmp_path / "two/logs").rglob("*.trial.keras_initx"))) == 6


@pytest.mark.slow
def test_processes_that_end_after_a_few_trials_find_the_same(tmp_path: Path) -> None:
    tune(tmp_path / "one", "--epochs", "2")
    tune(tmp_path / "each", "--epochs", "2", "--trials-each", "2")
    assert scores(tmp_path / "one") == scores(tmp_path / "each")
    owners = [t.user_attrs[OWNER_ATTRIBUTE]["pid"] for t in study(tmp_path / "each")]
    assert [owners.count(pid) for pid in dict.fromkeys(owners)] == [2, 2, 2]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_finished(tmp_path: Path) -> None:
    process = tune(tmp_path, "--epochs", "30", "--workers", "2", wait=False)
    killed, before = None, {}
    deadline = time.monotonic() + 120
    while killed is None and time.monotonic() < deadline:
        time.sleep(0.05)
        if (tmp_path / "results/study.db").exists():
            # One that has finished a seed of two.
            for trial in _running(tmp_path):
                if len(records := seed_records(trial)) == 1:
                    killed, before = trial, records
                    os.kill(trial.user_attrs[OWNER_ATTRIBUTE]["pid"], signal.SIGKILL)
                    break
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert killed is not None
    trials = study(tmp_path)
    assert [t.state.name for t in trials] == ["COMPLETE"] * 6
    after = trials[killed.number]
    assert after.params == killed.params
    # The finished seed was not run again: it is the very record, with its seconds.
    (seed,) = before
    assert seed_records(after)[seed] == before[seed]
    assert len(seed_records(after)) == 2
    assert after.user_attrs[OWNER_ATTRIBUTE]["pid"] != killed.user_attrs[OWNER_ATTRIBUTE]["pid"]


def _running(folder: Path) -> list[optuna.trial.FrozenTrial]:
    try:
        return [
            t
            for t in study(folder)
            if t.state == optuna.trial.TrialState.RUNNING and OWNER_ATTRIBUTE in t.user_attrs
        ]
    except Exception:
        # The tables are being made.
        return []


@pytest.mark.slow
def test_ctrl_c_stops_all_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = tune(tmp_path, "--epochs", "200", "--workers", "2", wait=False)
    deadline = time.monotonic() + 120
    while len(running := _running(tmp_path) if (tmp_path / "results/study.db").exists() else []) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 130
    assert "--workers 2" in err
    assert "--resume" in err
    for trial in running:
        with pytest.raises(ProcessLookupError):
            os.kill(trial.user_attrs[OWNER_ATTRIBUTE]["pid"], 0)


class Quiet:
    """A study that shows nothing."""

    def frozen_trials(self) -> list[Any]:
        return []


def start(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_none_outlives_the_one_that_started_them(tmp_path: Path, sent: int) -> None:
    child = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w'); time.sleep(100)"
    code = (
        "import sys; from pathlib import Path; from keras_initx.tuning.parallel.workers import Workers\n"
        "class Quiet:\n    frozen_trials = staticmethod(list)\n"
        f"Workers([sys.executable, '-c', {child!r}], 2).run(Quiet(), Path({str(tmp_path)!r}), [])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while len(pids := [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    parent.send_signal(sent)
    parent.wait(timeout=60)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class TestProcesses:
    def test_the_error_of_one_is_told(self, tmp_path: Path) -> None:
        # The second finds the folder of the first.
        code = f"""
import os, sys
try:
    os.mkdir({str(tmp_path / "first")!r})
except FileExistsError:
    sys.exit("no such data")
"""
        with pytest.warns(UserWarning, match=r"Worker [01] ended with an error: no such data"):
            Workers(start(code), 2).run(Quiet(), tmp_path, [])

    def test_all_end_with_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match=r"All 2 workers .*The first said: no such data"):
            Workers(start("import sys; sys.exit('no such data')"), 2).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]

    def test_one_that_is_killed_is_started_four_times_in_all(self, tmp_path: Path) -> None:
        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); import os; os.kill(os.getpid(), 9)"
        with pytest.raises(RuntimeError, match=r"See .*worker_0\.log"):
            Workers(start(code), 1).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "starts").read_text() == "xxxx"

    def test_much_output_blocks_nobody(self, tmp_path: Path) -> None:
        Workers(start("import sys; sys.stderr.write('x' * 10**6)"), 1).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "worker_0.log").stat().st_size == 10**6

    def test_one_that_does_not_stop_is_killed(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr("keras_initx.tuning.parallel.workers.STOP_SECONDS", 0.5)
        code = (
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); "
            "time.sleep(99)"
        )
        workers = Workers(start(code), 1)

        class Interrupted(Quiet):
            def frozen_trials(self) -> list[Any]:
                log = tmp_path / "worker_0.log"
                if log.exists() and log.read_text().strip() == "1":
                    raise KeyboardInterrupt
                return []

        with pytest.raises(KeyboardInterrupt):
            workers.run(Interrupted(), tmp_path, [0])  # type: ignore[arg-type]
        assert workers._processes[0].returncode == -signal.SIGKILL

    def test_one_that_finds_nothing_to_do_is_not_started_again(self, tmp_path: Path) -> None:
        class Unfinished(Quiet):
            def remaining_trials(self) -> int:
                return 5

        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')"
        Workers(start(code), 1, trials_each=2).run(Unfinished(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "starts").read_text() == "x"

    def test_bad_trials_each(self) -> None:
        with pytest.raises(InitxError, match=r"^trials_each: received 0"):
            Workers(["true"], 1, trials_each=0)

    @pytest.mark.parametrize("count", [0, -1, 1.5, True])
    def test_bad_counts(self, count: Any) -> None:
        with pytest.raises(InitxError, match=r"^workers: received"):
            Workers(["true"], count)


class TestShares:
    def test_cores(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "3")
        found = worker_environment(1, 5)
        assert found["OMP_NUM_THREADS"] == found["TF_NUM_INTRAOP_THREADS"] == "3"
        # What the user has set stays.
        assert "TF_NUM_INTEROP_THREADS" not in found

    def test_gpus_in_turn(self, monkeypatch: Any) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
        assert [worker_environment(n, 3)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["2", "5", "2"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        assert "CUDA_VISIBLE_DEVICES" not in worker_environment(0, 2)


def test_the_command_of_a_worker() -> None:
    given = ["tune", "--workers", "4", "--overwrite", "--csv", "a b.csv", "--extra-seeds=9", "-q", "--json"]
    kept = ["--csv", "a b.csv", "--seeds", "2"]
    command = worker_command([*given, "--seeds", "2"])
    assert command[1:] == ["-m", "keras_initx.tuning", *kept, "--join", "--quiet"]


class TestJoining:
    def test_threads_of_one_folder_share_the_trials(self, quick: Any, tmp_path: Path) -> None:
        """Two searches in one folder that begin together: as many trials as asked for, none twice."""
        quick(trials=1, join=True, tuner="random")
        result = quick(trials=3, join=True, tuner="random")
        assert [t.number for t in result.trials] == [0, 1, 2]
        with pytest.raises(InitxError, match=r"^resume: .*overwrite"):
            quick(join=True, overwrite=True)

    def test_a_trial_too_many_is_given_up(self, quick: Any, monkeypatch: Any) -> None:
        """Another process asks between the count and the study's answer."""
        from keras_initx.tuning import OptunaOracle

        true, asked = OptunaOracle._use_sampler, threading.Event()

        def late(oracle: Any, number: int) -> None:
            true(oracle, number)
            if number == 1 and not asked.is_set():
                asked.set()
                other = oracle.study.ask()
                other.set_user_attr(OWNER_ATTRIBUTE, {**new_owner(), "pid": os.getppid(), "started": None})

        monkeypatch.setattr(OptunaOracle, "_use_sampler", late)
        result = quick(trials=2)
        assert [t.status for t in result.trials] == ["completed", "running"]
        states = [t.state.name for t in result.tuner.oracle.study.trials]
        assert states == ["COMPLETE", "RUNNING", "FAIL"]
