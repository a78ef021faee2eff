"""Several processes on one machine that run one search: started, watched, replaced when they die."""

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

# How often a worker that died is replaced, and how long one may take to stop when it is told to.
MAX_RESTARTS, STOP_SECONDS = 3, 20.0
_EVERY = 0.5
# Of `keras-initx tune --storage`.
STORAGE_VARIABLE = "KERAS_INITX_STORAGE"
# How many trials a process that joins a search may begin before it makes room for a new one.
TRIALS_VARIABLE = "KERAS_INITX_TRIALS_EACH"


@dataclass
class Workers:
    """Runs `command` several times at once, until each ends by itself.

    Each process gets its share of the cores, and one of the GPUs where there are some, in turn. One that
    dies is started again, three times at most; its trial goes to the next that asks. Ctrl-C stops all.

    Args:
        command: A program that joins the search (`search(..., join=True)`) in the same folder.
        count: How many processes.
        environment: Variables that the processes get beside those of this one.
        trials_each: After how many trials a process ends, and a new one takes its place; None never.
            What TensorFlow compiled stays in memory as long as its process: a search in which every
            trial is compiled anew grows without end.

    Raises:
        InitxError: A count, or a number of trials, that is not positive.
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
        """Starts the processes, tells the observers what the study shows of them, and waits for all.

        Args:
            oracle: Has the study.
            logs: The folder for what each process prints: `worker_0.log` and so on.
            seeds: The seeds of each trial.
            observers: Who is told.

        Raises:
            RuntimeError: No worker ended well.
        """
        with _ended_by_signals():
            self._run(oracle, logs, seeds, observers)

    def _run(
        self, oracle: OptunaOracle, logs: Path, seeds: Sequence[int], observers: Sequence[Observer]
    ) -> None:
        follower = _Follower(oracle, seeds, observers)
        starts, progress = [1] * self.count, [_progress(oracle)] * self.count
        self._logs = logs
        self._processes = [self._start(number) for number in range(self.count)]
        try:
            while True:
                self._replace(starts)
                self._renew(oracle, progress)
                follower.look()
                if all(p.poll() is not None for p in self._processes):
                    break
                time.sleep(_EVERY)
        finally:
            self._stop()
        if all(p.returncode for p in self._processes):
            said = self._log(0).read_text(errors="replace").strip().splitlines()
            reason = f"The first said: {said[-1]}" if said else f"See {self._log(0)}."
            raise RuntimeError(f"All {self.count} workers ended with an error. {reason}")
        for number, process in enumerate(self._processes):
            if process.returncode > 0:
                said = self._log(number).read_text(errors="replace").strip().splitlines() or ["nothing"]
                warnings.warn(f"Worker {number} ended with an error: {said[-1][:300]}", stacklevel=2)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        limit = {} if self.trials_each is None else {TRIALS_VARIABLE: str(self.trials_each)}
        with self._log(number).open("ab") as log:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **shares(number, self.count), **limit, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C on the terminal goes to this process, which stops the others in order.
                start_new_session=True,
            )

    def _log(self, number: int) -> Path:
        return self._logs / f"worker_{number}.log"

    def _replace(self, starts: list[int]) -> None:
        """Starts those again that were killed; an error of a worker's own would come again."""
        for number, process in enumerate(self._processes):
            # A negative code is that of a signal.
            if (process.poll() or 0) < 0 and starts[number] <= MAX_RESTARTS:
                starts[number] += 1
                self._processes[number] = self._start(number)

    def _renew(self, oracle: OptunaOracle, progress: list[int]) -> None:
        """Starts those again that ended by `trials_each`, as long as there are trials to run."""
        for number, process in enumerate(self._processes):
            if self.trials_each is None or process.poll() != 0 or oracle.remaining_trials() == 0:
                continue
            # One that found nothing to do would find nothing again: the sampler has no more.
            if (now := _progress(oracle)) > progress[number]:
                progress[number] = now
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


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Takes `kill`, and a terminal that is closed, for Ctrl-C: the processes would live on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def trials_each() -> int | None:
    """How many trials the `Workers` that started this process let it begin; None for no limit."""
    given = os.environ.get(TRIALS_VARIABLE)
    return None if given is None else check_positive(TRIALS_VARIABLE, int(given))


def _progress(oracle: OptunaOracle) -> int:
    trials = oracle.frozen_trials()
    return len(trials) + sum(t.state.is_finished() for t in trials)


def shares(number: int, count: int) -> Mapping[str, str]:
    """The environment of one of several processes: its share of the cores, and its GPU.

    >>> sorted(shares(0, 2))[:2]
    ['OMP_NUM_THREADS', 'TF_NUM_INTEROP_THREADS']
    """
    cores = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    found = {name: str(cores) for name in names if name not in os.environ}
    if gpus := _gpus():
        found["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        # Two processes on one GPU: none may take all of its memory.
        found.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        found.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return found


def _gpus() -> list[str]:
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    # The lines of a GPU's slices are indented.
    lines = [] if listed.returncode else listed.stdout.splitlines()
    return [str(number) for number, _ in enumerate(line for line in lines if line.startswith("GPU "))]


class _Follower:
    """Tells observers of a search that other processes run, by what the study shows of it."""

    def __init__(self, oracle: OptunaOracle, seeds: Sequence[int], observers: Sequence[Observer]) -> None:
        self._oracle, self._all, self._observers = oracle, seeds, observers
        self._seeds: dict[int, set[int]] = {}
        self._ended: set[int] = set()
        for frozen in oracle.frozen_trials():
            self._seeds[frozen.number] = set(seed_records(frozen))
            if frozen.state.is_finished():
                self._ended.add(frozen.number)

    def look(self) -> None:
        """Reads the study, and tells what is new."""
        for frozen in self._oracle.frozen_trials():
            if frozen.number in self._ended:
                continue
            trial = self._oracle.get_trial(f"{frozen.number:04d}")
            self._tell(frozen, trial)

    def _tell(self, frozen: Any, trial: Any) -> None:
        if frozen.number not in self._seeds:
            self._seeds[frozen.number] = set()
            for observer in self._observers:
                observer.on_trial_begin(trial, self._all)
        known = self._seeds[frozen.number]
        for seed, record in seed_records(frozen).items():
            if seed not in known:
                known.add(seed)
                for observer in self._observers:
                    for _ in range(record["epochs"]):
                        observer.on_epoch_end(record["epochs"])
                    observer.on_seed_end(trial, seed, record, 0)
        if frozen.state != TrialState.RUNNING:
            self._ended.add(frozen.number)
            for observer in self._observers:
                observer.on_trial_end(trial, status_of(frozen))
