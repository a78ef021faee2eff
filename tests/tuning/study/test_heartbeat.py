"""Who runs a trial, and when it counts as gone."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import optuna
import pytest
from keras_initx.tuning.study import heartbeat, locks
from keras_initx.tuning.study.heartbeat import Heartbeat, Liveness, is_local, new_owner
from keras_initx.tuning.study.locks import LockLost, StudyLock

pytestmark = pytest.mark.one_backend

ELSEWHERE = {"host": "h", "machine": "another boot", "pid": 1, "started": "1", "token": "a"}


def other_process() -> tuple[Any, dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    owner = {**new_owner(), "pid": process.pid, "started": heartbeat._start_time(process.pid), "token": "b"}
    return process, owner


def test_every_owner_is_another() -> None:
    one, two = new_owner(), new_owner()
    assert one != two
    assert one["pid"] == two["pid"] == os.getpid()
    assert is_local(one)
    assert not is_local(ELSEWHERE)


class TestHere:
    def test_a_process_is_gone_when_it_has_ended(self) -> None:
        process, owner = other_process()
        watcher = Liveness()
        assert not watcher.is_dead("0", owner, None)
        process.communicate(b"\n")
        assert watcher.is_dead("0", owner, None)

    @pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")
    def test_its_id_may_be_used_again(self) -> None:
        process, owner = other_process()
        assert owner["started"].isdigit()
        assert Liveness().is_dead("0", {**owner, "started": "1"}, None)
        process.communicate(b"\n")

    def test_another_search_of_this_process(self) -> None:
        owners: list[dict[str, Any]] = []
        end, begun = threading.Event(), threading.Event()

        def search() -> None:
            owners.append(new_owner())
            pulse = Heartbeat(lambda: None, owners[0])
            pulse.start()
            begun.set()
            end.wait(60)

        thread = threading.Thread(target=search)
        thread.start()
        begun.wait(60)
        assert not Liveness().is_dead("0", owners[0], None)
        end.set()
        thread.join()
        # It was interrupted, and its pulse goes on.
        assert Liveness().is_dead("0", owners[0], None)
        # A thread has one search at a time: an earlier one of this thread is over.
        mine = new_owner()
        pulse = Heartbeat(lambda: None, mine)
        pulse.start()
        assert Liveness().is_dead("0", mine, None)
        pulse.stop()


class TestPulses:
    @pytest.mark.parametrize("where", ["here", "elsewhere"])
    def test_gone_without_a_sign_for_a_minute(self, monkeypatch: Any, where: str) -> None:
        # The parent lives, but might have been stopped.
        here = {**new_owner(), "pid": os.getppid(), "started": None}
        owner = here if where == "here" else ELSEWHERE
        now = [0.0]
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
        watcher = Liveness()
        found = []
        for now[0], pulse in ((0, 1), (50, 1), (59, 2), (110, 2), (119.5, 2), (120, 3), (181, 3)):
            found.append(watcher.is_dead("0", owner, pulse))
        assert found == [False, False, False, False, True, False, True]

    def test_another_owner_is_another_matter(self, monkeypatch: Any) -> None:
        now = [0.0]
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
        watcher = Liveness()
        watcher.is_dead("0", ELSEWHERE, 1)
        now[0] = 61
        assert not watcher.is_dead("0", {**ELSEWHERE, "token": "c"}, 1)
        assert not watcher.is_dead("1", ELSEWHERE, 1)
        assert watcher.is_dead("0", {**ELSEWHERE, "token": "c"}, 1) is False


class TestPulse:
    def test_beats_until_it_is_stopped_whatever_it_raises(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.01)
        beats = []

        def beat() -> None:
            beats.append(1)
            raise OSError

        pulse = Heartbeat(beat, new_owner())
        for _ in range(2):
            pulse.start()
            pulse.start()
            before, deadline = len(beats), time.monotonic() + 20
            while len(beats) < before + 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(beats) >= before + 3
            pulse.stop()
        time.sleep(0.1)
        stopped = len(beats)
        time.sleep(0.1)
        assert len(beats) == stopped
        pulse.stop()


class TestClaims:
    def test_one_at_a_time(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.2)
        monkeypatch.setattr(locks, "_EVERY", 0.05)
        study = optuna.create_study()
        inside, most, done = [0], [0], []

        def work(name: str) -> None:
            mine = StudyLock(study, {**ELSEWHERE, "token": name}, Liveness())
            with mine.hold("race"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.2)
                inside[0] -= 1
            done.append(name)

        threads = [threading.Thread(target=work, args=(str(n),)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert sorted(done) == ["0", "1", "2"]
        assert most[0] == 1

    def test_one_whose_owner_is_gone_is_free(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
        monkeypatch.setattr(locks, "_EVERY", 0.05)
        monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.3)
        study = optuna.create_study()
        study.set_user_attr("race_owner", ELSEWHERE)
        started = time.monotonic()
        with StudyLock(study, {**ELSEWHERE, "token": "b"}, Liveness()).hold("race"):
            assert time.monotonic() - started > 0.3
        assert study.user_attrs["race_owner"] is None

    def test_free_after_an_error(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
        study = optuna.create_study()
        mine = StudyLock(study, new_owner(), Liveness())
        with pytest.raises(ValueError, match="within"), mine.hold("race"):
            raise ValueError("within")
        assert study.user_attrs["race_owner"] is None

    def test_a_sign_of_life_while_it_is_held(self) -> None:
        study = optuna.create_study()
        mine = StudyLock(study, new_owner(), Liveness())
        mine.beat()
        assert "race_heartbeat" not in study.user_attrs
        with mine.hold("race"):
            mine.beat()
        assert study.user_attrs["race_heartbeat"] > 0


def test_a_claim_that_was_lost_is_not_freed(monkeypatch: Any) -> None:
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    study = optuna.create_study()
    with StudyLock(study, new_owner(), Liveness()).hold("race"):
        study.set_user_attr("race_owner", ELSEWHERE)
    assert study.user_attrs["race_owner"] == ELSEWHERE


def test_who_has_lost_a_claim_hears_of_it_and_gives_no_sign_for_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    study = optuna.create_study()
    mine = StudyLock(study, new_owner(), Liveness())
    with mine.hold("race"):
        mine.check("race")
        study.set_user_attr("race_owner", ELSEWHERE)
        with pytest.raises(LockLost, match="took over the lock"):
            mine.check("race")
        mine.beat()
        assert "race_heartbeat" not in study.user_attrs
    # A race that nobody else can run needs no claim.
    mine.check("race")
