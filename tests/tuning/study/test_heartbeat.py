"""Which owners are alive: processes of this machine, other threads, and owners with a heartbeat."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from keras_initx.tuning.study import heartbeat
from keras_initx.tuning.study.heartbeat import Heartbeat, Liveness, is_local, new_owner

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

ELSEWHERE = {"host": "h", "machine": "another boot", "pid": 1, "started": "1", "token": "a"}


def other_process() -> tuple[Any, dict[str, Any]]:
    """A process that ends when it reads a line, and an owner in it."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    started = heartbeat._start_time(process.pid)
    return process, {**new_owner(), "pid": process.pid, "started": started, "token": "b"}


def test_no_two_owners_are_equal() -> None:
    one, two = new_owner(), new_owner()
    assert one != two
    assert one["pid"] == two["pid"] == os.getpid()
    assert is_local(one)
    assert not is_local(ELSEWHERE)


class TestLocalOwners:
    def test_process_is_dead_once_it_has_ended(self) -> None:
        process, owner = other_process()
        liveness = Liveness()
        assert not liveness.is_dead("0", owner, None)
        if os.path.exists("/proc/self/stat"):
            # Another process had the same id before.
            assert owner["started"].isdigit()
            assert Liveness().is_dead("0", {**owner, "started": "1"}, None)
        process.communicate(b"\n")
        assert liveness.is_dead("0", owner, None)

    def test_a_process_of_another_user_is_alive(self, monkeypatch: Any) -> None:
        def forbidden(pid: int, signal: int) -> None:
            raise PermissionError

        owner = {**new_owner(), "pid": os.getppid(), "started": None}
        monkeypatch.setattr(heartbeat.os, "kill", forbidden)
        assert not Liveness().is_dead("0", owner, None)

    def test_search_in_another_thread(self) -> None:
        owners: list[dict[str, Any]] = []
        end, begun = threading.Event(), threading.Event()

        def search() -> None:
            owners.append(new_owner())
            Heartbeat(lambda: None, owners[0]).start()
            begun.set()
            end.wait(600)

        thread = threading.Thread(target=search)
        thread.start()
        begun.wait(600)
        assert not Liveness().is_dead("0", owners[0], None)
        end.set()
        thread.join()
        # The thread has ended although its heartbeat continues, as after an interrupt.
        assert Liveness().is_dead("0", owners[0], None)
        # A thread runs one search at a time, so an earlier search of this thread has ended.
        owner = new_owner()
        beating = Heartbeat(lambda: None, owner)
        beating.start()
        assert Liveness().is_dead("0", owner, None)
        beating.stop()


class TestLiveness:
    @pytest.mark.parametrize("where", ["local", "elsewhere"])
    def test_owner_is_dead_after_a_minute_without_a_heartbeat(self, monkeypatch: Any, where: str) -> None:
        # The parent process runs, but could have been stopped.
        local = {**new_owner(), "pid": os.getppid(), "started": None}
        owner = local if where == "local" else ELSEWHERE
        now = [0.0]
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
        liveness = Liveness()
        dead = []
        for now[0], beat in ((0, 1), (50, 1), (59, 2), (110, 2), (119.5, 2), (120, 3), (181, 3)):
            dead.append(liveness.is_dead("0", owner, beat))
        assert dead == [False, False, False, False, True, False, True]

    def test_owners_and_names_are_tracked_separately(self, monkeypatch: Any) -> None:
        now = [0.0]
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
        liveness = Liveness()
        liveness.is_dead("0", ELSEWHERE, 1)
        now[0] = 61
        assert not liveness.is_dead("0", {**ELSEWHERE, "token": "c"}, 1)
        assert not liveness.is_dead("1", ELSEWHERE, 1)
        assert liveness.is_dead("0", {**ELSEWHERE, "token": "c"}, 1) is False


class TestHeartbeat:
    def test_beats_until_it_is_stopped_despite_errors(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
        beats = []

        def beat() -> None:
            beats.append(1)
            raise OSError

        beating = Heartbeat(beat, new_owner())
        for _ in range(2):
            beating.start()
            beating.start()
            before, deadline = len(beats), time.monotonic() + 20
            while len(beats) < before + 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(beats) >= before + 3
            beating.stop()
        time.sleep(0.1)
        stopped = len(beats)
        time.sleep(0.1)
        assert len(beats) == stopped
        beating.stop()
