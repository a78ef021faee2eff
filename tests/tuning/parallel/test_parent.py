"""No worker outlives a killed parent."""

import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning.parallel import parent
from keras_initx.tuning.parallel.workers import Workers

from tests.support import processes

pytestmark = [
    pytest.mark.check,
    pytest.mark.one_backend,
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc"),
]

# The first worker ends with the interrupt and says so, the second one ignores it.
WORKER = """
import os, runpy, signal, sys, time
runpy.run_path(sys.argv[1])["end_with_parent"]()
folder = sys.argv[2]
try:
    os.mkdir(f"{folder}/first")
except FileExistsError:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
open(f"{folder}/{os.getpid()}", "w").close()
try:
    time.sleep(100)
except KeyboardInterrupt:
    open(f"{folder}/interrupted", "w").close()
"""


def run_two_workers(folder: str) -> None:
    class Empty:
        def frozen_trials(self) -> list[Any]:
            return []

    # Without the site packages, which these programs do not need.
    command = [sys.executable, "-S", "-c", WORKER, parent.__file__, folder]
    Workers(command, 2).run(Empty(), Path(folder), [])  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    # The first process of a container may leave ended processes as zombies, whose state is Z.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_within_ten_seconds_of_a_killed_parent(tmp_path: Path) -> None:
    process = processes.start(run_two_workers, str(tmp_path), output=tmp_path / "out")
    deadline = time.monotonic() + 1000
    while len(pids := [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(1000)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "interrupted").exists()


def test_other_processes_are_left_alone(monkeypatch: Any) -> None:
    monkeypatch.delenv(parent.HAS_PARENT_VARIABLE, raising=False)
    started = runpy.run_path(parent.__file__)
    monkeypatch.setattr(started["threading"], "Thread", lambda **_: pytest.fail("a thread was started"))
    started["end_with_parent"]()
