"""The protocol for objects that follow a search."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Observer(Protocol):
    """Who is told how a search goes on: a progress bar, a dashboard."""

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """A trial starts, of which `seeds` are still to be run."""

    def on_epoch_end(self, epochs: int) -> None:
        """An epoch of at most `epochs` ended."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """A seed's result is stored; early stopping saved `skipped_epochs`."""

    def on_trial_end(self, trial: Any, status: str) -> None:
        """A trial ended as "completed", "failed", "screened" or "pruned"; or was "taken over" by another
        process, which did not hear of this one for too long.
        """
