"""Real processes on one study find what one process finds, and lose nothing when one of them is killed."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.parallel.workers import Workers, worker_environment
from keras_initx.tuning.study.attributes import OWNER_ATTRIBUTE, seed_records
from keras_initx.tuning.study.heartbeat import new_owner
from keras_initx.tuning.study.proposals import Proposals

from keras_initx import InitxError
from keras_initx.cli.command_lines import worker_command
from tests.support import processes
from tests.support.shared_search import command, curves, of_one_process
from tests.support.studies import running, study_of_others, trials_of, wait_for

pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.skipif(os.name != "posix", reason="sends signals"),
]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: Any) -> Path:
    """The folder of the search by one process."""
    return of_one_process(tmp_path_factory)


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds_although_one_is_killed(
    one_process: Path, tmp_path: Path
) -> None:
    options = command(tmp_path, "--extra-seeds", "6", "--workers", "2")
    go = tmp_path / "go"
    process = processes.start(
        processes.command_line_of_waiting_workers, str(go), *options, output=tmp_path / "out"
    )

    def with_one_seed() -> optuna.trial.FrozenTrial | None:
        # A trial with one of its two seeds, while both workers are at work.
        trials = running(others)
        return next((t for t in trials if len(trials) == 2 and len(seed_records(t)) == 1), None)

    with study_of_others(None, tmp_path / "results", "keras-initx", process.is_alive) as others:
        killed = wait_for(with_one_seed, process.is_alive)
    before = seed_records(killed)
    os.kill(killed.user_attrs[OWNER_ATTRIBUTE]["pid"], signal.SIGKILL)
    go.touch()
    process.join(1000)
    assert process.exitcode == 0, processes.errors_of(tmp_path / "out")
    trials = trials_of(None, tmp_path / "results", "keras-initx")
    assert [t.state.name for t in trials] == ["COMPLETE"] * 6
    after = trials[killed.number]
    assert after.params == killed.params
    # The finished seed did not run again: its record is the same, down to the seconds.
    (seed,) = before
    assert seed_records(after)[seed] == before[seed]
    assert len(seed_records(after)) == 2
    owners = {t.user_attrs[OWNER_ATTRIBUTE]["pid"] for t in trials}
    assert len(owners) >= 2
    assert after.user_attrs[OWNER_ATTRIBUTE]["pid"] != killed.user_attrs[OWNER_ATTRIBUTE]["pid"]
    # One process runs the race: three trials, two further seeds for each.
    assert curves(tmp_path) == curves(one_process)
    assert sorted(len(seeds) for seeds in curves(tmp_path).values()) == [2, 2, 2, 4, 4, 4]
    assert (tmp_path / "results/best_model.keras").is_file()
    assert len(list((tmp_path / "logs").rglob("*.trial.keras_initx"))) == 6


@pytest.mark.slow
def test_workers_that_end_after_a_few_trials_find_the_same(one_process: Path, tmp_path: Path) -> None:
    processes.run(processes.command_line, *command(tmp_path, "--trials-each", "3"), output=tmp_path / "out")
    assert curves(tmp_path) == curves(one_process, seeds=2)
    owners = [
        t.user_attrs[OWNER_ATTRIBUTE]["pid"] for t in trials_of(None, tmp_path / "results", "keras-initx")
    ]
    assert [owners.count(pid) for pid in dict.fromkeys(owners)] == [3, 3]


@pytest.mark.slow
def test_ctrl_c_stops_all_and_prints_how_to_resume(tmp_path: Path) -> None:
    options = command(tmp_path, "--epochs", "200", "--workers", "2")
    process = processes.start(processes.command_line, *options, output=tmp_path / "out")
    with study_of_others(None, tmp_path / "results", "keras-initx", process.is_alive) as others:
        trials = wait_for(lambda: t if len(t := running(others)) == 2 else None, process.is_alive)
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert time.monotonic() - started < 30
    assert process.exitcode == 130
    errors = processes.errors_of(tmp_path / "out")
    assert "--workers 2" in errors
    assert "--resume" in errors
    for trial in trials:
        with pytest.raises(ProcessLookupError):
            os.kill(trial.user_attrs[OWNER_ATTRIBUTE]["pid"], 0)


class Quiet:
    """An oracle whose study stays empty."""

    def frozen_trials(self) -> list[Any]:
        return []


def python(code: str) -> list[str]:
    # Without the site packages, which these programs do not need.
    return [sys.executable, "-S", "-c", code]


def run_two_workers(child: str, logs: Path) -> None:
    Workers(python(child), 2).run(Quiet(), logs, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_no_worker_outlives_the_process_that_started_it(tmp_path: Path, sent: int) -> None:
    child = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w'); time.sleep(100)"
    parent = processes.start(run_two_workers, child, tmp_path, output=tmp_path / "out")
    deadline = time.monotonic() + 1000
    while len(pids := [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(parent.pid, sent)
    parent.join(1000)
    assert parent.exitcode is not None
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class TestProcesses:
    def test_error_of_one_worker_is_a_warning(self, tmp_path: Path) -> None:
        # The second finds the folder of the first.
        code = f"""
import os, sys
try:
    os.mkdir({str(tmp_path / "first")!r})
except FileExistsError:
    sys.exit("no such data")
