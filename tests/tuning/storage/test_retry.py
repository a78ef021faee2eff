"""Test the retries for a database that is out of reach for a while, or for good."""

import sqlite3
import time
from typing import Any

import pytest
from keras_initx.tuning.storage.retry import is_out_of_reach, no_retry, retry
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

pytestmark = pytest.mark.one_backend


class ServerGone(Exception):
    """Stand-in for the error of a database driver."""


def lost() -> OperationalError:
    return OperationalError("SELECT 1", {}, ServerGone("connection refused"))


class Flaky:
    """A function that raises a number of times, then returns its argument."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self, value: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return value


@pytest.fixture
def waits(monkeypatch: Any) -> list[float]:
    """Replace the clock; return the list of the pauses."""
    clock: list[float] = []
    monkeypatch.setattr(time, "sleep", clock.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(clock))
    return clock


def test_retries_until_the_database_is_back_and_warns_once(waits: list[float]) -> None:
    flaky = Flaky(6, lost())
    with pytest.warns(UserWarning, match=r"cannot be reached.*10 minutes.*connection refused") as warned:
        assert retry(flaky, "value") == "value"
    assert (flaky.calls, len(warned)) == (7, 1)
    assert waits == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_gives_up_after_ten_minutes(waits: list[float]) -> None:
    flaky = Flaky(10_000, lost())
    with pytest.warns(UserWarning, match="cannot be reached"), pytest.raises(OperationalError):
        retry(flaky, 1)
    assert 600 <= sum(waits) < 620


@pytest.mark.parametrize(
    "error", [ValueError("no"), OperationalError("", {}, sqlite3.OperationalError("database is locked"))]
)
def test_other_errors_are_raised_at_once(error: Exception, waits: list[float]) -> None:
    flaky = Flaky(1, error)
    with pytest.raises(type(error)):
        retry(flaky, 1)
    assert (flaky.calls, waits) == (1, [])


def test_an_error_wrapped_by_optuna_is_recognized() -> None:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = lost()
    assert is_out_of_reach(error)
    assert not is_out_of_reach(StorageInternalError("another"))


def test_no_retry_turns_waiting_off(waits: list[float]) -> None:
    with no_retry(), pytest.raises(OperationalError):
        retry(Flaky(1, lost()), 1)
    assert waits == []
    with pytest.warns(UserWarning, match="cannot be reached"):
        assert retry(Flaky(1, lost()), 1) == 1
