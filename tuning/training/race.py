"""The race of the best trials over further seeds; one process runs it while the others wait."""

from pathlib import Path
from typing import Any

import keras

from keras_initx.errors import error_line

from ..stats import further_seeds, next_runs
from ..storage import StorageFailure, disk_errors, storage_errors
from ..study import LockLost, OptunaOracle
from .checkpoints import is_better, saving_if_better


class Racing:
    """The part of a tuner that gives the best trials further seeds."""

    oracle: OptunaOracle
    seeds: tuple[int, ...]
    epochs: int
    observers: tuple[Any, ...]
    project_dir: str
    folder_argument: str

    def run_seed(self, trial: Any, seed: int) -> tuple[dict[str, Any], keras.Model]:
        """Train one seed; return its record and the model at its best epoch."""
        raise NotImplementedError

    def get_trial_dir(self, trial_id: str) -> str:
        """Return the folder of a trial."""
        raise NotImplementedError

    def race(self, budget: int, contenders: int = 3) -> None:
        """Give the best trials further seeds, until one beats the others or `budget` runs are spent.

        The runs of an earlier race in the study count, and its remaining trials continue. A process that
        loses the lock of the race waits until the new owner has finished, and then runs what is left.

        Args:
            budget: The number of runs in all.
            contenders: How many of the best trials race.
        """
        numbers: set[int] = set()
        while budget:
            try:
                with self.oracle.hold("race"):
                    self._race(budget, contenders, numbers)
                break
            except LockLost:
                continue
        for number in sorted(numbers):
            for observer in self.observers:
                observer.on_trial_end(self.oracle.get_trial(f"{number:04d}"), "completed")

    def _race(self, budget: int, contenders: int, numbers: set[int]) -> None:
        """Run the race, and add the numbers of the trials that ran to `numbers`."""
        direction = self.oracle.objective.direction
        best = {int(t.trial_id) for t in self.oracle.get_best_trials(contenders)}
        seeds = further_seeds(self.seeds, budget)
        while runs := self._next_runs(budget, best, seeds, direction):
            for number, seed in runs:
                self.oracle.check_lock("race")
                numbers.add(number)
                self._run_extra(self.oracle.get_trial(f"{number:04d}"), seed)

    def _next_runs(
        self, budget: int, best: set[int], seeds: list[int], direction: str
    ) -> list[tuple[int, int]]:
        trials = [t for t in self.oracle.results() if t.race or t.out or t.number in best]
        scores = {t.number: t.scores(race=True) for t in trials if not t.out}
        # The runs of a trial that left the race are spent, too.
        spent = sum(len(t.race) for t in trials if t.out)
        return next_runs(scores, direction, seeds, budget - spent, len(trials))

    def _run_extra(self, trial: Any, seed: int) -> None:
        try:
            folder = Path(self.project_dir)
            with storage_errors(self.oracle.location), disk_errors(self.folder_argument, folder):
                self._run_race(trial, seed)
        except (StorageFailure, LockLost):
            raise
        except Exception as error:
            # As in KerasTuner's search, any other error counts against the trial.
            self.oracle.report_out_of_race(trial.trial_id, f"seed {seed}: {error_line(error)}")

    def _run_race(self, trial: Any, seed: int) -> None:
        for observer in self.observers:
            observer.on_trial_begin(trial, [seed])
        scores = self.oracle.result(trial.trial_id).scores()
        record, model = self.run_seed(trial, seed)
        self.oracle.check_lock("race")
        better = is_better(record["score"], scores.values(), self.oracle.objective.direction)
        folder = Path(self.get_trial_dir(trial.trial_id))
        with saving_if_better(better, folder, seed, model, self.folder_argument):
            self.oracle.report_race_seed(trial.trial_id, seed, record)
        for observer in self.observers:
            observer.on_seed_end(trial, seed, record, self.epochs - record["epochs"])