"""
        with pytest.warns(UserWarning, match=r"Worker [01] ended with an error: no such data"):
            Workers(python(code), 2).run(Quiet(), tmp_path, [])

    def test_error_of_all_workers_is_raised(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match=r"All 2 workers .*The first one printed: no such data"):
            Workers(python("import sys; sys.exit('no such data')"), 2).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]

    def test_killed_worker_is_restarted_three_times(self, tmp_path: Path) -> None:
        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); import os; os.kill(os.getpid(), 9)"
        with pytest.raises(RuntimeError, match=r"See .*worker_0\.log"):
            Workers(python(code), 1).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "starts").read_text() == "xxxx"

    def test_worker_that_is_killed_while_the_study_is_read_is_restarted(self, tmp_path: Path) -> None:
        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); import os; os.kill(os.getpid(), 9)"
        workers = Workers(python(code), 1)

        class Slow(Quiet):
            def frozen_trials(self) -> list[Any]:
                # The worker ends now, after the round has looked for killed workers.
                for process in workers._processes:
                    process.wait()
                return []

        with pytest.raises(RuntimeError, match="All 1 workers"):
            workers.run(Slow(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "starts").read_text() == "xxxx"

    def test_long_output_does_not_block(self, tmp_path: Path) -> None:
        Workers(python("import sys; sys.stderr.write('x' * 10**6)"), 1).run(Quiet(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "worker_0.log").stat().st_size == 10**6

    def test_worker_that_does_not_stop_is_killed(self, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr("keras_initx.tuning.parallel.workers.STOP_SECONDS", 0.5)
        code = (
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); "
            "time.sleep(99)"
        )
        workers = Workers(python(code), 1)

        class Interrupted(Quiet):
            def frozen_trials(self) -> list[Any]:
                log = tmp_path / "worker_0.log"
                if log.exists() and log.read_text().strip() == "1":
                    raise KeyboardInterrupt
                return []

        with pytest.raises(KeyboardInterrupt):
            workers.run(Interrupted(), tmp_path, [0])  # type: ignore[arg-type]
        assert workers._processes[0].returncode == -signal.SIGKILL

    def test_worker_without_trials_to_run_is_not_restarted(self, tmp_path: Path) -> None:
        class Unfinished(Quiet):
            def remaining_trials(self) -> int:
                return 5

        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')"
        Workers(python(code), 1, trials_each=2).run(Unfinished(), tmp_path, [0])  # type: ignore[arg-type]
        assert (tmp_path / "starts").read_text() == "x"

    def test_bad_trials_each(self) -> None:
        with pytest.raises(InitxError, match=r"^`trials_each` must be an integer >= 1, got 0"):
            Workers(["true"], 1, trials_each=0)

    @pytest.mark.parametrize("count", [0, -1, 1.5, True])
    def test_bad_counts(self, count: Any) -> None:
        with pytest.raises(InitxError, match=rf"^`workers` must be an integer >= 1, got {count}"):
            Workers(["true"], count)


class TestWorkerEnvironment:
    def test_cores(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "3")
        variables = worker_environment(1, 5)
        assert variables["OMP_NUM_THREADS"] == variables["TF_NUM_INTRAOP_THREADS"] == "3"
        # A variable that the user has set is not overwritten.
        assert "TF_NUM_INTEROP_THREADS" not in variables

    def test_gpus_in_turn(self, monkeypatch: Any) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
        assert [worker_environment(n, 3)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["2", "5", "2"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        assert "CUDA_VISIBLE_DEVICES" not in worker_environment(0, 2)


def test_command_of_a_worker() -> None:
    arguments = [
        "tune",
        "--workers",
        "4",
        "--overwrite",
        "--data",
        "a b.csv",
        "--extra-seeds=9",
        "-q",
        "--json",
    ]
    kept = ["--data", "a b.csv", "--seeds", "2"]
    command = worker_command([*arguments, "--seeds", "2"])
    assert command[1:] == ["-P", "-m", "keras_initx.tuning", *kept, "--join", "--quiet"]


class TestJoining:
    def test_second_search_in_a_folder_joins_the_first(self, quick: Any, tmp_path: Path) -> None:
        """It runs only the missing trials."""
        quick(trials=1, seeds=1, mode="join")
        result = quick(trials=3, seeds=1, mode="join")
        assert [t.number for t in result.trials] == [0, 1, 2]

    def test_trial_beyond_the_limit_is_dropped(self, quick: Any, monkeypatch: Any) -> None:
        """Another process asks for the last trial at the same time."""
        use_sampler, asked = Proposals.use_sampler, threading.Event()

        def late(proposals: Any, number: int) -> None:
            use_sampler(proposals, number)
            if number == 1 and not asked.is_set():
                asked.set()
                other = proposals._oracle.shared.study.ask()
                other.set_user_attr(OWNER_ATTRIBUTE, {**new_owner(), "pid": os.getppid(), "started": None})

        monkeypatch.setattr(Proposals, "use_sampler", late)
        result = quick(trials=2, seeds=1, epochs=1)
        assert [t.status for t in result.trials] == ["completed", "running"]
        states = [t.state.name for t in result.tuner.oracle.study.trials]
        assert states == ["COMPLETE", "RUNNING", "FAIL"]
