"""Worker processes on one machine that run one search; a worker that dies is restarted."""

import os
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from keras_initx.errors import check_positive

from ..observers import Observer
from ..study import OptunaOracle, seed_records, status_of
from .parent import HAS_PARENT_VARIABLE

# How often a worker that died is restarted.
MAX_RESTARTS = 3
# Seconds that a worker may take to stop after an interrupt.
STOP_SECONDS = 20.0
# Seconds between two checks of the workers.
_POLL_SECONDS = 0.5
# The environment variable with the number of trials that a process may start before it is replaced.
TRIALS_VARIABLE = "KERAS_INITX_TRIALS_EACH"


@dataclass
class Workers:
    """Processes that run `command` in parallel, until each ends by itself.

    Each process gets an equal share of the cores and, if the machine has GPUs, one GPU in turn. A process
    that dies is restarted up to three times; its trial goes to the next process that asks. Ctrl-C stops all.
    If this process is killed, the searches of the others end within ten seconds.

    Args:
        command: A program that joins the search (`Results(folder, mode="join")`) in the same folder.
        count: The number of processes.
        environment: Environment variables of the processes, in addition to the variables of this process.
        trials_each: The number of trials after which a process ends and a new one replaces it; None never
            replaces one. TensorFlow keeps compiled functions in memory until its process ends, so a search
            that compiles every trial needs more and more memory.

    Raises:
        InitxError: `count` or `trials_each` is not an integer >= 1.
    """

    command: Sequence[str]
    count: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    trials_each: int | None = None
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)
    _logs: Path = field(default=Path(), repr=False)

    def __post_init__(self) -> None:
        check_positive("workers", self.count)
        if self.trials_each is not None:
            check_positive("trials_each", self.trials_each)

    def run(
        self, oracle: OptunaOracle, logs: Path, seeds: Sequence[int], observers: Sequence[Observer] = ()
    ) -> None:
        """Start the processes, notify the observers of what the study shows, and wait for all processes.

        Args:
            oracle: The oracle with the study.
            logs: The folder for the output of the processes: `worker_0.log` and so on.
            seeds: The seeds of each trial.
            observers: The observers.

        Raises:
            RuntimeError: Every worker ended with an error.
        """
        with _signals_interrupt():
            self._run(oracle, logs, seeds, observers)

    def _run(
        self, oracle: OptunaOracle, logs: Path, seeds: Sequence[int], observers: Sequence[Observer]
    ) -> None:
        follower = _StudyFollower(oracle, seeds, observers)
        starts, progress = [1] * self.count, [_progress(oracle)] * self.count
        self._logs = logs
        self._processes = [self._start(number) for number in range(self.count)]
        try:
            while True:
                # A process that ends after this moment may need a successor, so the next round looks at it.
                have_ended = [p.poll() is not None for p in self._processes]
                present = list(self._processes)
                self._restart_killed(starts)
                self._start_successors(oracle, progress)
                follower.poll()
                if all(have_ended) and self._processes == present:
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            self._stop()
        if all(p.returncode for p in self._processes):
            lines = self._log_lines(0)
            reason = f"The first one printed: {lines[-1]}" if lines else f"See {self._log(0)}."
            raise RuntimeError(f"All {self.count} workers ended with an error. {reason}")
        for number, process in enumerate(self._processes):
            if process.returncode > 0:
                last_line = (self._log_lines(number) or ["it printed nothing"])[-1]
                warnings.warn(f"Worker {number} ended with an error: {last_line[:300]}", stacklevel=2)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        for earlier in self._processes[number : number + 1]:
            _close(earlier)
        limit = {} if self.trials_each is None else {TRIALS_VARIABLE: str(self.trials_each)}
        with self._log(number).open("ab") as log:
            return subprocess.Popen(
                self.command,
                env={
                    **os.environ,
                    **worker_environment(number, self.count),
                    **limit,
                    HAS_PARENT_VARIABLE: "1",
                    **self.environment,
                },
                # The system closes this end when this process ends, by which a worker notices.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C on the terminal reaches only this process, which then stops the others.
                start_new_session=True,
            )

    def _log(self, number: int) -> Path:
        return self._logs / f"worker_{number}.log"

    def _log_lines(self, number: int) -> list[str]:
        return self._log(number).read_text(errors="replace").strip().splitlines()

    def _restart_killed(self, starts: list[int]) -> None:
        """Restart workers that were killed, but not workers that ended with an error, which would recur."""
        for number, process in enumerate(self._processes):
            # A negative return code means a signal.
            if (process.returncode or 0) < 0 and starts[number] <= MAX_RESTARTS:
                starts[number] += 1
                self._processes[number] = self._start(number)

    def _start_successors(self, oracle: OptunaOracle, progress: list[int]) -> None:
        """Replace workers that ended after `trials_each` trials, as long as there are trials to run."""
        for number, process in enumerate(self._processes):
            if self.trials_each is None or process.returncode != 0 or oracle.remaining_trials() == 0:
                continue
            # Without progress since the last start the sampler has no more trials.
            if (current := _progress(oracle)) > progress[number]:
                progress[number] = current
                self._processes[number] = self._start(number)

    def _stop(self) -> None:
        running = [p for p in self._processes if p.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self._processes:
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C, so that no worker outlives this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(getattr(signal, name), handler)


def trials_each() -> int | None:
    """Return the number of trials that `Workers` lets this process start; None if unlimited."""
    value = os.environ.get(TRIALS_VARIABLE)
    return None if value is None else check_positive(TRIALS_VARIABLE, int(value))


def _progress(oracle: OptunaOracle) -> int:
    """Return a count that grows with every trial that starts or finishes."""
    trials = oracle.frozen_trials()
    return len(trials) + sum(t.state.is_finished() for t in trials)


def worker_environment(number: int, count: int) -> Mapping[str, str]:
    """Return the environment variables that give one of several processes its share of cores and its GPU.

    A number of threads that the user has set stays.

    >>> "OMP_NUM_THREADS" in {**os.environ, **worker_environment(0, 2)}
    True
    """
    cores = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    variables = {name: str(cores) for name in names if name not in os.environ}
    if gpus := _gpus():
        variables["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        # Two processes may share a GPU, so neither may reserve all of its memory.
        variables.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        variables.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return variables


def _gpus() -> list[str]:
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    # The indented lines list slices of a GPU.
    lines = [] if listed.returncode else listed.stdout.splitlines()
    return [str(number) for number, _ in enumerate(line for line in lines if line.startswith("GPU "))]


class _StudyFollower:
    """Notifies the observers of a search that other processes run, from the changes in its study."""

    def __init__(self, oracle: OptunaOracle, seeds: Sequence[int], observers: Sequence[Observer]) -> None:
        self._oracle, self._all_seeds, self._observers = oracle, seeds, observers
        self._reported_seeds: dict[int, set[int]] = {}
        self._ended: set[int] = set()
        for frozen in oracle.frozen_trials():
            self._reported_seeds[frozen.number] = set(seed_records(frozen))
            if frozen.state.is_finished():
                self._ended.add(frozen.number)

    def poll(self) -> None:
        """Read the study, and notify the observers of its changes."""
        for frozen in self._oracle.frozen_trials():
            if frozen.number in self._ended:
                continue
            trial = self._oracle.get_trial(f"{frozen.number:04d}")
            self._notify(frozen, trial)

    def _notify(self, frozen: Any, trial: Any) -> None:
        if frozen.number not in self._reported_seeds:
            self._reported_seeds[frozen.number] = set()
            for observer in self._observers:
                observer.on_trial_begin(trial, self._all_seeds)
        reported = self._reported_seeds[frozen.number]
        for seed, record in seed_records(frozen).items():
            if seed not in reported:
                reported.add(seed)
                for observer in self._observers:
                    for _ in range(record["epochs"]):
                        observer.on_epoch_end(record["epochs"])
                    observer.on_seed_end(trial, seed, record, 0)
        if frozen.state != TrialState.RUNNING:
            self._ended.add(frozen.number)
            for observer in self._observers:
                observer.on_trial_end(trial, status_of(frozen))
