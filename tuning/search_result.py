"""The result of `search`: the trials, the best model and where the files are."""

import shlex
from dataclasses import dataclass

import keras
import keras_tuner
from rich.table import Table

from .report import describe_lead, ranking
from .storage import SearchFolders
from .study import TrialResult, best_trial
from .training import InitializerTuner

RESULTS_FILE = "results.json"


MODEL_FILE = "best_model.keras"


LOG_FILE = "search.log"


@dataclass(frozen=True)
class SearchResult:
    """What a search found; it reads the study, so it also shows a search that was interrupted.

    Attributes:
        trials: All trials, in the order in which they began.
        objective: The name of the metric that the search optimized, and its direction.
        folders: Where results and logs are.
    """

    trials: tuple[TrialResult, ...]
    objective: keras_tuner.Objective
    folders: SearchFolders
    tuner: InitializerTuner

    def __repr__(self) -> str:
        best = best_trial(self.trials, self.objective.direction)
        found = "none completed" if best is None else f"best {self.objective.name} {best.sample.describe()}"
        return f"<SearchResult of {len(self.trials)} trials in {self.folders.results}: {found}>"

    @property
    def best(self) -> TrialResult:
        """The completed trial with the best mean over seeds.

        Raises:
            RuntimeError: No trial is completed; the message tells why the last one failed.
        """
        best = best_trial(self.trials, self.objective.direction)
        if best is None:
            reasons = [t.reason for t in self.trials if t.reason]
            raise RuntimeError(f"No trial is completed. {reasons[-1] if reasons else ''}".strip())
        return best

    def best_model(self) -> keras.Model:
        """A new model with the weights of the best trial's best seed at its best epoch.

        Raises:
            InitxError: They are in another results folder; the message names the file to copy.
        """
        trial = self.tuner.oracle.get_trial(f"{self.best.number:04d}")
        return self.tuner.load_model(trial)

    def table(self) -> Table:
        """The ranking of all trials, for `rich.print`."""
        return ranking(self.trials, self.objective)

    def verdict(self) -> str:
        """What the lead of the best trial over the next one is worth, in a sentence: seed by seed.

        After a race by the scores of the race, else by the test data where there are some, by which neither
        was chosen; else by the scores that made them the best two, which flatters the lead. "" where there
        are no two trials with two seeds in common.
        """
        return describe_lead(self.trials, self.objective)

    @property
    def tensorboard(self) -> str:
        """The command that opens the dashboards."""
        return f"tensorboard --logdir {shlex.quote(str(self.folders.logs))}"
