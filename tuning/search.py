"""`search`: tune the initializer of a model like any other hyperparameter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras_tuner
from optuna.storages import BaseStorage
from rich.console import Console

import keras_initx
from keras_initx._tf_logging import without_retracing_advice

from .arguments import (
    check_flags,
    check_kinds,
    check_limits,
    check_model,
    fingerprint,
    fit_of,
    goal_of,
    objective_of,
    plain_values,
    seeds_of,
    trials_of,
)
from .dashboards import CommandLine, DashboardObserver, ProgressObserver
from .observers import Observer
from .parallel import Workers, end_with_parent, interruptible, trials_each
from .pruning import Pruner, Pruning
from .search_result import SearchResult
from .space import (
    CANDIDATES,
    INITIALIZER,
    InitializerHyperModel,
    SearchSpace,
    check_known,
    grid_of,
)
from .storage import (
    STUDY_NAME,
    SearchFolders,
    StorageFailure,
    disk_errors,
    redacted,
    storage_errors,
    storage_label,
    write_json,
)
from .study import (
    SETTINGS_ATTRIBUTE,
    OptunaOracle,
    Sampler,
    as_json,
    best_trial,
    open_folders,
    store_machine,
)
from .training import InitializerTuner, devices_of, save_model

_LOG_FILE = "search.log"
# The arguments that are checked by their type alone, with the words for an error.
_KINDS = {
    "results": (str | Path, "the path of a folder"),
    "logs": (str | Path | None, "None or the path of a folder"),
    "workers": (Workers | None, "None or Workers(command, count)"),
    "observers": (Sequence, "a list of observers"),
    "command": (Callable | None, "None or a function that returns a command line"),
}


def search(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    space: SearchSpace | None = None,
    tuner: Sampler = "tpe",
    trials: int | None = None,
    epochs: int = 20,
    seeds: int | Sequence[int] = 3,
    patience: int | None = None,
    test_data: Any = None,
    objective: str | keras_tuner.Objective = "val_accuracy",
    target: float | None = None,
    results: str | Path = "results/search",
    logs: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    join: bool = False,
    storage: str | Path | BaseStorage | None = None,
    workers: Workers | None = None,
    strategy: str | None = None,
    jit_compile: bool = True,
    screening: bool = True,
    pruner: Pruner | Sequence[Pruner] | None = None,
    extra_seeds: int = 0,
    seed: int = 0,
    enqueue: Sequence[Mapping[str, Any]] | None = None,
    quiet: bool = False,
    observers: Sequence[Observer] = (),
    command: CommandLine | None = None,
    **fit: Any,
) -> SearchResult:
    """Search initializers, learning rates and more for a model, with several seeds for each trial.

    Each seed's score is saved as soon as it finishes; `resume=True` continues an interrupted search and
    runs only the missing seeds. Whatever `model.fit` accepts, a search accepts: arrays, tf.data, PyDataset,
    PyTorch's DataLoader, dictionaries, weights, callbacks.

    Args:
        model: A built and compiled model, a function that returns one (without arguments, or with a
            `keras_tuner.HyperParameters`), or a `keras_tuner.HyperModel`. A function may declare
            hyperparameters of its own, including "initializer" and "learning_rate".
        x, y: As in `keras.Model.fit`; or x is a `Dataset`, which has a training, a validation and a test
            part. A function without arguments that returns a generator stands for the generator, which
            could be read only once.
        space: What to search besides the hyperparameters that the model declares: a `SearchSpace`. None
            searches the initializer of all kernels.
        tuner: "tpe", "random", "grid", "gp" (needs PyTorch), "cmaes" (needs cmaes); an Optuna sampler; or a
            KerasTuner oracle, such as `keras_tuner.oracles.BayesianOptimizationOracle(objective)`.
        trials: Total number of trials. None means 20, or the whole grid for "grid".
        epochs: Maximum number of epochs for each seed.
        seeds: Number of seeds for each trial, or the seeds themselves.
        patience: Stop a seed after this many epochs without a better objective; None never stops.
        test_data: Data in the form of `validation_data`, on which each seed's best epoch is evaluated. It
            influences no choice.
        objective: The name of a metric ("val_accuracy", "val_loss"), or a `keras_tuner.Objective`.
        target: Minimize the number of epochs until the objective reaches this value, and stop each run
            there. A run that does not reach it counts as `epochs` + 1.
        results: Folder for the study, the weights, `results.json`, the best model and `search.log`, which
            has one line for each trial.
        logs: Folder for TensorBoard. None means `runs/` followed by the name of the results folder.
        resume: Continue the search in `results`.
        overwrite: Remove the search in `results` first.
        join: Continue the search in `results` alongside other processes, or start it if there is none, so
            that one program can be started several times. Each process takes the next trial, or a trial
            whose process died.
        storage: Where to keep the study. None means `study.db` in `results`. Otherwise a file that ends in
            ".journal", a URL ("postgresql+psycopg2://...") or an Optuna storage; the study is then named
            after `results`.
        workers: Processes that run the trials while this one waits for them: `Workers`.
        strategy: "mirrored" trains each trial on all GPUs of this machine at once, or on all devices of the
            backend if it has no GPU: `tf.distribute.MirroredStrategy` on TensorFlow, without XLA, and
            `keras.distribution.DataParallel` on JAX. `batch_size` then counts the rows of all devices
            together and must be a multiple of their number; the few last training rows that cannot be
            shared equally are dropped. With a single device it does the same as None. Not with `workers`.
        jit_compile: Compile under XLA, whatever the model was compiled with. A model that XLA cannot
            compile is trained without it, with a warning.
        screening: End a trial before its training if two batches show that it cannot learn: a loss or
            gradient that is not finite, no gradient except in the last layer, units that are all alike, or
            a loss far beyond reach.
        pruner: End a trial that falls behind: "median", "halving", "hyperband" (compare epochs),
            "wilcoxon" (compares seeds), an `optuna.pruners.BasePruner`, or one of each kind. None never
            ends one.
        extra_seeds: Number of extra runs, in total, for the best three trials: the same seed for each in
            turn, until all but one are beaten (`still_in` states the rule). These runs decide which trial is
            best.
        seed: The seed of the sampler, and the first of `seeds` if that is a number.
        enqueue: Candidates to try first, as values by name; missing values are sampled. None means "own",
            "he_auto", "auto" and "initialize:auto", as far as the space contains them. A grid tries
            everything anyway.
        quiet: Print no progress.
        observers: Further observers of the search.
        command: A function that maps a trial's hyperparameters to the command line that repeats it, and
            None to the command line of the whole search. It returns None if no command line can. The
            TensorBoard page on how to repeat a search shows them; by default it shows calls of `search`.
        **fit: Further arguments of `keras.Model.fit`: `validation_data`, `validation_split`, `batch_size`,
            `class_weight`, `sample_weight`, `steps_per_epoch`, `callbacks` (each run gets copies) ... Or
            whatever the `fit` of a HyperModel takes.

    Returns:
        A `SearchResult`.

    Raises:
        InitxError: If an argument cannot be used; nothing has been written then. Also if a disk or a
            storage fails: finished seeds are saved, and the search can be resumed once that is repaired.
        RuntimeError: If three trials in a row raise an exception, or if no trial is completed; the search can
            be resumed.
    """
    check_flags(
        resume=resume,
        overwrite=overwrite,
        join=join,
        jit_compile=jit_compile,
        screening=screening,
        quiet=quiet,
    )
    check_kinds(
        {"results": results, "logs": logs, "workers": workers, "observers": observers, "command": command},
        _KINDS,
    )
    if join:
        end_with_parent()
    check_limits(epochs, fit, patience, extra_seeds)
    hypermodel = InitializerHyperModel(model, space)
    data, test, args, arguments = fit_of(hypermodel, x, y, test_data, epochs, fit)
    seed_list = seeds_of(seeds, seed)
    devices = devices_of(strategy, workers, data, test)
    trials = trials_of(trials, tuner)
    metric = objective_of(objective)
    goal = goal_of(metric, target)
    results = Path(results)
    folders = SearchFolders(results, Path("runs") / results.name if logs is None else Path(logs))
    location = storage_label(storage, results)
    study_name = STUDY_NAME if storage is None else results.name
    shared = join or workers is not None or storage is not None
    oracle = OptunaOracle(goal, trials, tuner, storage, study_name, seed, shared=shared, repeats=True)
    pruning = Pruning(pruner, epochs, len(seed_list))
    declared, description = check_model(hypermodel, data, test, metric)
    candidates = _enqueue(oracle, enqueue, declared, tuner)
    settings = {
        "version": keras_initx.__version__,
        "data": f"{getattr(x, 'name', 'arrays')} [{fingerprint(data, data and data.validation, test)}]",
        "classes": list(getattr(x, "classes", ())),
        "model": description,
        "tuner": tuner if isinstance(tuner, str) else type(tuner).__name__,
        "storage": redacted(storage),
        "trials": trials,
        "epochs": epochs,
        "seeds": seed_list,
        "batch_size": data.batch_size if data is not None and data.rows is not None else None,
        "fit": {} if data is None else plain_values(fit),
        "patience": patience,
        "objective": oracle.objective.name,
        "screening": screening,
        "pruner": pruning.names,
        "extra_seeds": extra_seeds,
        "seed": seed,
        "space": {hp.name: hp.get_config() for hp in declared.space},
        "enqueue": enqueue if enqueue is None else [dict(values) for values in candidates],
    }
    call = {**settings, "objective": metric.name, "target": target}
    call |= {"jit_compile": jit_compile, "strategy": strategy}
    open_folders(folders, settings, storage, study_name, resume, overwrite, join)
    dashboard = DashboardObserver(folders.logs, oracle)
    with (
        interruptible(),
        without_retracing_advice(),
        disk_errors("results", results),
        storage_errors(location),
        _progress(oracle, folders, len(seed_list), epochs, quiet, join) as progress,
    ):
        runner = InitializerTuner(
            hypermodel,
            oracle=oracle,
            seeds=seed_list,
            patience=patience,
            jit_compile=jit_compile,
            screening=screening,
            pruner=pruner,
            test_data=test,
            metric=metric,
            target=target,
            observers=[dashboard, *progress, *observers],
            at_start=dashboard.on_start,
            strategy=devices,
            directory=str(folders.results.parent),
            project_name=folders.results.name,
        )
        runner.take(args, arguments, data)
        folders.check_study_kept(location, len(oracle.frozen_trials()))
        if not oracle.others_are_alive():
            folders.remove_partial()
        oracle.verbose = 0
        oracle.study.set_user_attr(SETTINGS_ATTRIBUTE, settings)
        store_machine(oracle.study)
        storage_failed = False
        try:
            with disk_errors("results", results), storage_errors(location):
                _run_trials(runner, args, arguments, workers, folders, [*progress, *observers], join)
                if not oracle.is_spent:
                    runner.race(extra_seeds)
        except StorageFailure:
            storage_failed = True
            raise
        finally:
            oracle.release()
            # After Ctrl-C too, so that an interrupted search can be inspected.
            if not storage_failed:
                result = SearchResult(oracle.results(), oracle.objective, folders, runner)
                write_json(result.results_file, as_json(result.trials, settings, oracle.objective.direction))
                dashboard.write_end(result.trials, call, command)
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
    join: bool,
) -> None:
    """Run the trials in this process, or in workers whose progress the observers follow."""
    if workers is None:
        runner.oracle.trials_here = trials_each() if join else None
        runner.search(*args, **kwargs)
    else:
        runner.oracle.begin()
        workers.run(runner.oracle, folders.results, runner.seeds, observers)


@contextmanager
def _progress(
    oracle: OptunaOracle, folders: SearchFolders, seeds: int, epochs: int, quiet: bool, join: bool
) -> Iterator[list[Observer]]:
    """Yield the observers that report progress: on the terminal, and in `search.log`."""
    observers: list[Observer] = []
    with ExitStack() as stack:
        if not quiet:
            observers.append(stack.enter_context(ProgressObserver(oracle, seeds, epochs)))
        # Workers run with both: only the process that waits for them keeps the log.
        if not (quiet and join):
            file = stack.enter_context((folders.results / _LOG_FILE).open("a", encoding="utf-8"))
            # The log is plain text, even if the environment forces colours.
            console = Console(file=file, width=200, force_terminal=False, no_color=True)
            log = ProgressObserver(oracle, seeds, epochs, console, stamped=True)
            observers.append(stack.enter_context(log))
        yield observers
