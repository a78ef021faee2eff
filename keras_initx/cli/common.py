"""Options and helpers that several commands share: data, errors on one line, resuming after Ctrl-C."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from typer.exceptions import TyperException

from keras_initx.errors import InitxError, printable
from keras_initx.tuning import Dataset, Mode, SearchResult, has_search, load_dataset, load_npz, load_table

from .command_lines import resume_line, value_of

INTERRUPTED = 130
# An environment variable that replaces --storage, so that a password need not be typed on a command line.
STORAGE_VARIABLE = "KERAS_INITX_STORAGE"
# The arguments of the library, as the command line calls them.
OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("dataset", "data", "target", "task", "drop", "index", "encoding"),
        *("tuner", "trials", "epochs", "seeds", "batch_size", "patience", "pruner", "extra_seeds", "seed"),
        *("initializers", "activations", "learning_rates", "schemes", "depth", "width"),
        *("objective", "class_weight"),
        *("results", "logs", "resume", "overwrite", "join", "storage", "study_name", "out"),
        *("workers", "trials_each", "strategy", "jit_compile", "screening"),
        *("method", "only", "skip", "loss", "plot", "apply"),
    )
}
# The functions of the library that the messages of `load_dataset` name.
OPTIONS |= {"load_table": "--data TABLE --target COLUMN", "load_npz": "--data ARRAYS.npz"}
# The fields of `Results` that are called otherwise here.
OPTIONS |= {"folder": "--results"}
# The fields of `SearchSpace` that are called otherwise here.
OPTIONS |= {"optimizers": "--optimizer"}
# The types of options that typer checks itself, worded to follow "must be".
_TYPES: dict[object, str] = {int: "an integer", float: "a number"}

# Where a message of Keras, or of an exception of the user's code, begins.
_QUOTED = re.compile(r"\bKeras: |\b[A-Z]\w*(?:Error|Exception|Exit): ")

# Wide in a file or a pipe, where lines should not be broken at 80 columns.
console = Console(width=None if sys.stdout.isatty() else 120)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A scikit-learn dataset: digits, wine, breast_cancer or iris. [default: digits]",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Your own table, with a header row (text with any usual separator and encoding, or Parquet); "
        "or arrays in an .npz file: x and y, or x_train and y_train (optionally x_test and y_test).",
    ),
]
TargetOption = Annotated[
    str | None, typer.Option("--target", metavar="COLUMN", help="The column of a table to predict.")
]
TaskOption = Annotated[
    str,
    typer.Option(
        help="classification or regression; auto is a regression for a target of many different numbers."
    ),
]
DropOption = Annotated[
    str | None, typer.Option(metavar="COLUMNS", help="Columns to leave out, separated by commas.")
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column that numbers the rows, which is left out; none keeps all. "
        "[default: a first column without a name, or one that counts the rows]",
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Encoding of a table. [default: UTF-8, UTF-16 or Windows-1252]"),
]
LogsOption = Annotated[
    Path | None,
    typer.Option(help="Folder for TensorBoard. [default: logs in --results]"),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the search in --results.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Remove the search in --results first.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, but no progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of tables.")]
JitOption = Annotated[
    bool, typer.Option("--jit-compile/--no-jit-compile", help="Compile the training step under XLA.")
]


def load_data(options: Mapping[str, Any]) -> Dataset:
    """Load the data that the options name.

    Args:
        options: The values of --dataset, --data, --target, --task, --drop, --index and --encoding by name.

    Raises:
        InitxError: If two options exclude each other, or one does not apply; also whatever the loaders raise.
    """
    file, task, target = options["data"], options["task"], options["target"]
    of_tables = [name for name in ("target", "drop", "index", "encoding") if options[name] is not None]
    if file is not None and options["dataset"] is not None:
        problem = "Both `dataset` and `data` are given"
        raise InitxError("dataset", options["dataset"], "left out", "Leave out one of them.", problem)
    if file is not None and not str(file).lower().endswith(".npz"):
        if target is None:
            remedy = "Name the column to predict: --target COLUMN."
            raise InitxError("target", None, "the name of a column", remedy, "A table needs `target`")
        drop = split_names(options["drop"] or "")
        with renamed(path="--data"):
            return load_table(
                file, target, task, drop=drop, index=options["index"], encoding=options["encoding"]
            )
    for name in of_tables:
        problem = f"`{name}` {options[name]!r} needs a table"
        remedy = f"Add `data=FILE`, or leave out `{name}`."
        raise InitxError(name, options[name], "left out", remedy, problem)
    if file is not None:
        with renamed(path="--data"):
            return load_npz(file, task)
    if task == "regression":
        problem = "`task` regression does not apply to the scikit-learn datasets, which have classes"
        raise InitxError("task", task, "left out", "Leave it out.", problem)
    return load_dataset(options["dataset"] or "digits")


def split_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def split_rates(text: str) -> list[float]:
    """Return the numbers in a text, separated by commas.

    Raises:
        InitxError: If a part is not a number.
    """
    try:
        return [float(part) for part in split_names(text)]
    except ValueError:
        remedy = "Example: --learning-rates 0.001,0.003"
        raise InitxError("learning_rates", text, "numbers separated by commas", remedy) from None


def print_json(result: SearchResult) -> None:
    """Print the content of `results.json` on one line."""
    typer.echo(json.dumps(json.loads(result.results_file.read_text(encoding="utf-8"))))


def print_data(data: Dataset) -> None:
    """Print a line about the data, and what was decided about them."""
    print_plain(data.describe())
    for note in data.notes:
        print_plain(in_options(note))


def print_locations(result: SearchResult) -> None:
    """Print where the results are, and how to open them."""
    print_plain(f"Best model:  {result.model_file}  (import keras_initx before you load it)")
    print_plain(f"All results: {result.results_file}")
    print_plain(f"Dashboards:  {result.tensorboard}")


def print_plain(text: str) -> None:
    """Print a line unchanged, neither wrapped nor read as markup, so that it can be copied."""
    console.print(printable(text, keep="\n"), soft_wrap=True, markup=False, highlight=False)


def run_safely(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a typer program and return its exit code; errors that a user can fix have no traceback."""
    errors = Console(stderr=True)

    def print_error(text: str) -> None:
        errors.print(printable(text, keep="\n"), soft_wrap=True, markup=False, highlight=False)

    try:
        code = app(args=list(arguments), standalone_mode=False, obj=list(arguments))
    except InitxError as error:
        print_error(f"error: {reworded(error, OPTIONS)}")
        return 2
    except TyperException as error:
        print_error(f"error: {_usage(error, app, arguments)}")
        return 2
    except (OSError, RuntimeError) as error:
        print_error(f"error: {' '.join(str(error).split())}")
        return 1
    # Typer turns Ctrl-C into this code, even outside its standalone mode.
    if code == INTERRUPTED:
        if has_search(_results_folder(arguments)):
            line = resume_line(arguments)
            print_error(f"Interrupted. Finished seeds are saved. To continue:\n  {line}")
            if ":***@" in line:
                print_error(
                    f"Replace *** by the password, or leave out --storage and set {STORAGE_VARIABLE}."
                )
        else:
            print_error("Interrupted before the search began.")
    return code if isinstance(code, int) else 0


