"""What the commands share: the data options, errors in one line, Ctrl-C that tells how to go on."""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.exceptions import TyperException

from keras_initx.errors import InitxError
from keras_initx.tuning import Dataset, SearchResult, load_csv, load_dataset, load_npz
from keras_initx.tuning.search_result import MODEL_FILE, RESULTS_FILE
from keras_initx.tuning.storage import SETTINGS

INTERRUPTED = 130
# What errors say in Python's words.
_FLAGS = re.compile(r"(?<![\w-])(resume|overwrite)(=True)?\b(?! search| it)")

# Plain text to a file or a pipe: no line is broken at 80 columns there.
console = Console(width=None if sys.stdout.isatty() else 120)

DatasetOption = Annotated[
    str,
    typer.Option("--dataset", help="A set that ships with scikit-learn: digits, wine, breast_cancer, iris."),
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Your own table: a header, numbers, one target column."),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="COLUMN", help="The column of --csv to predict: class names or class numbers."
    ),
]
NpzOption = Annotated[
    Path | None,
    typer.Option(
        "--npz", metavar="FILE", help="Your own arrays: x and y, or x_train, y_train (x_test, y_test)."
    ),
]
LogsOption = Annotated[
    Path | None,
    typer.Option(help="Folder for TensorBoard. [default: runs/ and the name of --results]"),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the search in --results.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Remove the search in --results first.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of tables.")]
JitOption = Annotated[
    bool, typer.Option("--jit-compile/--no-jit-compile", help="Compile the training step under XLA.")
]


def load_data(dataset: str, csv: Path | None, target: str | None, npz: Path | None) -> Dataset:
    """The data that the options name.

    Raises:
        InitxError: Options that exclude each other, and whatever the loader raises.
    """
    if csv is not None and npz is not None:
        raise InitxError("--npz", str(npz), "one of --csv and --npz")
    if csv is not None:
        if target is None:
            raise InitxError("--target", None, "the name of the column of --csv to predict")
        return load_csv(csv, target)
    if target is not None:
        raise InitxError("--target", target, "--target together with --csv")
    return load_npz(npz) if npz is not None else load_dataset(dataset)


def split_names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def split_rates(text: str) -> list[float]:
    """Positive numbers separated by commas.

    Raises:
        InitxError: Something that is not a number.
    """
    try:
        return [float(part) for part in split_names(text)]
    except ValueError:
        remedy = "Example: --learning-rates 0.001,0.003"
        raise InitxError("learning_rates", text, "numbers separated by commas", remedy) from None


def print_json(result: SearchResult) -> None:
    """The content of `results.json` on standard output."""
    path = result.folders.results / RESULTS_FILE
    typer.echo(json.dumps(json.loads(path.read_text(encoding="utf-8"))))


def print_where(result: SearchResult) -> None:
    """Where the results are, and how to look at them."""
    folder = result.folders.results
    print_plain(f"Best model:  {folder / MODEL_FILE}  (import keras_initx before you load it)")
    print_plain(f"All results: {folder / RESULTS_FILE}")
    print_plain(f"Dashboards:  {result.tensorboard}")


def print_plain(text: str) -> None:
    """A line as it is: neither wrapped nor read as markup, so that it can be copied."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def run_safely(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs a typer program and returns its exit code: no traceback for what a user can mend."""
    errors = Console(stderr=True)

    def say(text: str) -> None:
        errors.print(text, soft_wrap=True, markup=False, highlight=False)

    try:
        code = app(args=list(arguments), standalone_mode=False, obj=list(arguments))
    except InitxError as error:
        say(f"error: {_as_option(error)}")
        return 2
    except TyperException as error:
        say(f"error: {' '.join(error.format_message().split())} See keras-initx --help.")
        return 2
    except (OSError, RuntimeError) as error:
        say(f"error: {' '.join(str(error).split())}")
        return 1
    # Typer turns Ctrl-C into this code, outside of its standalone mode too.
    if code == INTERRUPTED:
        if (_results_folder(arguments) / SETTINGS).exists():
            say(f"Interrupted. What was done is saved. To go on:\n  {resume_line(arguments)}")
        else:
            say("Interrupted before anything was done.")
    return code if isinstance(code, int) else 0


def _results_folder(arguments: Sequence[str]) -> Path:
    """The folder that the arguments name, or the command's own."""
    for number, argument in enumerate(arguments):
        if argument.startswith("--results="):
            return Path(argument.removeprefix("--results="))
        if argument == "--results" and number + 1 < len(arguments):
            return Path(arguments[number + 1])
    return Path("results") / (arguments[0] if arguments else "")


def command_line(arguments: Sequence[str]) -> list[str]:
    """The arguments as they were typed."""
    return ["keras-initx", *arguments]


def resume_line(arguments: Sequence[str]) -> str:
    """The same command with --resume."""
    kept = [a for a in arguments if a not in ("--overwrite", "--resume")]
    return shlex.join(["keras-initx", *kept, "--resume"])


def worker_command(arguments: Sequence[str]) -> list[str]:
    """The same command as a process that joins the search."""
    kept, skipping = [], False
    for argument in arguments:
        name = argument.split("=")[0]
        if skipping:
            skipping = False
        elif name in ("--workers", "--trials-each", "--extra-seeds", "--storage"):
            skipping = "=" not in argument
        elif name not in ("--overwrite", "--resume", "--json", "--quiet", "-q"):
            kept.append(argument)
    return [sys.executable, "-m", "keras_initx.tuning", *kept[1:], "--join", "--quiet"]


def _as_option(error: InitxError) -> str:
    """The error in the words of the command line: its argument is called as the user typed it."""
    options = {
        "dataset", "tuner", "trials", "epochs", "seeds", "seed", "batch_size", "patience", "initializers",
        "activations", "learning_rates", "depth", "width", "results", "logs", "resume", "schemes",
        "pruner", "extra_seeds", "workers", "trials_each", "storage", "strategy",
        "out", "study_name",
    }  # fmt: skip
    name = error.argument
    if name in options:
        name = f"--{name.replace('_', '-')}"
    allowed, remedy = (_FLAGS.sub(r"--\1", text) for text in (error.allowed, error.remedy))
    return str(InitxError(name, _plain(error.received), allowed, remedy))


def _plain(received: Any) -> Any:
    return list(received) if isinstance(received, tuple) else received
