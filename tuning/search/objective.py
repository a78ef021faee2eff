"""`objective`: the trials of a search as a plain Optuna objective, for the programs that drive Optuna."""

import inspect
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import optuna
from keras_tuner.engine import trial as kt_trial

from keras_initx._tf_logging import without_retracing_advice
from keras_initx.errors import InitxError

from ..data import check_limits
from ..observers import Observer
from ..pruning import Pruning
from ..space import InitializerHyperModel, SearchSpace
from ..study import ENDING_ATTRIBUTE, VALUES_ATTRIBUTE
from ..training import InitializerTuner, devices_of, seeds_of
from .arguments import check_kinds, check_model, fit_of, goal_of
from .driven_trials import (
    ATTRIBUTES_FILE,
    DrivenOracle,
    StoredTrial,
    Suggest,
    check_folder,
    check_no_search,
    claim_folder,
    name_of,
)
from .options import Execution, Results, Stopping, check_not_elsewhere, grouped

# The tuner of each objective in this process, and the arguments of its runs. An objective that is sent to a
# process again finds its compiled models.
_TUNERS: dict[str, tuple[Any, Any, Any]] = {}
# Keras has one random state for all threads.
_ONE_AT_A_TIME = threading.RLock()


def objective(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    space: SearchSpace | None = None,
    seeds: int | Sequence[int] = 3,
    seed: int = 0,
    objective: str | keras_tuner.Objective | None = "val_accuracy",
    test_data: Any = None,
    stopping: Stopping | None = None,
    results: str | Path = "results/objective",
    execution: Execution | None = None,
    observers: Sequence[Observer] = (),
    epochs: int = 20,
    **fit: Any,
) -> "Objective":
    """Return an Optuna objective that trains the seeds of a trial and returns their mean score.

    The study, its sampler, its pruner and the processes are yours: `study.optimize`, Ray Tune, Dask, joblib.
    Each seed's record is stored in the trial as soon as it finishes, screening and the study's
    pruner end a trial, and the trials of one process share a compiled model, as in `search`.

    Args:
        model, x, y, space, seeds, seed, objective, test_data, epochs, observers, **fit: As in `search`.
        stopping: As in `search`, but for a pruner over epochs, which the study has. Every epoch is reported
            to it: step e + E s of a trial is epoch e of E in the s-th seed, both from 0.
        results: The folder for the weights of each trial's best seed. It serves one study alone.
        execution: As in `search`, without `workers`.

    Returns:
        An `Objective`.

    Raises:
        InitxError: An argument cannot be used.

    Example:

        import optuna

        goal = objective(build, x, y, validation_data=(x_val, y_val), epochs=5)
        study = optuna.create_study(direction=goal.direction)
        study.optimize(goal, n_trials=20)
        model = goal.best_model(study)
    """
    stopping = grouped("stopping", stopping, Stopping)
    execution = grouped("execution", execution, Execution)
    if isinstance(results, Results):
        remedy = f"Pass results={str(results.folder)!r}: mode and storage belong to the Optuna study."
        raise InitxError("results", results, "the path of a folder", remedy)
    kinds = {"results": (str | Path, "the path of a folder"), "observers": (Sequence, "a list of observers")}
    check_kinds({"results": results, "observers": observers}, kinds)
    check_limits({**fit, "epochs": epochs})
    if execution.workers is not None:
        remedy = "Start the processes with the program that drives the study, or call search."
        raise InitxError("workers", execution.workers, "None for an objective", remedy)
    seed_list = seeds_of(seeds, seed)
    if not isinstance(Pruning(stopping.pruner, epochs, len(seed_list)).over_epochs, optuna.pruners.NopPruner):
        remedy = "Pass a pruner over epochs to optuna.create_study(pruner=...)."
        raise InitxError("pruner", stopping.pruner, 'None or "wilcoxon" for an objective', remedy)
    hypermodel = InitializerHyperModel(model, space)
    check_not_elsewhere(fit, hypermodel, _SIGNATURE, in_study=True)
    return Objective(
        hypermodel,
        (x, y, test_data, epochs, fit),
        objective,
        seed_list,
        stopping,
        Path(results).absolute(),
        execution,
        tuple(observers),
    )


# Inside `objective`, an argument shadows the function's name.
_SIGNATURE = inspect.signature(objective)