def verbosity(quiet: bool) -> dict[str, int]:
    """Return the argument of `fit` that --quiet stands for."""
    return {"verbose": 0} if quiet else {}


def mode_of(resume: bool, overwrite: bool, join: bool = False) -> Mode:
    """Return the mode that at most one of three options chooses.

    Raises:
        InitxError: If two of them are passed.
    """
    chosen = [m for m, on in (("resume", resume), ("overwrite", overwrite), ("join", join)) if on]
    if len(chosen) > 1:
        first, second = chosen[:2]
        problem = f"--{first} and --{second} exclude each other"
        raise InitxError(first, True, f"False with --{second}", "Pass one of them.", problem)
    return cast(Mode, (chosen or ["new"])[0])


@contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Reword the `InitxError` of a `with` block: each argument gets the given name."""
    try:
        yield
    except InitxError as error:
        raise reworded(error, names) from error


def reworded(error: InitxError, names: Mapping[str, str]) -> InitxError:
    """Return an error that calls the library's arguments by the names of the command line.

    Args:
        error: An error of the library, which names arguments as `name`, `name=value` and mode="name".
        names: The names by argument, such as {"trials": "--trials"}.

    Example:

    >>> error = InitxError("batch_size", 0, "an integer >= 1", 'Or pass mode="resume".')
    >>> str(reworded(error, OPTIONS))
    '--batch-size must be an integer >= 1, got 0. Or pass --resume.'
    >>> error = InitxError("only", "x*", "", problem="`only='x*'` matches no layer")
    >>> str(reworded(error, OPTIONS))
    "--only 'x*' matches no layer."
    """
    return InitxError(
        names.get(error.argument, error.argument),
        error.received,
        in_options(error.allowed, names),
        in_options(error.remedy, names),
        in_options(error.problem, names),
    )


def in_options(text: str, names: Mapping[str, str] = OPTIONS) -> str:
    """Return a text of the library with the arguments that it names, in quotes or not, written as options.

    What another program wrote stays as it is: the text after "Keras: " or the name of an exception.

    >>> in_options("`task=regression` overrides it")
    '--task regression overrides it'
    >>> in_options("Pass another `target`. Keras: ValueError: `target` has no rank")
    'Pass another --target. Keras: ValueError: `target` has no rank'
    >>> in_options("Exclude it with skip='a/kernel', or pass data=.")
    "Exclude it with --skip 'a/kernel', or pass --data."
    """
    known = "|".join(map(re.escape, names))
    quoted = _QUOTED.search(text)
    own = text if quoted is None else text[: quoted.start()]

    def option(match: re.Match[str]) -> str:
        name, value = names[match[1] or match[3] or match[4]], match[2] or match[5]
        return f"{name} {value}" if value else name

    patterns = rf"`({known})(?:=([^`]*))?`|\bmode=\"({known})\"|\b({known})=('[^']*'|(?=[\s.,;:)]|$))"
    return re.sub(patterns, option, own) + text[len(own) :]


def _usage(error: TyperException, app: typer.Typer, arguments: Sequence[str]) -> str:
    """Return typer's error as sentences that name the value and the help of the command."""
    text = " ".join(error.format_message().split()).rstrip(".")
    parameter = getattr(error, "param", None)
    kind = _TYPES.get(getattr(getattr(parameter, "type_descriptor", None), "annotation", None))
    for option in getattr(parameter, "opts", ()):
        value = value_of(option, arguments)
        if kind is not None and value is not None:
            text = f"{option} must be {kind}, got {value!r}"
    known = [command.name for command in app.registered_commands]
    command = f"{arguments[0]} " if arguments and arguments[0] in known else ""
    return f"{text}. See keras-initx {command}--help."


def _results_folder(arguments: Sequence[str]) -> Path:
    """Return the results folder that the arguments name, or the default of the command."""
    folder = value_of("--results", arguments)
    return Path("results") / (arguments[0] if arguments else "") if folder is None else Path(folder)
