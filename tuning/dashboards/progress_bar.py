"""The progress of a search on the terminal."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..study import OptunaOracle, TrialResult, best_trial


class ProgressObserver:
    """A bar with the time left on a terminal, a line for each trial elsewhere.

    Args:
        oracle: Tells how many trials there will be, and the best so far.
        seeds: How many seeds each trial runs.
        epochs: How many epochs each seed runs at most.
        console: Where to write; standard error by default, so that standard output stays data.
        stamped: Whether each line begins with the time.
    """

    def __init__(
        self,
        oracle: OptunaOracle,
        seeds: int,
        epochs: int,
        console: Console | None = None,
        stamped: bool = False,
    ) -> None:
        self._oracle, self._seeds, self._epochs, self._stamped = oracle, seeds, epochs, stamped
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs,"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left  {task.fields[best]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("searching", total=None, best="")
        self._left = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """Counts what is left: this trial's seeds, and all seeds of the trials after it."""
        finished = sum(t.state.is_finished() for t in self._oracle.frozen_trials())
        total = self._oracle.trial_limit or finished + 1
        after = max(0, total - finished - 1) * self._seeds
        self._left = (len(seeds) + after) * self._epochs
        done = self._bar.tasks[0].completed
        self._bar.update(self._task, total=done + self._left, description=f"trial {finished + 1} of {total}")

    def on_epoch_end(self, epochs: int) -> None:
        """Moves the bar."""
        self._bar.advance(self._task)

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Moves the bar over the epochs that early stopping saved."""
        self._bar.advance(self._task, skipped_epochs)

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Shows the best so far; where there is no bar, prints a line."""
        results = self._oracle.results()
        counts = self._counts(results)
        self._bar.update(self._task, best=f"{self._best(results)}{counts}")
        if not self._console.is_terminal:
            result = self._oracle.result(trial.trial_id)
            values = " ".join(
                f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in result.values.items()
            )
            score = result.sample.describe() if result.status == "completed" else result.reason
            finished = sum(t.status != "running" for t in results)
            left = self._bar.tasks[0].time_remaining
            time_left = f", {timedelta(seconds=left)} left" if left else ""
            line = (
                f"trial {result.number} {status}: {values}: {score} "
                f"({finished} of {self._oracle.trial_limit or '?'}{counts}{time_left})"
            )
            if self._stamped:
                line = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
            self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _best(self, results: Sequence[TrialResult]) -> str:
        best = best_trial(results, self._oracle.objective.direction)
        if best is None:
            return ""
        bounds = (0.0, 1.0) if self._oracle.objective.name.endswith("accuracy") else (-math.inf, math.inf)
        low, high = best.sample.interval(within=bounds)
        interval = f" [{low:.3f}, {high:.3f}]" if low == low else ""
        return f"best {best.sample.describe()}{interval}"

    @staticmethod
    def _counts(results: Sequence[TrialResult]) -> str:
        """How many trials ended otherwise than by their last epoch."""
        counts = Counter(t.status for t in results)
        return "".join(f", {counts[s]} {s}" for s in ("screened", "pruned", "failed") if counts[s])
