"""Write a search to TensorBoard while it runs, and its overview pages at the end."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types
from rich.table import Table

from keras_initx.errors import error_line

from ..pruning import LayerStart
from ..report import ranking
from ..storage import disk_errors
from ..study import OptunaOracle, TrialResult, best_trial
from . import images
from .hparams import Parameter
from .reproduce import CommandLine, reproduce_page
from .writer import DashboardWriter


class DashboardObserver:
    """An observer that writes the TensorBoard dashboards: learning curves of seeds, HParams rows of trials.

    Args:
        logs: The folder to open with TensorBoard.
        oracle: The oracle of the search, which has the results.
    """

    def __init__(self, logs: Path, oracle: OptunaOracle) -> None:
        self._logs = logs
        self._writer = DashboardWriter(logs, objective=oracle.objective.name)
        self._oracle = oracle
        self._columns: list[Parameter] = []

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """Declare the columns again if a hyperparameter is new."""
        self._declare()

    def _declare(self) -> None:
        """Write the columns if they have changed, and the rows: TensorBoard shows only declared columns."""
        self._oracle.read_space()
        columns = [parameter_of(hp) for hp in _unique(self._oracle.get_space().space)]
        if columns != self._columns:
            with disk_errors("logs", self._logs, every_os_error=True):
                self._writer.write_experiment(columns)
            self._columns = columns
            for result in self._oracle.results():
                if result.status != "running":
                    self._write(result)

    def on_epoch_end(self, epochs: int) -> None:
        """Do nothing: curves are written when a seed ends."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Write the learning curves of the seed."""
        with disk_errors("logs", self._logs, every_os_error=True):
            self._writer.write_seed(f"trial_{trial.trial_id}", seed, record["curves"])

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Write the HParams row of the trial, unless another process has taken the trial over."""
        if status == "taken over":
            return
        # A build may have declared hyperparameters that no trial had before.
        self._declare()
        self._write(self._oracle.result(trial.trial_id))

    def on_start(self, trial: Any, layers: Sequence[LayerStart]) -> None:
        """Write the layers' signal before training, also for a trial that is not trained."""
        with disk_errors("logs", self._logs, every_os_error=True):
            self._writer.write_start(f"trial_{trial.trial_id}", layers)

    def write_end(
        self,
        trials: Sequence[TrialResult],
        settings: Mapping[str, Any],
        command: CommandLine | None = None,
    ) -> None:
        """Write the ranking and how to repeat the search to the Text tab, and the images.

        Args:
            trials: All trials.
            settings, command: As in `reproduce_page`.
        """
        objective = self._oracle.objective
        page = reproduce_page(best_trial(trials, objective.direction), settings, command)
        with disk_errors("logs", self._logs, every_os_error=True):
            self._writer.write_text("ranking", as_markdown(ranking(trials, objective)))
            self._writer.write_text("repeat", page)
        for tag, png in _images(trials, objective).items():
            with disk_errors("logs", self._logs, every_os_error=True):
                self._writer.write_image(tag, png)

    def _write(self, result: TrialResult) -> None:
        scores = {seed: record["score"] for seed, record in result.seeds.items()}
        # Two processes that add hyperparameters at the same time may hide one from each other for a while.
        declared = {column.name for column in self._columns}
        values = {name: value for name, value in result.values.items() if name in declared}
        with disk_errors("logs", self._logs, every_os_error=True):
            self._writer.write_trial(result.name, values, scores, result.status)


def _images(trials: Sequence[TrialResult], objective: Any) -> dict[str, bytes]:
    draws = {"search/scores": images.scores_image, "search/signal": images.signal_image}
    drawn = {}
    for tag, draw in draws.items():
        try:
            drawn[tag] = draw(trials, objective)
        except Exception as error:
            # A missing image must not fail a search that took hours.
            warnings.warn(f"The image {tag} could not be drawn: {error_line(error)}", stacklevel=3)
    return {tag: png for tag, png in drawn.items() if png is not None}


def parameter_of(hp: Any) -> Parameter:
    """Return the HParams column of a KerasTuner hyperparameter."""
    if isinstance(hp, hp_types.Float | hp_types.Int) and getattr(hp, "step", None) in (None, 1):
        return Parameter(hp.name, low=hp.min_value, high=hp.max_value, integer=isinstance(hp, hp_types.Int))
    return Parameter(hp.name, values=tuple(hp.values))


def as_markdown(table: Table) -> str:
    """Return a rich table as Markdown, which TensorBoard's Text tab displays as a table."""
    columns = [list(column.cells) for column in table.columns]
    rows = [[str(column.header) for column in table.columns], ["---"] * len(columns)]
    # Escape "|", which would end a cell.
    rows += [[str(cell).replace("|", "\\|") for cell in row] for row in zip(*columns, strict=True)]
    title = f"### {table.title}\n\n" if table.title else ""
    return title + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _unique(space: Sequence[Any]) -> list[Any]:
    """Return one hyperparameter for each name, since a space may contain a name under several conditions."""
    return list({hp.name: hp for hp in space}.values())