class Objective:
    """An Optuna objective, as `objective` returns it. It can be pickled if its model and data can.

    Attributes:
        direction: "maximize" or "minimize", for `optuna.create_study`.
        name: The name of the score, such as "val_accuracy".
        suggest: Suggests the values of a trial without training it, for Ray's `OptunaSearch(goal.suggest)`.
    """

    def __init__(
        self,
        hypermodel: InitializerHyperModel,
        data: tuple[Any, Any, Any, int, Mapping[str, Any]],
        metric: str | keras_tuner.Objective | None,
        seeds: Sequence[int],
        stopping: Stopping,
        results: Path,
        execution: Execution,
        observers: tuple[Observer, ...],
    ) -> None:
        self._hypermodel, self._data, self._seeds = hypermodel, data, seeds
        self._stopping, self._results = stopping, results
        self._execution, self._observers = execution, observers
        self._key = uuid.uuid4().hex
        self._bound: Any = fit_of(hypermodel, *data)
        devices_of(execution.strategy, None, *self._bound[:2])
        self._metric, declared, _ = check_model(hypermodel, *self._bound[:2], metric)
        self._goal = goal_of(self._metric, stopping.target)
        self.name = self._goal.name
        self.direction = "maximize" if self._goal.direction == "max" else "minimize"
        self.suggest = Suggest(declared.get_config())

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs: there, the data are read again."""
        return {**vars(self), "_bound": None}

    def __call__(self, trial: Any) -> float:
        """Train the seeds of a trial that have no record in it, and return the mean score of all.

        Args:
            trial: An `optuna.Trial`, or an `optuna.trial.FixedTrial`.

        Raises:
            optuna.TrialPruned: The trial was screened, or a pruner ended it. The trial's attributes "ended"
                and "reason" say how and why.
            InitxError: The study has the opposite direction, or the results folder belongs to another study
                or to a search.
        """
        study = getattr(trial, "study", None)
        if study is not None and len(study.directions) > 1:
            raise InitxError("directions", len(study.directions), "one direction", "Create such a study.")
        if study is not None and study.direction.name.lower() != self.direction:
            remedy = f"Create the study with direction={self.direction!r}."
            raise InitxError("direction", study.direction.name.lower(), repr(self.direction), remedy)
        if study is None:
            check_no_search(self._results)
        else:
            claim_folder(study, self._results)
        return self._run(trial, name_of(trial))

    def run(self, values: Mapping[str, Any], trial_id: str) -> float:
        """Train a trial for a program that has no Optuna trial, such as a trainable of Ray Tune.

        Args:
            values: The values of the parameters that `suggest` suggested. They may be nested at "/", as Ray
                nests them.
            trial_id: A name of the trial in the results folder. A trial that starts again under the same name
                finds the seeds that it has finished.

        Returns:
            The mean score.

        Raises:
            InitxError: The results folder belongs to a search.
        """
        check_no_search(self._results)
        return self._run(self._stored(_flat(values), trial_id), trial_id)

    def best_model(self, study: optuna.Study) -> keras.Model:
        """Return a new model with the weights of the study's best trial, from its best seed and epoch.

        Raises:
            InitxError: The results folder belongs to another study, or lacks the weights of the trial.
        """
        check_folder(study, self._results)
        return self.load_model(study.best_trial)

    def load_model(self, trial: Any) -> keras.Model:
        """Return a new model with the weights of a trial's best seed at its best epoch.

        Args:
            trial: A finished trial of a study, or the name that `run` had.

        Raises:
            InitxError: The results folder has no weights of the trial.
        """
        with _ONE_AT_A_TIME:
            tuner, *_ = self._tuner()
            if isinstance(trial, str):
                name, trial = trial, self._stored({}, trial)
            else:
                name = name_of(trial)
            values = self.suggest.space
            values.values = dict(trial.user_attrs.get(VALUES_ATTRIBUTE, trial.params))
            tuner.oracle.driver = trial
            return tuner.load_model(kt_trial.Trial(values, name))

    def _stored(self, values: Mapping[str, Any], trial_id: str) -> StoredTrial:
        """Return a trial of those values whose attributes are in its folder."""
        return StoredTrial(values, self._results / f"trial_{trial_id}" / ATTRIBUTES_FILE)

    def _run(self, trial: Any, trial_id: str) -> float:
        running = kt_trial.Trial(self.suggest.values(trial), trial_id, kt_trial.TrialStatus.RUNNING)
        status = "failed"
        with _ONE_AT_A_TIME, without_retracing_advice():
            tuner, args, arguments = self._tuner()
            tuner.oracle.driver = trial
            try:
                metrics = tuner.run_trial(running, *args, **arguments)
                status = "completed"
            except optuna.TrialPruned:
                status = str(trial.user_attrs.get(ENDING_ATTRIBUTE))
                raise
            finally:
                # With what the builds declared.
                trial.set_user_attr(VALUES_ATTRIBUTE, dict(running.hyperparameters.values))
                for observer in self._observers:
                    observer.on_trial_end(running, status)
        return metrics[self.name]

    def _tuner(self) -> tuple[Any, Any, Any]:
        """Return the tuner of this process, and the arguments of its runs."""
        if self._key not in _TUNERS:
            data, test, args, arguments = self._bound or fit_of(self._hypermodel, *self._data)
            tuner = InitializerTuner(
                self._hypermodel,
                oracle=DrivenOracle(self._goal),
                seeds=self._seeds,
                patience=self._stopping.patience,
                jit_compile=self._execution.jit_compile,
                screening=self._stopping.screening,
                pruner=self._stopping.pruner,
                test_data=test,
                metric=self._metric,
                target=self._stopping.target,
                observers=self._observers,
                strategy=devices_of(self._execution.strategy, None, data, test),
                directory=str(self._results.parent),
                project_name=self._results.name,
            )
            tuner.folder_argument = "results"
            tuner.take(args, arguments, data)
            _TUNERS[self._key] = tuner, args, arguments
        return _TUNERS[self._key]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values with their keys joined by "/"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
