"""Writes a search to TensorBoard while it runs, and what is known at its end."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types
from rich.table import Table

from ..pruning import LayerStart
from ..report import ranking
from ..storage import disk_errors
from ..study import OptunaOracle, TrialResult, best_trial
from . import images
from .hparams import Parameter
from .reproduce import repeat_page
from .writer import Dashboard


class BoardObserver:
    """An observer that writes every seed's curves and every trial's HParams session."""

    def __init__(self, logs: Path, oracle: OptunaOracle) -> None:
        self._logs = logs
        self._board = Dashboard(logs, objective=oracle.objective.name)
        self._oracle = oracle
        self._columns: list[Parameter] = []

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """Writes the columns anew where a hyperparameter is new: TensorBoard shows only declared ones."""
        columns = [parameter_of(hp) for hp in _unique(self._oracle.get_space().space)]
        if columns != self._columns:
            with disk_errors("logs", self._logs, every_os_error=True):
                self._board.write_experiment(columns)
            self._columns = columns
            for result in self._oracle.results():
                if result.status != "running":
                    self._write(result)

    def on_epoch_end(self, epochs: int) -> None:
        """Nothing: curves are written when a seed ends."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Writes the learning curves of the seed."""
        with disk_errors("logs", self._logs, every_os_error=True):
            self._board.write_seed(f"trial_{trial.trial_id}", seed, record["curves"])

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Writes the trial's session, unless another process has the trial now."""
        if status == "taken over":
            return
        self._write(self._oracle.result(trial.trial_id))

    def on_start(self, trial: Any, layers: Sequence[LayerStart]) -> None:
        """Writes what the layers show before training: also of a trial that is not trained."""
        with disk_errors("logs", self._logs, every_os_error=True):
            self._board.write_start(f"trial_{trial.trial_id}", layers)

    def write_end(
        self,
        trials: Sequence[TrialResult],
        settings: Mapping[str, Any],
        command: Sequence[str] | None = None,
    ) -> None:
        """Writes the ranking and how to repeat the search to the Text tab, and the pictures.

        Args:
            trials: All trials.
            settings, command: As in `repeat_page`.
        """
        objective = self._oracle.objective
        page = repeat_page(best_trial(trials, objective.direction), settings, command)
        with disk_errors("logs", self._logs, every_os_error=True):
            self._board.write_text("ranking", as_markdown(ranking(trials, objective)))
            self._board.write_text("repeat", page)
        for tag, png in _pictures(trials, objective).items():
            with disk_errors("logs", self._logs, every_os_error=True):
                self._board.write_image(tag, png)

    def _write(self, result: TrialResult) -> None:
        scores = {seed: record["score"] for seed, record in result.seeds.items()}
        with disk_errors("logs", self._logs, every_os_error=True):
            self._board.write_trial(result.name, result.values, scores, result.status)


def _pictures(trials: Sequence[TrialResult], objective: Any) -> dict[str, bytes]:
    draws = {"search/scores": images.scores_picture, "search/signal": images.signal_picture}
    drawn = {}
    for tag, draw in draws.items():
        try:
            drawn[tag] = draw(trials, objective)
        except Exception as error:
            # What hours of training found is not lost for a picture.
            warnings.warn(f"{tag} could not be drawn: {type(error).__name__}: {error}", stacklevel=3)
    return {tag: png for tag, png in drawn.items() if png is not None}


def parameter_of(hp: Any) -> Parameter:
    """The HParams column of a KerasTuner hyperparameter."""
    if isinstance(hp, hp_types.Float | hp_types.Int) and getattr(hp, "step", None) in (None, 1):
        return Parameter(hp.name, low=hp.min_value, high=hp.max_value, integer=isinstance(hp, hp_types.Int))
    return Parameter(hp.name, values=tuple(hp.values))


def as_markdown(table: Table) -> str:
    """A rich table as a Markdown table, which TensorBoard's Text tab shows as one."""
    columns = [list(column.cells) for column in table.columns]
    rows = [[str(column.header) for column in table.columns], ["---"] * len(columns)]
    # A bar in a cell would end it.
    rows += [[str(cell).replace("|", "\\|") for cell in row] for row in zip(*columns, strict=True)]
    title = f"### {table.title}\n\n" if table.title else ""
    return title + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _unique(space: Sequence[Any]) -> list[Any]:
    """One hyperparameter for each name: the same name may stand under several conditions."""
    return list({hp.name: hp for hp in space}.values())
