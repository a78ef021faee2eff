"""`keras-initx tune`: search initializer, activation and learning rate on a data set."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.errors import check_positive
from keras_initx.tuning import DenseClassifier, SearchResult, search
from keras_initx.tuning.parallel import STORAGE_VARIABLE, Workers
from keras_initx.tuning.report import cross_table
from keras_initx.tuning.space import ACTIVATION, DEFAULT_ACTIVATIONS, DEFAULT_INITIALIZERS, INITIALIZER
from keras_initx.tuning.stats import paired
from keras_initx.tuning.study import best_per_cell

_ENDED = {
    "failed": "failed",
    "screened": "were ended before training, since they could not learn",
    "pruned": "were ended in training, since others were better",
}


def tune(
    context: typer.Context,
    dataset: common.DatasetOption = "digits",
    csv: common.CsvOption = None,
    target: common.TargetOption = None,
    npz: common.NpzOption = None,
    tuner: Annotated[
        str, typer.Option(help="grid (every combination); tpe, random, gp or cmaes (--trials combinations).")
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option(help="How many combinations to try. [default: 20; grid: all of them]")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of each run, at most.")] = 12,
    seeds: Annotated[int, typer.Option(help="Runs of each combination, each from another seed.")] = 3,
    initializers: Annotated[
        str, typer.Option(help="Initializer names, separated by commas; Keras's own names too.")
    ] = ",".join(DEFAULT_INITIALIZERS),
    activations: Annotated[str, typer.Option(help="Activation names, separated by commas.")] = ",".join(
        DEFAULT_ACTIVATIONS
    ),
    learning_rates: Annotated[
        str, typer.Option(help="Adam's learning rates, separated by commas.")
    ] = "0.001,0.003",
    depth: Annotated[int, typer.Option(help="Hidden layers of the network.")] = 5,
    width: Annotated[int, typer.Option(help="Units of each hidden layer.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Rows of one training step.")] = 64,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop a run after so many epochs without a better score. [default: never]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed; the order of the search follows it too.")] = 0,
    results: Annotated[
        Path, typer.Option(help="Folder for the study, the best model and results.json.")
    ] = Path("results/tune"),
    logs: common.LogsOption = None,
    resume: common.ResumeOption = False,
    overwrite: common.OverwriteOption = False,
    join: Annotated[
        bool, typer.Option("--join", help="Start the search in --results, or help others with it.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar=STORAGE_VARIABLE,
            help="Where the study is kept: a file that ends in .journal, or a URL such as postgresql://... "
            "[default: study.db in --results]",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that run trials at the same time.")] = 1,
    strategy: Annotated[
        str | None,
        typer.Option(help="mirrored: all GPUs of this machine train each trial together. [default: one]"),
    ] = None,
    trials_each: Annotated[
        int | None,
        typer.Option(
            help="Trials after which a process makes room for a new one, so that memory does not grow. "
            "[default: never]"
        ),
    ] = None,
    quiet: common.QuietOption = False,
    as_json: common.JsonOption = False,
    jit_compile: common.JitOption = True,
    screening: Annotated[
        bool,
        typer.Option("--screening/--no-screening", help="End what cannot learn before it is trained."),
    ] = True,
    pruner: Annotated[
        str,
        typer.Option(help="End what falls behind: median, halving or hyperband, and wilcoxon over seeds."),
    ] = "",
    extra_seeds: Annotated[
        int, typer.Option(help="Further runs in all for the best three, until one is beaten by none.")
    ] = 0,
) -> None:
    """Compare initializers on real data, with dashboards to open.

    Trains a network of equal dense layers for every combination of initializer, activation and
    learning rate, over several seeds each. Without options: scikit-learn's handwritten digits, in
    about two minutes on two cores.

    Your own data: keras-initx tune --csv table.csv --target label
    """
    data = common.load_data(dataset, csv, target, npz)
    if not as_json:
        common.print_plain(data.describe())
    model = DenseClassifier(
        data,
        common.split_names(activations),
        common.split_names(initializers),
        common.split_rates(learning_rates),
        check_positive("depth", depth),
        check_positive("width", width),
    )
    result = search(
        model,
        data,
        tuner=tuner,
        trials=trials,
        epochs=epochs,
        seeds=seeds,
        batch_size=batch_size,
        patience=patience,
        seed=seed,
        results=results,
        logs=logs,
        resume=resume,
        overwrite=overwrite,
        join=join,
        storage=storage,
        workers=_workers(context.obj, workers, trials_each, storage),
        strategy=strategy,
        quiet=quiet,
        jit_compile=jit_compile,
        screening=screening,
        pruner=common.split_names(pruner),
        extra_seeds=extra_seeds,
        command=common.command_line(context.obj),
    )
    if as_json:
        common.print_json(result)
        return
    _print(result, model, extra_seeds > 0)


def _workers(arguments: list[str], count: int, each: int | None, storage: str | None) -> Workers | None:
    if count == 1 and each is None:
        return None
    # By the environment: a command line, with a password in it, is there for all to see.
    environment = {} if storage is None else {STORAGE_VARIABLE: storage}
    return Workers(common.worker_command(arguments), count, environment, each)


def _print(result: SearchResult, model: DenseClassifier, extra: bool) -> None:
    best = result.best
    direction = result.objective.direction
    title = "Validation accuracy, mean ± std over seeds (the best learning rate of each pair)"
    common.console.print()
    orders = model.initializers, model.activations
    common.console.print(cross_table(result.trials, INITIALIZER, ACTIVATION, direction, title, *orders))
    for status, what in _ENDED.items():
        if ended := [t for t in result.trials if t.status == status]:
            share = f"{len(ended)} of {len(result.trials)} trials {what}"
            common.print_plain(f"{share}; the first: {ended[0].reason}")
    values = best.values
    low, high = best.sample.interval(within=(0.0, 1.0))
    interval = f", 95 % interval {low:.3f} to {high:.3f}" if best.sample.n > 1 else ""
    common.print_plain(
        f"Winner: {values[INITIALIZER]} with {values[ACTIVATION]}, "
        f"learning rate {values['learning_rate']:g}: "
        f"validation accuracy {best.sample.describe()}{interval}{_tie(result)}; "
        f"test accuracy {best.test_sample('accuracy').describe()}."
    )
    runner_up = result.verdict() if extra else _runner_up(result)
    if runner_up:
        common.print_plain(runner_up)
    common.print_where(result)


def _tie(result: SearchResult) -> str:
    """How many other trials have the winner's mean, which is a matter of their order then."""
    same = sum(t.status == "completed" and t.sample.mean == result.best.sample.mean for t in result.trials)
    return f" (a tie with {same - 1} other{'s' if same > 2 else ''})" if same > 1 else ""


def _runner_up(result: SearchResult) -> str:
    """What the winner's lead over the best trial of another initializer is worth."""
    cells = best_per_cell(result.trials, (INITIALIZER,), result.objective.direction)
    ranked = sorted(cells.values(), key=lambda t: t.sample.mean, reverse=True)
    if len(ranked) < 2 or min(t.sample.n for t in ranked[:2]) < 2:
        return ""
    # On the test data, by which neither was chosen; seed by seed, which both have run.
    groups = {str(t.values[INITIALIZER]): t.test_scores("accuracy") for t in ranked[:2]}
    return f"The best two initializers on the test data: {paired(groups).describe()}"
