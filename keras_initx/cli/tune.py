"""`keras-initx tune`: search the initializer of a dense network, of your own model, or of a saved one."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.tuning import (
    DEFAULT_ACTIVATIONS,
    DEFAULT_INITIALIZERS,
    Dataset,
    Execution,
    Results,
    Stopping,
    Workers,
    search,
)

from .command_lines import repeat_line, worker_command
from .outcome import print_outcome
from .subjects import (
    check_free,
    check_used,
    class_weights,
    objective_of,
    of_dataset,
    of_saved_model,
    of_script,
)


def tune(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Your own model: a Python file with build(hp), and data(), which returns what fit takes; or "
            "a saved model (.keras) with --data ARRAYS.npz. Without FILE, a network of equal dense layers.",
        ),
    ] = None,
    dataset: common.DatasetOption = None,
    data: common.DataOption = None,
    target: common.TargetOption = None,
    task: common.TaskOption = "auto",
    drop: common.DropOption = None,
    index: common.IndexOption = None,
    encoding: common.EncodingOption = None,
    tuner: Annotated[
        str | None,
        typer.Option(
            help="grid tries every combination; tpe, random, gp and cmaes try --trials of them. "
            "[default: grid; with FILE: tpe]"
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Number of combinations to try. [default: 20; with grid: all]")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Maximum number of epochs of each run. [default: what data() says, or 12]"),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Number of runs of each combination, each with its own seed.")
    ] = 3,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:min|max]",
            help="The metric to optimize, such as val_loss. "
            "[default: val_accuracy; for a regression val_rmse; for a model without accuracy val_loss]",
        ),
    ] = None,
    initializers: Annotated[
        str | None,
        typer.Option(
            help="Initializers of this package or of Keras, separated by commas. "
            f"[default: {', '.join(DEFAULT_INITIALIZERS)}; with FILE: also own]"
        ),
    ] = None,
    activations: Annotated[str, typer.Option(help="Activations, separated by commas.")] = ",".join(
        DEFAULT_ACTIVATIONS
    ),
    learning_rates: Annotated[
        str | None,
        typer.Option(
            help="Learning rates of the optimizer, separated by commas. "
            "[default: 0.001,0.003; with FILE: the model's own]"
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="Optimizers of Keras, separated by commas. [default: adam; with FILE: the model's own]"
        ),
    ] = None,
    class_weight: Annotated[
        str | None,
        typer.Option(
            metavar="balanced|JSON",
            help='Weights of the classes: balanced, or by class such as \'{"yes": 5, "no": 1}\'.',
        ),
    ] = None,
    depth: Annotated[int, typer.Option(help="Number of hidden layers.")] = 5,
    width: Annotated[int, typer.Option(help="Units in each hidden layer.")] = 64,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Number of rows in each training step. [default: what data() says; without FILE: 64]"
        ),
    ] = None,
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

    Your own data: keras-initx tune --data table.csv --target label

    Your own model: keras-initx tune train.py, or keras-initx tune model.keras --data arrays.npz
    """
    options = {name: context.params[name] for name in context.params}
    if file is None:
        subject = of_dataset(options)
    else:
        check_used(context, file)
        subject = of_script(file, options) if file.suffix == ".py" else of_saved_model(file, options)
    fit = subject.arguments
    fit |= {name: options[name] for name in ("epochs", "batch_size") if options[name] is not None}
    if class_weight is not None:
        check_free(fit, "class_weight")
        fit["class_weight"] = class_weights(class_weight, subject.labels, subject.classes)
    if isinstance(x := fit.get("x"), Dataset) and not as_json:
        common.print_data(x)
    for note in () if as_json else subject.notes:
        common.print_plain(note)
    result = search(
        subject.model,
        space=subject.space,
        tuner=tuner or subject.tuner,
        trials=trials,
        seeds=seeds,
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
        objective=objective_of(objective, subject.objective, subject.metrics),
        execution=Execution(jit_compile, strategy, _workers(context.obj, workers, trials_each, storage)),
        **{"epochs": 12, **fit, **common.verbosity(quiet)},
    )
    if as_json:
        common.print_json(result)
        return
    print_outcome(result, subject, raced=extra_seeds > 0)


def _workers(arguments: list[str], count: int, each: int | None, storage: str | None) -> Workers | None:
    if count == 1 and each is None:
        return None
    # Through the environment: every user of the machine can read the command line of a process.
    environment = {} if storage is None else {common.STORAGE_VARIABLE: storage}
    return Workers(worker_command(arguments), count, environment, each)
