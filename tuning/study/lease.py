"""One running trial of this process, which alone may write to it while it owns it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import optuna
from optuna.trial import TrialState

from ..pruning import LayerStart, as_record
from ..storage import no_retry, retry
from .attributes import (
    ENDING_ATTRIBUTE,
    HEARTBEAT_ATTRIBUTE,
    OWNER_ATTRIBUTE,
    REASON_ATTRIBUTE,
    SEED_PREFIX,
    START_ATTRIBUTE,
)
from .shared_study import SharedStudy

# Seconds after which a process checks again that it still owns its trial.
_CHECK_SECONDS = 1.0

T = TypeVar("T")


class TakenOver(Exception):
    """Another process runs the trial now, because it received no heartbeat from this one for too long."""


class TrialLease:
    """A running trial of this process. Every write checks first that this process still owns the trial.

    Every method that writes raises `TakenOver` if another process owns the trial now.

    Args:
        study: The study.
        trial: The trial, which this process has signed or taken over.

    Attributes:
        trial: The trial.
        end_reason: Why the trial is ended early, or "".
    """

    def __init__(self, study: SharedStudy, trial: optuna.trial.Trial) -> None:
        self.trial, self.end_reason = trial, ""
        self._shared = study
        self.begin_run()

    def begin_run(self) -> None:
        """Forget the values of a run that failed; the next run reports them from the start."""
        # When this process last checked that it owns the trial.
        self._checked_at = float("-inf")
        # The values that are not stored yet, by step.
        self._pending: dict[int, float] = {}
        # The steps that an earlier process or run stored; None before the first check.
        self._earlier_steps: frozenset[int] | None = None

    def write(self, write: Callable[[], T]) -> T:
        """Call `write` while this process owns the trial, with retries; return what it returns."""

        def attempt() -> T:
            # Reading a trial takes twice as long as writing a value.
            if self._is_check_due():
                self._check_owner()
            # A process that is cut off may lose its trial, so a retry after a failed write checks again.
            checked_at, self._checked_at = self._checked_at, float("-inf")
            result = write()
            self._checked_at = checked_at
            return result

        return retry(attempt)

    def set_attribute(self, name: str, value: Any) -> None:
        """Store an attribute of the trial."""
        self.write(lambda: self.trial.set_user_attr(name, value))

    def check(self) -> None:
        """Check the owner, and store the pending values."""
        self._checked_at = float("-inf")
        self.write(self._store_pending)

    def report_seed(self, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of one seed at once, so that a crash in the next seed does not lose it."""

        def write() -> None:
            self._store_pending()
            self.trial.set_user_attr(f"{SEED_PREFIX}{seed}", dict(record))

        self.write(write)

    def report_start(self, layers: Sequence[LayerStart]) -> None:
        """Store the signal of each layer before training."""
        self.set_attribute(START_ATTRIBUTE, as_record(layers))

    def report_epoch(self, step: int, value: float) -> bool:
        """Store the objective after one epoch, at a step of the trial; return whether to prune it now.

        Without a pruner nothing reads the values, so they are stored once a second and with the seed:
        epochs may be short.
        """
        self._pending[step] = value
        prunes = not isinstance(self._shared.pruner, optuna.pruners.NopPruner)
        if prunes or self._is_check_due():
            self.write(self._store_pending)
        # Optuna's pruners look at the last step of a trial, which a seed that runs again has not reached.
        if not prunes or step in (self._earlier_steps or ()):
            return False
        return self.write(self.trial.should_prune)

    def end_early(self, how: str, reason: str) -> None:
        """Mark the trial as ended early, which the study counts as a bad result."""

        def write() -> None:
            self.trial.set_user_attr(ENDING_ATTRIBUTE, how)
            self.trial.set_user_attr(REASON_ATTRIBUTE, reason)

        self.check()
        self.write(write)
        self.end_reason = reason

    def tell(self, score: float | None, state: TrialState) -> None:
        """End the trial in the study."""
        self.write(lambda: self._shared.tell(self.trial, score, state))

    def beat(self) -> None:
        """Send a heartbeat."""
        if self._shared.owns(self.trial.number):
            self.trial.set_user_attr(HEARTBEAT_ATTRIBUTE, time.time())

    def release(self) -> None:
        """Give the trial up, so that another process can take it over at once."""
        # If the database is unreachable, others notice the missing heartbeat.
        with suppress(Exception), no_retry():
            if self._shared.owns(self.trial.number):
                self.trial.set_user_attr(OWNER_ATTRIBUTE, {})

    def _is_check_due(self) -> bool:
        return time.monotonic() - self._checked_at > _CHECK_SECONDS

    def _check_owner(self) -> None:
        frozen = self._shared.study.get_trials(deepcopy=False)[self.trial.number]
        if frozen.user_attrs.get(OWNER_ATTRIBUTE) != self._shared.owner:
            raise TakenOver(f"another process took over trial {self.trial.number}")
        self._checked_at = time.monotonic()
        if self._earlier_steps is None:
            # The first check precedes the first value of this process.
            self._earlier_steps = frozenset(frozen.intermediate_values)

    def _store_pending(self) -> None:
        """Store the pending values, except at steps that an earlier process stored."""
        for step in tuple(self._pending):
            # A seed that runs again after a crash reproduces the values that are stored already.
            if step not in (self._earlier_steps or ()):
                self.trial.report(self._pending[step], step)
            del self._pending[step]
