"""Searches the initializer of a model like any other hyperparameter."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras_tuner
from optuna.storages import BaseStorage
from rich.console import Console

import keras_initx
from keras_initx._tf_logging import without_retracing_advice
from keras_initx.errors import InitxError, check_positive, is_number

from .arguments import (
    Pair,
    check_flags,
    check_kinds,
    epochs_to,
    fingerprint,
    objective_of,
    pairs_of,
    probe,
    seeds_of,
)
from .dashboards import BoardObserver, ProgressObserver
from .data import Dataset
from .observers import Observer
from .parallel import Workers, interruptible, trials_each
from .pruning import Pruner, Pruning
from .search_result import LOG_FILE, MODEL_FILE, RESULTS_FILE, SearchResult
from .space import (
    CANDIDATES,
    DEFAULT_INITIALIZERS,
    DEFAULT_LEARNING_RATES,
    INITIALIZER,
    OWN,
    InitializerHyperModel,
    Initializers,
    Numbers,
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
    check_study,
    remove_study,
    store_machine,
)
from .training import InitializerTuner, save_model, strategy_of

_KINDS = {
    "results": (str | Path, "the path of a folder"),
    "logs": (str | Path | None, "the path of a folder"),
    "workers": (Workers | None, "Workers(command, count); `keras-initx tune --workers N` starts its own"),
    "observers": (Sequence, "a list of observers"),
}


def search(
    model: Any,
    data: Dataset | Pair | tuple[Pair, Pair] | tuple[Pair, Pair, Pair],
    *,
    tuner: Sampler = "tpe",
    trials: int | None = None,
    epochs: int = 20,
    seeds: int | Sequence[int] = 3,
    batch_size: int = 64,
    patience: int | None = None,
    initializers: Initializers = (*DEFAULT_INITIALIZERS, OWN),
    learning_rates: Numbers | None = DEFAULT_LEARNING_RATES,
    gains: Numbers | None = None,
    distributions: Sequence[str] | None = None,
    weight_decays: Numbers | None = None,
    schedules: Sequence[str] | None = None,
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
    command: Sequence[str] | None = None,
) -> SearchResult:
    """Tries initializers (and learning rates) on a model, over several seeds each.

    Every seed's score is stored as soon as it is known. A search that is interrupted goes on with
    `resume=True`, and runs only what is missing.

    Args:
        model: A built and compiled model, a function that returns one (of no argument, or of a
            `keras_tuner.HyperParameters`), or a `keras_tuner.HyperModel`. A function may declare
            hyperparameters of its own, "initializer" and "learning_rate" among them.
        data: A `Dataset`; arrays (x, y) of a classification, to be split 60/20/20; or pairs
            ((x, y) to train, (x, y) to validate) and optionally a third to test, for any task: a
            regression, say, with `objective="val_loss"`.
        tuner: "tpe", "random", "grid", "gp" (needs PyTorch), "cmaes" (needs cmaes); an Optuna sampler; or a
            KerasTuner oracle, such as `keras_tuner.oracles.BayesianOptimizationOracle(objective)`.
        trials: How many trials in all; None is 20, and the whole grid for "grid".
        epochs: Epochs of one seed, at most.
        seeds: How many seeds for each trial, or the seeds themselves.
        batch_size: Rows of one step.
        patience: Epochs without a better objective after which a seed stops; None never stops.
        initializers: The names to choose among, unless the model declares "initializer": ours and
            Keras's, "own" for what the model was made with, and "initialize:auto", say, for
            `keras_initx.initialize`. By group ("stem", "hidden", "recurrent", "attention", "head") or by a
            pattern of layer paths as a dictionary, {"hidden": ["he_auto", "auto"], "head": ["small_normal"]};
            kernels in none of them stay as the model has them.
        learning_rates: The rates to choose among, a `Range` to search between (not for a grid), or None
            for the model's own rate.
        gains, distributions: What to choose among for the gain (variance times fan) and the distribution of
            he_auto, xavier_auto, lecun_auto and auto; None leaves them their own.
        weight_decays: Values or a `Range` of the optimizer's weight decay; None is the model's own.
        schedules: How the rate may fall over a run: "constant", "linear", "cosine", epoch by epoch.
        objective: A metric by name ("val_accuracy", "val_loss"), or a `keras_tuner.Objective`.
        target: Look for the fewest epochs until the objective reaches this value, and stop each run there. A
            run that does not reach it counts as one epoch more than `epochs`.
        results: Folder for the study, the weights, `results.json`, the best model and `search.log`, a line
            for each trial.
        logs: Folder for TensorBoard; None is `runs/` and the name of the results folder.
        resume: Go on with the search in `results`.
        overwrite: Remove the search in `results` first.
        join: Go on with the search in `results` if there is one, beside other processes that do, and start it
            if there is none: the same program may be started several times. Each takes the next trial,
            and the trial of one that died.
        storage: Where the study is kept: None is `study.db` in `results`; a file that ends in ".journal", a
            URL ("postgresql://..."), or an Optuna storage, in which the study has the name of `results`.
        workers: Processes that run the trials in place of this one, which waits for them: `Workers`.
        strategy: "mirrored" trains each trial on all GPUs of this machine at once (without any, on all
            devices of the backend): `tf.distribute.MirroredStrategy` on TensorFlow, without XLA, and
            `keras.distribution.DataParallel` on JAX. `batch_size` is then that of all together, a multiple
            of their number; of the last rows to train on, as many are left out as a batch has too many
            to be shared equally. A single device works as with None. Not with `workers`.
        jit_compile: Compile under XLA, whatever the model was compiled with; one that XLA cannot compile
            is trained without, with a warning.
        screening: End a trial before its training if two batches show that it cannot learn: a loss or
            gradient that is not finite, no gradient but in the last layer, units that are all alike, a loss
            far beyond reach.
        pruner: End a trial that falls behind: "median", "halving", "hyperband" (over epochs), "wilcoxon"
            (over seeds), an `optuna.pruners.BasePruner`, or one of each kind; None never does.
        extra_seeds: How many further runs the best three trials may have in all, the same seed for each in
            turn, until all but one are beaten (`still_in` tells the rule). They decide which is the best.
        seed: The seed of the sampler, and the first of `seeds` where that is a number.
        enqueue: Candidates to try first, as values by name; what they leave out is sampled. None takes
            "own", "he_auto", "auto" and "initialize:auto" as far as they are among the initializers; a
            grid tries everything anyway.
        quiet: No progress on the terminal.
        observers: Further observers of the progress.
        command: The command line that started it, if one did, for TensorBoard's page on how to repeat it.

    Returns:
        A `SearchResult`.

    Raises:
        InitxError: An argument that cannot be used: nothing has been written then. A disk or a storage that
            fails: what was done is stored, and once that is mended the search can be resumed.
        RuntimeError: Three trials in a row raised; the search can be resumed.
    """
    check_flags(
        resume=resume,
        overwrite=overwrite,
        join=join,
        jit_compile=jit_compile,
        screening=screening,
        quiet=quiet,
    )
    check_kinds({"results": results, "logs": logs, "workers": workers, "observers": observers}, _KINDS)
    train, validation, test = pairs_of(data)
    seed_list = seeds_of(seeds, seed)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if not (name == "patience" and value is None):
            check_positive(name, value)
    devices = strategy_of(strategy, workers)
    devices.trim(train, batch_size)
    for pair in (validation, test or validation):
        devices.evaluation_batch(len(pair[0]))
    if isinstance(extra_seeds, bool) or not isinstance(extra_seeds, int) or extra_seeds < 0:
        raise InitxError("extra_seeds", extra_seeds, "a whole number, 0 or more")
    if trials is not None:
        trials = check_positive("trials", trials)
    elif tuner != "grid":
        trials = 20
    results = Path(results)
    study_name = STUDY_NAME if storage is None else results.name
    metric = objective_of(objective)
    if target is not None and not is_number(target):
        raise InitxError("target", target, f"a value of {metric.name}")
    goal = metric if target is None else epochs_to(metric, target)
    shared = join or workers is not None or storage is not None
    oracle = OptunaOracle(goal, trials, tuner, storage, study_name, seed, shared=shared)
    pruning = Pruning(pruner, epochs, len(seed_list))
    hypermodel = InitializerHyperModel(
        model, initializers, learning_rates, gains, distributions, weight_decays, schedules
    )
    space, architecture = probe(hypermodel, train, metric.name)
    candidates = _candidates(space, tuner) if enqueue is None else enqueue
    oracle.enqueue(candidates)
    for values in candidates:
        check_known(space, values)
    if tuner == "grid":
        grid_of(space)
    folders = SearchFolders(results, Path("runs") / results.name if logs is None else Path(logs))
    settings = {
        "version": keras_initx.__version__,
        "data": f"{getattr(data, 'name', 'arrays')} [{fingerprint(train, validation, test)}]",
        "classes": list(getattr(data, "classes", ())),
        "model": architecture,
        "tuner": tuner if isinstance(tuner, str) else type(tuner).__name__,
        "storage": redacted(storage),
        "trials": trials,
        "epochs": epochs,
        "seeds": seed_list,
        "batch_size": batch_size,
        "patience": patience,
        "objective": oracle.objective.name,
        "screening": screening,
        "pruner": pruning.names,
        "extra_seeds": extra_seeds,
        "seed": seed,
        "space": {p.name: p.get_config() for p in space.space},
        "enqueue": enqueue if enqueue is None else [dict(values) for values in candidates],
    }
    more = {"objective": metric.name, "target": target, "jit_compile": jit_compile, "strategy": strategy}
    asked = {**settings, **more}
    if storage is None:
        folders.open(settings, resume, overwrite, join)
    else:
        # Another machine has the study, but not the folder.
        there = check_study(storage, study_name, settings, resume or join, overwrite)
        folders.open(
            settings,
            resume and not there,
            overwrite,
            join or (resume and there),
            lambda: remove_study(storage, study_name),
        )
    board = BoardObserver(folders.logs, oracle)
    place = storage_label(storage, results)
    with (
        interruptible(),
        without_retracing_advice(),
        disk_errors("results", results),
        storage_errors(place),
        ExitStack() as stack,
    ):
        shown: list[Observer] = []
        if not quiet:
            shown.append(stack.enter_context(ProgressObserver(oracle, len(seed_list), epochs)))
        if not (quiet and join):
            # Of workers the process that waits for them keeps the log.
            file = stack.enter_context((folders.results / LOG_FILE).open("a", encoding="utf-8"))
            # Whatever the environment says of colours.
            console = Console(file=file, width=200, force_terminal=False, no_color=True)
            log = ProgressObserver(oracle, len(seed_list), epochs, console, stamped=True)
            shown.append(stack.enter_context(log))
        run = InitializerTuner(
            oracle,
            hypermodel,
            train,
            validation,
            test,
            seeds=seed_list,
            epochs=epochs,
            batch_size=batch_size,
            patience=patience,
            jit_compile=jit_compile,
            screening=screening,
            pruning=pruning,
            metric=metric,
            target=target,
            observers=[board, *shown, *observers],
            at_start=board.on_start,
            strategy=devices,
            directory=str(folders.results.parent),
            project_name=folders.results.name,
        )
        folders.check_study_kept(place, len(oracle.frozen_trials()))
        oracle.verbose = 0
        oracle.study.set_user_attr(SETTINGS_ATTRIBUTE, settings)
        store_machine(oracle.study)
        broken = False
        try:
            with disk_errors("results", results), storage_errors(place):
                if workers is None:
                    oracle.trials_here = trials_each() if join else None
                    run.search()
                else:
                    oracle.begin()
                    workers.run(oracle, folders.results, seed_list, [*shown, *observers])
                if not oracle.is_spent:
                    run.race(extra_seeds)
        except StorageFailure:
            broken = True
            raise
        finally:
            oracle.release()
            # Also after Ctrl-C: what is done can be looked at.
            if not broken:
                found = oracle.results()
                written = as_json(found, settings, oracle.objective.direction)
                write_json(folders.results / RESULTS_FILE, written)
                result = SearchResult(found, oracle.objective, folders, run)
                board.write_end(found, asked, command)
    if best_trial(found, oracle.objective.direction) is not None:
        save_model(folders.results / MODEL_FILE, result.best_model)
    return result


def _candidates(space: keras_tuner.HyperParameters, tuner: Sampler) -> list[dict[str, Any]]:
    """The initializers that are known to be good, among those of the space; a grid tries all anyway."""
    if tuner == "grid":
        return []
    choices = {
        hp.name: list(getattr(hp, "values", ()))
        for hp in space.space
        if hp.name.partition(":")[0] == INITIALIZER
    }
    found = ({key: name for key, values in choices.items() if name in values} for name in CANDIDATES)
    return [values for values in found if values]
