"""`search`: tune the initializer of a model like any other hyperparameter."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras_tuner
from rich.console import Console

import keras_initx
from keras_initx._tf_logging import without_retracing_advice

from ..dashboards import DashboardObserver, ProgressObserver
from ..data import Dataset, check_limits
from ..observers import Observer
from ..parallel import Workers, end_with_parent, interruptible, trials_each
from ..pruning import Pruning
from ..space import (
    CANDIDATES,
    INITIALIZER,
    InitializerHyperModel,
    SearchSpace,
    check_known,
    grid_of,
)
from ..storage import (
    STUDY_NAME,
    SearchFolders,
    StorageFailure,
    disk_errors,
    redacted,
    storage_errors,
    storage_label,
    write_json,
)
from ..study import (
    SETTINGS_ATTRIBUTE,
    OptunaOracle,
    Sampler,
    as_json,
    best_trial,
    open_folders,
    store_machine,
)
from ..training import InitializerTuner, devices_of, save_model, seeds_of
from .arguments import (
    check_extra_seeds,
    check_kinds,
    check_model,
    fingerprint,
    fit_of,
    goal_of,
    plain_values,
    trials_of,
)
from .options import Execution, Results, Stopping, check_not_elsewhere, grouped
from .result import SearchResult

_LOG_FILE = "search.log"
# The arguments that are checked by their type alone, with the words for an error.
_KINDS = {
    "results": (str | Path | Results, "the path of a folder, or Results(folder, mode, logs, storage)"),
    "observers": (Sequence, "a list of observers"),
}


def search(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    space: SearchSpace | None = None,
    tuner: Sampler = "tpe",
    trials: int | None = None,
    enqueue: Sequence[Mapping[str, Any]] | None = None,
    seeds: int | Sequence[int] = 3,
    extra_seeds: int = 0,
    seed: int = 0,
    objective: str | keras_tuner.Objective | None = "val_accuracy",
    test_data: Any = None,
    stopping: Stopping | None = None,
    results: str | Path | Results = "results/search",
    execution: Execution | None = None,
    observers: Sequence[Observer] = (),
    epochs: int = 20,
    **fit: Any,
) -> SearchResult:
    """Search initializers, learning rates and more for a model, with several seeds for each trial.

    Each seed's score is saved as soon as it finishes. `results=Results(folder, mode="resume")` continues an
    interrupted search and runs only the missing seeds. Whatever `model.fit` accepts, a search accepts:
    arrays, tf.data, PyDataset, PyTorch's DataLoader, dictionaries, weights, callbacks.

    Args:
        model: A compiled model, a function that returns one (without arguments, or with a
            `keras_tuner.HyperParameters`), or a `keras_tuner.HyperModel`. A function may declare
            hyperparameters of its own, including "initializer" and "learning_rate".
        x, y: As in `keras.Model.fit`; or x is a `Dataset`, which has a training, a validation and a test
            part. A function without arguments that returns batches is called for each run: a
            generator could be read only once, and a tf.data pipeline then shuffles by the seed of the run.
        space: What to search besides the hyperparameters that the model declares: a `SearchSpace`. None
            searches the initializer of all kernels.
        tuner: "tpe", "random", "grid", "gp" (needs PyTorch), "cmaes" (needs cmaes); an Optuna sampler; or a
            KerasTuner oracle, such as `keras_tuner.oracles.BayesianOptimizationOracle(objective)`.
        trials: Total number of trials. None means 20, or the whole grid for "grid".
        enqueue: Candidates to try first, as values by name; missing values are sampled. None means "own",
            "he_auto", "auto" and "initialize:auto", as far as the space contains them. A grid tries
            everything anyway.
        seeds: Number of seeds for each trial, or the seeds themselves.
        extra_seeds: Number of extra runs, in total, for the best three trials: the same seed for each in
            turn, until all but one are beaten (`still_in` states the rule). These runs decide which trial is
            best.
        seed: The seed of the sampler, and the first of `seeds` if that is a number.
        objective: The name of a metric ("val_accuracy", "val_loss"), or a `keras_tuner.Objective`. None is
            val_accuracy, or val_loss of a model that reports no accuracy.
        test_data: Data in the form of `validation_data`, on which each seed's best epoch is evaluated. It
            influences no choice.
        stopping: When a run or a trial ends before its last epoch: `Stopping(patience, target, screening,
            pruner)`. None screens, and does nothing else.
        results: The folder for the study, the weights, `results.json`, the best model and the log; or
            `Results(folder, mode, logs, storage)`, to resume, overwrite or join a search, or to keep its
            study in a database.
        execution: How the trials run: `Execution(jit_compile, strategy, workers)`. None compiles under XLA.
        observers: Further observers of the search.
        epochs: Maximum number of epochs for each seed.
        **fit: Further arguments of `keras.Model.fit`: `validation_data`, `validation_split`, `batch_size`,
            `class_weight`, `sample_weight`, `steps_per_epoch`, `callbacks` (each run gets copies) ... With
            `verbose=0` the search prints no progress either. Or whatever the `fit` of a HyperModel takes.

    Returns:
        A `SearchResult`.

    Raises:
        InitxError: If an argument cannot be used; nothing has been written then. Also if a disk or a
            storage fails: finished seeds are saved, and the search can be resumed once that is repaired.
        RuntimeError: If three trials in a row raise an exception, or if no trial is completed; the search can
            be resumed.
    """
    stopping = grouped("stopping", stopping, Stopping)
    execution = grouped("execution", execution, Execution)
    check_kinds({"results": results, "observers": observers}, _KINDS)
    place = results if isinstance(results, Results) else Results(results)
    joins, quiet = place.mode == "join", fit.get("verbose") == 0
    if joins:
        end_with_parent()
    check_limits({**fit, "epochs": epochs})
    check_extra_seeds(extra_seeds)
    hypermodel = InitializerHyperModel(model, space)
    check_not_elsewhere(fit, hypermodel, inspect.signature(search))
    data, test, args, arguments = fit_of(hypermodel, x, y, test_data, epochs, fit)
    seed_list = seeds_of(seeds, seed)
    devices = devices_of(execution.strategy, execution.workers, data, test)
    trials = trials_of(trials, tuner)
    metric, declared, description = check_model(hypermodel, data, test, objective)
    goal = goal_of(metric, stopping.target)
    folders = SearchFolders(place.results_folder, place.logs_folder)
    location = storage_label(place.storage, folders.results)
    study_name = STUDY_NAME if place.storage is None else folders.results.name
    shared = joins or execution.workers is not None or place.storage is not None
    oracle = OptunaOracle(goal, trials, tuner, place.storage, study_name, seed, shared=shared, repeats=True)
    pruning = Pruning(stopping.pruner, epochs, len(seed_list))
    candidates = _enqueue(oracle, enqueue, declared, tuner)
    settings = {
        "version": keras_initx.__version__,
        "data": f"{getattr(x, 'name', 'arrays')} [{fingerprint(data, data and data.validation, test)}]",
        "classes": list(getattr(x, "classes", ())),
        "model": description,
        "tuner": tuner if isinstance(tuner, str) else type(tuner).__name__,
        "storage": redacted(place.storage),
        "trials": trials,
        "epochs": epochs,
        "seeds": list(seed_list),
        "batch_size": data.batch_size if data is not None and data.rows is not None else None,
        "fit": {} if data is None else plain_values(fit),
        "patience": stopping.patience,
        "objective": oracle.objective.name,
        "screening": stopping.screening,
        "pruner": pruning.names,
        "extra_seeds": extra_seeds,
        "seed": seed,
        "space": {hp.name: hp.get_config() for hp in declared.space},
        "enqueue": enqueue if enqueue is None else [dict(values) for values in candidates],
    }
    call = {**settings, "objective": metric.name, "target": stopping.target}
    call |= {"jit_compile": execution.jit_compile, "strategy": execution.strategy}
    open_folders(folders, settings, place.storage, study_name, place.mode)
    dashboard = DashboardObserver(folders.logs, oracle)
    with (
        interruptible(),
        without_retracing_advice(),
        disk_errors("results", folders.results),
        storage_errors(location),
        _progress(oracle, folders, len(seed_list), epochs, quiet, joins) as progress,
    ):
        runner = InitializerTuner(
            hypermodel,
            oracle=oracle,
            seeds=seed_list,
            patience=stopping.patience,
            jit_compile=execution.jit_compile,
            screening=stopping.screening,
            pruner=stopping.pruner,
            test_data=test,
            metric=metric,
            target=stopping.target,
            observers=[dashboard, *progress, *observers],
            at_start=dashboard.on_start,
            strategy=devices,
            directory=str(folders.results.parent),
            project_name=folders.results.name,
        )
        runner.folder_argument = "results"
        runner.take(args, arguments, data)
        folders.check_study_kept(location, len(oracle.frozen_trials()))
        if not oracle.others_are_alive():
            folders.remove_partial()
        oracle.verbose = 0
        oracle.study.set_user_attr(SETTINGS_ATTRIBUTE, settings)
        store_machine(oracle.study)
        deployed = x.deployed if isinstance(x, Dataset) else lambda model: model
        storage_failed = False
        watching = [*progress, *observers]
        try:
            with disk_errors("results", folders.results), storage_errors(location):
                _run_trials(runner, args, arguments, execution.workers, folders, watching, joins)
                if not oracle.is_spent:
                    runner.race(extra_seeds)
        except StorageFailure:
            storage_failed = True
            raise
        finally:
            oracle.release()
            # After Ctrl-C too, so that an interrupted search can be inspected.
            if not storage_failed:
                result = SearchResult(oracle.results(), oracle.objective, folders, runner, deployed)
                write_json(result.results_file, as_json(result.trials, settings, oracle.objective.direction))
                dashboard.write_end(result.trials, call, place.command)
    if best_trial(result.trials, oracle.objective.direction) is not None:
        save_model(result.model_file, result.best_model)
    elif not oracle.is_spent:
        oracle.check_any_completed()
    return result


def _enqueue(
    oracle: OptunaOracle,
    enqueue: Sequence[Mapping[str, Any]] | None,
    space: keras_tuner.HyperParameters,
    tuner: Sampler,
) -> Sequence[Mapping[str, Any]]:
    """Enqueue the candidates to try first, the user's or the default ones, and return them.

    Raises:
        InitxError: If a candidate is not in the space, or a grid search has a `Range`.
    """
    candidates = _default_candidates(space, tuner) if enqueue is None else enqueue
    oracle.enqueue(candidates)
    for values in candidates:
        check_known(space, values)
    if tuner == "grid":
        grid_of(space)
    return candidates


def _default_candidates(space: keras_tuner.HyperParameters, tuner: Sampler) -> list[dict[str, Any]]:
    """Return the initializers of the space that are known to be good; a grid tries everything anyway."""
    if tuner == "grid":
        return []
    choices = {
        hp.name: list(getattr(hp, "values", ()))
        for hp in space.space
        if hp.name.partition(":")[0] == INITIALIZER
    }
    candidates = ({key: name for key, names in choices.items() if name in names} for name in CANDIDATES)
    return [values for values in candidates if values]


def _run_trials(
    runner: InitializerTuner,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    workers: Workers | None,
    folders: SearchFolders,
    observers: Sequence[Observer],
    joins: bool,
) -> None:
    """Run the trials in this process, or in workers whose progress the observers follow."""
    if workers is None:
        runner.oracle.trials_here = trials_each() if joins else None
        runner.search(*args, **kwargs)
    else:
        runner.oracle.begin()
        workers.run(runner.oracle, folders.results, runner.seeds, observers)


@contextmanager
def _progress(
    oracle: OptunaOracle, folders: SearchFolders, seeds: int, epochs: int, quiet: bool, joins: bool
) -> Iterator[list[Observer]]:
    """Yield the observers that report progress: on the terminal, and in `search.log`."""
    observers: list[Observer] = []
    with ExitStack() as stack:
        if not quiet:
            observers.append(stack.enter_context(ProgressObserver(oracle, seeds, epochs)))
        # Workers run with both: only the process that waits for them keeps the log.
        if not (quiet and joins):
            file = stack.enter_context((folders.results / _LOG_FILE).open("a", encoding="utf-8"))
            # The log is plain text, even if the environment forces colours.
            console = Console(file=file, width=200, force_terminal=False, no_color=True)
            log = ProgressObserver(oracle, seeds, epochs, console, stamped=True)
            observers.append(stack.enter_context(log))
        yield observers
