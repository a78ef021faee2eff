"""Start Python code in new processes that have already imported Keras, which takes seconds in each."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# One server for all tests of a process: it imports these modules, and forks a child for each start.
_PRELOAD = ["keras_initx.tuning", "keras_initx.cli", "tests.support.processes"]


def start(
    target: Callable[..., Any], *args: Any, output: Path, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Start `target(*args)` in a new process; `output` receives what it prints, `output` + ".err" the errors.

    An exit code that is returned or passed to `sys.exit` is the exit code of the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    process = context.Process(target=_run, args=(target, args, str(output), dict(environment or {})))
    process.start()
    return process


def errors_of(output: Path) -> str:
    """Return what a process printed on standard error."""
    return Path(f"{output}.err").read_text(errors="replace")


def command_line(*arguments: str) -> int:
    """Run `keras-initx` with these arguments; return its exit code."""
    from keras_initx.cli import app
    from keras_initx.cli.common import run_safely

    sys.argv = ["keras-initx", *arguments]
    return run_safely(app, list(arguments))


def source(code: str, folder: str = ".") -> None:
    """Run a program in a folder, as `python -c` does."""
    os.chdir(folder)
    exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})


def _run(target: Callable[..., Any], args: tuple[Any, ...], output: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    # A shell that runs the tests in the background makes its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, descriptor in ((output, 1), (f"{output}.err", 2)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), descriptor)
    sys.exit(target(*args))
