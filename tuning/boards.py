"""Writes a search to TensorBoard while it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_tuner.engine import hyperparameters as hp_types
from rich.table import Table

from .dashboards import Dashboard, Parameter
from .faults import writing
from .oracle import OptunaOracle
from .results import TrialResult


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
            with writing("logs", self._logs, anything=True):
                self._board.write_experiment(columns)
            self._columns = columns
            for result in self._oracle.results():
                if result.status != "running":
                    self._write(result)

    def on_epoch_end(self, epochs: int) -> None:
        """Nothing: curves are written when a seed ends."""

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Writes the learning curves of the seed."""
        with writing("logs", self._logs, anything=True):
            self._board.write_seed(f"trial_{trial.trial_id}", seed, record["curves"])

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Writes the trial's session, unless another process has the trial now."""
        if status == "taken over":
            return
        self._write(self._oracle.result(trial.trial_id))

    def write_ranking(self, table: Table) -> None:
        """Writes the ranking to the Text tab."""
        with writing("logs", self._logs, anything=True):
            self._board.write_text("ranking", as_markdown(table))

    def _write(self, result: TrialResult) -> None:
        scores = {seed: record["score"] for seed, record in result.seeds.items()}
        with writing("logs", self._logs, anything=True):
            self._board.write_trial(result.name, result.values, scores, result.status)


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
