"""Start Python code in new processes that have already imported Keras, which takes seconds in each."""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# One server for all tests of a process: it imports these modules, and forks a child for each start. Optuna
# imports the modules of its databases only when it opens one, which every child would do again.
_PRELOAD = [
    "keras_initx.tuning",
    "keras_initx.cli",
    "alembic.command",
    "optuna.storages._rdb.models",
    "sqlalchemy.dialects.sqlite",
    "tests.support.processes",
]


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


def run(
    target: Callable[..., Any], *args: Any, output: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run `target(*args)` in a new process, which has to succeed within five minutes."""
    process = start(target, *args, output=output, environment=environment)
    process.join(1000)
    assert process.exitcode == 0, errors_of(output)[-3000:]


def errors_of(output: Path) -> str:
    """Return what a process printed on standard error."""
    return Path(f"{output}.err").read_text(errors="replace")


def command_line(*arguments: str) -> int:
    """Run `keras-initx` with these arguments; return its exit code."""
    from keras_initx.cli import app
    from keras_initx.cli.common import run_safely

    sys.argv = ["keras-initx", *arguments]
    return run_safely(app, list(arguments))


# A worker that runs no second seed until a file exists.
_WAITING_WORKER = """
import os, runpy, time
from keras_initx.tuning import InitializerTuner
run_seed = InitializerTuner.run_seed

def wait_and_run(tuner, trial, seed, *more):
    while seed == 1 and not os.path.exists({file!r}):
        time.sleep(0.05)
    return run_seed(tuner, trial, seed, *more)

InitializerTuner.run_seed = wait_and_run
runpy.run_module("keras_initx.tuning", run_name="__main__", alter_sys=True)
"""


def command_line_of_waiting_workers(file: str, *arguments: str) -> int:
    """Run `keras-initx` with workers that wait before seed 1 of a trial until a file exists.

    However slow the machine is, both workers are then at work at some moment, and each trial keeps one seed
    until the test has seen it.
    """
    from keras_initx.cli import tune

    true_command = tune.worker_command

    def waiting_command(arguments: Sequence[str]) -> list[str]:
        command = true_command(arguments)
        after = command.index("keras_initx.tuning") + 1
        return [command[0], "-P", "-c", _WAITING_WORKER.format(file=file), *command[after:]]

    tune.worker_command = waiting_command
    return command_line(*arguments)


def source(code: str, folder: str = ".", *arguments: str) -> None:
    """Run a program with some arguments in a folder, as `python -c` does."""
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})


def _run(target: Callable[..., Any], args: tuple[Any, ...], output: str, environment: dict[str, str]) -> None:
    # TensorFlow leaves many objects behind, and Python would search all of them for cycles again and again.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    os.environ.update(environment)
    # A shell that runs the tests in the background makes its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, descriptor in ((output, 1), (f"{output}.err", 2)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), descriptor)
    sys.exit(target(*args))
