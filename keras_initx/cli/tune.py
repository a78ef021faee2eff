"""`keras-initx tune`: search initializer, activation and learning rate of a dense network."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.tuning import (
    ACTIVATION,
    DEFAULT_ACTIVATIONS,
    DEFAULT_INITIALIZERS,
    INITIALIZER,
    DenseClassifier,
    Execution,
    Results,
    SearchResult,
    Stopping,
    Workers,
    cross_table,
    describe_lead_by,
    search,
)

from .command_lines import repeat_line, worker_command

_ENDED_EARLY = {
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
        str,
        typer.Option(help="grid tries every combination; tpe, random, gp and cmaes try --trials of them."),
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option(help="Number of combinations to try. [default: 20; with grid: all]")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Maximum number of epochs of each run.")] = 12,
    seeds: Annotated[
        int, typer.Option(help="Number of runs of each combination, each with its own seed.")
    ] = 3,
    initializers: Annotated[
        str, typer.Option(help="Initializers of this package or of Keras, separated by commas.")
    ] = ",".join(DEFAULT_INITIALIZERS),
    activations: Annotated[str, typer.Option(help="Activations, separated by commas.")] = ",".join(
        DEFAULT_ACTIVATIONS
    ),
    learning_rates: Annotated[
        str, typer.Option(help="Learning rates of Adam, separated by commas.")
    ] = "0.001,0.003",
    depth: Annotated[int, typer.Option(help="Number of hidden layers.")] = 5,
    width: Annotated[int, typer.Option(help="Units in each hidden layer.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Number of rows in each training step.")] = 64,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop a run after this many epochs without a better score. [default: never]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed; it also decides the order of the search.")] = 0,
    results: Annotated[
        Path, typer.Option(help="Folder for the study, the best model and results.json.")
    ] = Path("results/tune"),
    logs: common.LogsOption = None,
    resume: common.ResumeOption = False,
    overwrite: common.OverwriteOption = False,
    join: Annotated[
        bool,
        typer.Option("--join", help="Start the search in --results, or work on it with other processes."),
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar=common.STORAGE_VARIABLE,
            help="Where to keep the study: a file that ends in .journal, or a URL such as "
            "postgresql+psycopg2://... [default: study.db in --results]",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes that run trials at the same time.")] = 1,
    strategy: Annotated[
        str | None,
        typer.Option(help="mirrored trains each trial on all GPUs of this machine. [default: one device]"),
    ] = None,
    trials_each: Annotated[
        int | None,
        typer.Option(
            help="Restart each process after this many trials, so that its memory does not grow. "
            "[default: never]"
        ),
    ] = None,
    quiet: common.QuietOption = False,
    as_json: common.JsonOption = False,
    jit_compile: common.JitOption = True,
    screening: Annotated[
        bool,
        typer.Option("--screening/--no-screening", help="Before training, end trials that cannot learn."),
    ] = True,
    pruner: Annotated[
        str,
        typer.Option(
            help="End trials that fall behind: median, halving or hyperband (epochs), wilcoxon (seeds)."
        ),
    ] = "",
    extra_seeds: Annotated[
        int, typer.Option(help="Number of extra runs, in total, to decide between the best three trials.")
    ] = 0,
) -> None:
    """Compare initializers on real data, with TensorBoard dashboards of the result.

    Trains a network of equal dense layers with each combination of initializer, activation and
    learning rate, over several seeds. Without options it takes scikit-learn's handwritten digits and
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
        depth,
        width,
    )
    result = search(
        model,
        data,
        tuner=tuner,
        trials=trials,
        epochs=epochs,
        seeds=seeds,
        batch_size=batch_size,
        seed=seed,
        extra_seeds=extra_seeds,
        stopping=Stopping(patience, None, screening, common.split_names(pruner)),
        results=Results(
            results,
            common.mode_of(resume, overwrite, join),
            logs,
            storage,
            command=partial(repeat_line, context.obj),
        ),
        execution=Execution(jit_compile, strategy, _workers(context.obj, workers, trials_each, storage)),
        **common.verbosity(quiet),
    )
    if as_json:
        common.print_json(result)
        return
    _print(result, model, extra_seeds > 0)


def _workers(arguments: list[str], count: int, each: int | None, storage: str | None) -> Workers | None:
    if count == 1 and each is None:
        return None
    # Through the environment: every user of the machine can read the command line of a process.
    environment = {} if storage is None else {common.STORAGE_VARIABLE: storage}
    return Workers(worker_command(arguments), count, environment, each)


def _print(result: SearchResult, model: DenseClassifier, raced: bool) -> None:
    best = result.best
    direction = result.objective.direction
    title = "Validation accuracy, mean ± std over seeds (the best learning rate of each pair)"
    common.console.print()
    values = model.initializers, model.activations
    common.console.print(cross_table(result.trials, INITIALIZER, ACTIVATION, direction, title, *values))
    for status, text in _ENDED_EARLY.items():
        if trials := [t for t in result.trials if t.status == status]:
            share = f"{len(trials)} of {len(result.trials)} trials {text}"
            common.print_plain(f"{share}; the first: {trials[0].reason}")
    low, high = best.sample.interval(within=(0.0, 1.0))
    interval = f", 95 % interval {low:.3f} to {high:.3f}" if best.sample.n > 1 else ""
    common.print_plain(
        f"Winner: {best.values[INITIALIZER]} with {best.values[ACTIVATION]}, "
        f"learning rate {best.values['learning_rate']:g}: "
        f"validation accuracy {best.sample.describe()}{interval}{_ties(result)}; "
        f"test accuracy {best.test_sample('accuracy').describe()}."
    )
    lead = result.verdict() if raced else describe_lead_by(result.trials, INITIALIZER, result.objective)
    if lead:
        common.print_plain(lead)
    common.print_locations(result)


def _ties(result: SearchResult) -> str:
    """Return how many other trials have the winner's mean, in which case their order decided."""
    mean = result.best.sample.mean
    others = sum(t.status == "completed" and t.sample.mean == mean for t in result.trials) - 1
    return f" (a tie with {others} other{'s' if others > 1 else ''})" if others > 0 else ""
