"""The result of `search`: the trials, the best model and where the files are."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import keras_tuner
from rich.table import Table

from ..report import describe_lead, ranking
from ..storage import SETTINGS, SearchFolders
from ..study import TrialResult, best_trial
from ..training import InitializerTuner


@dataclass(frozen=True)
class SearchResult:
    """The result of a search, finished or interrupted.

    Attributes:
        trials: All trials, in the order in which they began.
        objective: The name of the metric that the search optimized, and its direction.
        folders: Where results and logs are.
        tuner: The tuner that ran the search.
        deployed: Returns the model to use from a trained one.
    """

    trials: tuple[TrialResult, ...]
    objective: keras_tuner.Objective
    folders: SearchFolders
    tuner: InitializerTuner
    deployed: Callable[[keras.Model], keras.Model] = field(default=lambda model: model, repr=False)

    def __repr__(self) -> str:
        best = best_trial(self.trials, self.objective.direction)
        score = "none completed" if best is None else f"best {self.objective.name} {best.sample.describe()}"
        return f"<SearchResult of {len(self.trials)} trials in {self.folders.results}: {score}>"

    @property
    def best(self) -> TrialResult:
        """The completed trial with the best mean over seeds.

        Raises:
            RuntimeError: If no trial was completed; the message contains the first reason.
        """
        best = best_trial(self.trials, self.objective.direction)
        if best is None:
            reason = next(
                (f"; the first reason: {t.reason.rstrip('.')}" for t in self.trials if t.reason), ""
            )
            raise RuntimeError(f"No trial was completed{reason}.")
        return best

    def best_model(self) -> keras.Model:
        """Build a new model with the weights of the best trial's best seed at its best epoch.

        After a search on a table, the model takes the raw columns, as `best_model.keras` does.

        Raises:
            InitxError: If the weights are in another results folder; the message names the file to copy.
        """
        trial = self.tuner.oracle.get_trial(f"{self.best.number:04d}")
        return self.deployed(self.tuner.load_model(trial))

    def table(self) -> Table:
        """Return the ranking of all trials, for `rich.print`."""
        return ranking(self.trials, self.objective)

    def verdict(self) -> str:
        """Compare the best trial with the second best, seed by seed, in one sentence.

        After a race the sentence compares the scores of the race. Otherwise it compares test scores, which
        chose neither trial; without test data, the scores that chose both, which flatter the lead. The
        result is "" unless two trials have two seeds in common.
        """
        return describe_lead(self.trials, self.objective)

    @property
    def tensorboard(self) -> str:
        """The command that opens TensorBoard on the logs."""
        return f"tensorboard --logdir {shlex.quote(str(self.folders.logs))}"

    @property
    def results_file(self) -> Path:
        """The file with the settings, every trial and every seed's score, as JSON."""
        return self.folders.results / "results.json"

    @property
    def model_file(self) -> Path:
        """The file with the best model; it exists once a trial is completed."""
        return self.folders.results / "best_model.keras"


def has_search(results: str | Path) -> bool:
    """Return whether a results folder holds a search that has begun."""
    return (Path(results) / SETTINGS).exists()
