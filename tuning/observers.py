"""The protocol for objects that follow a search."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Observer(Protocol):
    """Protocol for objects that follow a search, such as a progress bar or a dashboard."""

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """Handle the start of a trial, which still has to run `seeds`."""

    def on_epoch_end(self, epochs: int) -> None:
        """Handle the end of one epoch of a run of at most `epochs`."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Handle the stored result of a seed, for which early stopping saved `skipped_epochs`."""

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Handle the end of a trial.

        Args:
            trial: The trial.
            status: "completed", "failed", "screened", "pruned", or "taken over" if this process sent no
                heartbeat for too long, and another process runs the trial now.
        """
