"""Locks in a study: one holder at a time, freed by its end, its death or an error."""

import threading
import time
from typing import Any

import optuna
import pytest
from keras_initx.tuning.study import heartbeat, locks
from keras_initx.tuning.study.heartbeat import Liveness, new_owner
from keras_initx.tuning.study.locks import LockLost, StudyLock

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

ELSEWHERE = {"host": "h", "machine": "another boot", "pid": 1, "started": "1", "token": "a"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: Any) -> None:
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(locks, "_POLL_SECONDS", 0.05)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def test_one_process_holds_it_at_a_time(study: optuna.Study, monkeypatch: Any) -> None:
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.2)
    inside, most, done = [0], [0], []

    def work(name: str) -> None:
        lock = StudyLock(study, {**ELSEWHERE, "token": name}, Liveness())
        with lock.hold("race"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.1)
            inside[0] -= 1
        done.append(name)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert sorted(done) == ["0", "1", "2"]
    assert most[0] == 1


def test_death_of_the_owner_frees_it(study: optuna.Study, monkeypatch: Any) -> None:
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.3)
    study.set_user_attr("race_owner", ELSEWHERE)
    started = time.monotonic()
    with StudyLock(study, {**ELSEWHERE, "token": "b"}, Liveness()).hold("race"):
        assert time.monotonic() - started > 0.3
    assert study.user_attrs["race_owner"] is None


def test_error_within_the_block_frees_it(study: optuna.Study) -> None:
    lock = StudyLock(study, new_owner(), Liveness())
    with pytest.raises(ValueError, match="within"), lock.hold("race"):
        raise ValueError("within")
    assert study.user_attrs["race_owner"] is None


def test_heartbeat_is_sent_while_it_is_held(study: optuna.Study) -> None:
    lock = StudyLock(study, new_owner(), Liveness())
    lock.beat()
    assert "race_heartbeat" not in study.user_attrs
    with lock.hold("race"):
        lock.beat()
    assert study.user_attrs["race_heartbeat"] > 0


def test_lost_lock_raises_and_gets_no_heartbeat_and_is_not_freed(study: optuna.Study) -> None:
    lock = StudyLock(study, new_owner(), Liveness())
    with lock.hold("race"):
        lock.check("race")
        study.set_user_attr("race_owner", ELSEWHERE)
        with pytest.raises(LockLost, match="another process took over the lock 'race'"):
            lock.check("race")
        lock.beat()
        assert "race_heartbeat" not in study.user_attrs
    assert study.user_attrs["race_owner"] == ELSEWHERE
    # Outside of a block there is nothing to lose.
    lock.check("race")
