"""What a search reports to the study of its oracle, and reads from it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ..pruning import LayerStart
from .attributes import REASON_ATTRIBUTE, seed_records
from .heartbeat import Heartbeat
from .lease import TrialLease
from .results import TrialResult
from .shared_study import SharedStudy


class StudyReporting:
    """The methods of an oracle that a tuner calls beyond KerasTuner's, on a study and its leases.

    Methods that write to a trial raise `TakenOver` if another process owns it now.

    Args:
        shared: The study.

    Attributes:
        shared: The study.
        leases: The running trials of this process, by id.
        heartbeat: Sends the signs of life of the leases and of the locks that this process holds.
    """

    def __init__(self, shared: SharedStudy) -> None:
        self.shared = shared
        self.leases: dict[str, TrialLease] = {}
        self.heartbeat = Heartbeat(self.beat, shared.owner)

    @property
    def study(self) -> optuna.Study:
        """The Optuna study, opened or created when it is first used."""
        return self.shared.study

    @property
    def location(self) -> str:
        """The storage of the study, as an error may name it."""
        return self.shared.location

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the study."""
        return self.shared.attributes()

    def frozen_trials(self) -> list[FrozenTrial]:
        """Return every trial that any process has started, in the order of their numbers."""
        return self.shared.frozen_trials()

    def frozen(self, trial_id: str) -> FrozenTrial:
        """Return the study's trial with that id."""
        return self.shared.frozen(int(trial_id))

    def results(self) -> tuple[TrialResult, ...]:
        """Return every trial that has started, with all its seeds."""
        return self.shared.results()

    def result(self, trial_id: str) -> TrialResult:
        """Return one trial, with all its seeds."""
        return self.shared.result(int(trial_id))

    def nothing_to_run(self) -> str:
        """Return the line for a search that finds every trial finished."""
        count = sum(t.state.is_finished() for t in self.frozen_trials())
        return f"Nothing to run: every trial of the study is finished ({count} in all)."

    def check_any_completed(self) -> None:
        """Raise unless a trial of the study has completed, once the search has ended.

        Raises:
            RuntimeError: No trial has completed. The text has the first reason.
        """
        trials = [t for t in self.frozen_trials() if t.state.is_finished()]
        if not trials or any(t.state == TrialState.COMPLETE for t in trials):
            return
        reasons = ((t.number, t.user_attrs.get(REASON_ATTRIBUTE)) for t in trials)
        number, reason = next(((n, r) for n, r in reasons if r), (trials[0].number, "unknown"))
        raise RuntimeError(f"None of the {len(trials)} trials completed. Trial {number}: {reason}")

    def seed_results(self, trial_id: str) -> dict[int, dict[str, Any]]:
        """Return the records that `report_seed` stored for a trial, by seed."""
        return seed_records(self.frozen(trial_id))

    def report_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of one seed at once, so that a crash in the next seed does not lose it."""
        self.leases[trial_id].report_seed(seed, record)

    def report_start(self, trial_id: str, layers: Sequence[LayerStart]) -> None:
        """Store the signal of each layer before training."""
        self.leases[trial_id].report_start(layers)

    def report_epoch(self, trial_id: str, step: int, value: float) -> bool:
        """Store the objective after one epoch, at a step of the trial; return whether to prune it now."""
        return self.leases[trial_id].report_epoch(step, value)

    def end_early(self, trial_id: str, how: str, reason: str) -> None:
        """Mark a trial as ended early, which the study counts as a bad result.

        Args:
            trial_id: The trial.
            how: "screened" or "pruned".
            reason: Why, in words.
        """
        self.leases[trial_id].end_early(how, reason)

    def check_owned(self, trial_id: str) -> None:
        """Store the pending values of a trial."""
        self.leases[trial_id].check()

    def owns(self, trial_id: str) -> bool:
        """Return whether this process owns a trial."""
        return self.shared.owns(int(trial_id))

    def set_pruner(self, pruner: optuna.pruners.BasePruner) -> None:
        """Set the pruner that `report_epoch` asks."""
        self.shared.set_pruner(pruner)

    def report_race_seed(self, trial_id: str, seed: int, record: Mapping[str, Any]) -> None:
        """Store the result of a seed of the race; raise `LockLost` if another process runs it now."""
        self.shared.report_race_seed(int(trial_id), seed, record)

    def report_out_of_race(self, trial_id: str, reason: str) -> None:
        """Mark a trial as out of the race; raise `LockLost` if another process runs it now."""
        self.shared.report_out_of_race(int(trial_id), reason)

    def check_lock(self, name: str) -> None:
        """Raise `LockLost` if this process is in a `hold` block of a lock that another process owns now."""
        self.shared.check_lock(name)

    def others_are_alive(self) -> bool:
        """Return whether another process may be running a trial."""
        return self.shared.others_are_alive()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock of the study within a block: one process at a time, the others wait."""
        self.heartbeat.start()
        try:
            with self.shared.hold(name):
                yield
        finally:
            if not self.leases:
                self.heartbeat.stop()

    def release(self) -> None:
        """Release the unfinished trials of this process, so that others can take them over at once."""
        self.heartbeat.stop()
        for lease in self.leases.values():
            lease.release()

    def beat(self) -> None:
        """Send one heartbeat for every lock and every running trial of this process."""
        self.shared.beat()
        for lease in tuple(self.leases.values()):
            lease.beat()
        self.shared.observe()
