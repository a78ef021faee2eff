"""Groups of `search`'s options: where its results live, when training ends, how trials run."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import keras
from optuna.storages import BaseStorage

from keras_initx.errors import InitxError, check_positive, unknown_name

from ..dashboards import CommandLine
from ..parallel import Workers
from ..pruning import Pruner
from ..space import InitializerHyperModel, SearchSpace
from ..storage import Mode
from ..training import check_flags
from .arguments import check_kinds


@dataclass(frozen=True)
class Results:
    """Where the results of a search live, and what happens to a search that is already there.

    Attributes:
        folder: The folder of the study, the weights, `results.json`, the best model and `search.log`, which
            has one line for each trial.
        mode: "new" refuses a folder that holds a search. "resume" continues the search and runs only the
            missing seeds. "overwrite" removes the search first. "join" continues the search alongside other
            processes, or starts it if there is none, so that one program can be started several times; each
            process takes the next trial, or a trial whose process died.
        logs: The folder for TensorBoard. None means `logs` in the folder.
        storage: Where to keep the study. None means `study.db` in the folder. Otherwise a file that ends in
            ".journal", a URL ("postgresql+psycopg2://...") or an Optuna storage; the study is then named
            after the folder.
        command: A function that maps a trial's hyperparameters to the command line that repeats it, and None
            to the command line of the whole search. It returns None if no command line can. The TensorBoard
            page on how to repeat a search shows them; without it, the page shows calls of `search`.

    Raises:
        InitxError: An attribute is of the wrong type, or the mode is unknown.

    Example:

    >>> Results("results/mine", mode="resume").logs_folder.as_posix()
    'results/mine/logs'
    """

    folder: str | Path = "results/search"
    mode: Mode = "new"
    logs: str | Path | None = None
    storage: str | Path | BaseStorage | None = None
    command: CommandLine | None = None

    def __post_init__(self) -> None:
        kinds = {
            "folder": (str | Path, "the path of a folder"),
            "logs": (str | Path | None, "None or the path of a folder"),
        }
        check_kinds(vars(self), kinds)
        if not isinstance(self.mode, str):
            raise InitxError("mode", self.mode, f"one of {', '.join(get_args(Mode))}")
        if self.mode not in get_args(Mode):
            raise unknown_name("mode", self.mode, get_args(Mode))
        if self.command is not None and not callable(self.command):
            raise InitxError("command", self.command, "None or a function that returns a command line")

    @property
    def results_folder(self) -> Path:
        """The folder of the results, as a path."""
        return Path(self.folder)

    @property
    def logs_folder(self) -> Path:
        """The folder for TensorBoard."""
        return self.results_folder / "logs" if self.logs is None else Path(self.logs)


@dataclass(frozen=True)
class Stopping:
    """When a run or a trial ends before its last epoch.

    Attributes:
        patience: Stop a run after this many epochs without a better objective; None never stops.
        target: Minimize the number of epochs until the objective reaches this value, and stop each run
            there. A run that does not reach it counts as `epochs` + 1.
        screening: Whether to end a trial before its training if two batches show that it cannot learn: a loss
            or gradient that is not finite, no gradient except in the last layer, units that are all alike, or
            a loss far beyond reach.
        pruner: End a trial that falls behind: "median", "halving", "hyperband" (compare epochs), "wilcoxon"
            (compares seeds), an `optuna.pruners.BasePruner`, or one of each kind. None never ends one.

    Raises:
        InitxError: `patience` is not an integer >= 1, or `screening` not a bool.
    """

    patience: int | None = None
    target: float | None = None
    screening: bool = True
    pruner: Pruner | Sequence[Pruner] | None = None

    def __post_init__(self) -> None:
        if self.patience is not None:
            check_positive("patience", self.patience)
        check_flags(screening=self.screening)


@dataclass(frozen=True)
class Execution:
    """How the trials of a search run.

    Attributes:
        jit_compile: Whether to compile under XLA, whatever the model was compiled with. A model that XLA
            cannot compile is trained without it, with a warning.
        strategy: "mirrored" trains each trial on all GPUs of this machine at once, or on all devices of the
            backend if it has no GPU: `tf.distribute.MirroredStrategy` on TensorFlow, without XLA, and
            `keras.distribution.DataParallel` on JAX. `batch_size` then counts the rows of all devices
            together and must be a multiple of their number; the few last training rows that cannot be
            shared equally are dropped. With a single device it does the same as None. Not with `workers`.
        workers: Processes that run the trials while this one waits for them: `Workers`.

    Raises:
        InitxError: An attribute is of the wrong type.
    """

    jit_compile: bool = True
    strategy: str | None = None
    workers: Workers | None = None

    def __post_init__(self) -> None:
        check_flags(jit_compile=self.jit_compile)
        check_kinds(vars(self), {"workers": (Workers | None, "None or Workers(command, count)")})


# The options of `search` by the names that they have elsewhere: in its groups, in KerasTuner and in Optuna.
_ELSEWHERE = {
    **{field.name: f"space=SearchSpace({field.name}=...)" for field in fields(SearchSpace)},
    **{field.name: f"stopping=Stopping({field.name}=...)" for field in fields(Stopping)},
    **{field.name: f"execution=Execution({field.name}=...)" for field in fields(Execution)},
    **{field.name: f"results=Results({field.name}=...)" for field in fields(Results)},
    **{mode: f"results=Results(folder, mode={mode!r})" for mode in get_args(Mode)},
    **dict.fromkeys(("directory", "project_name"), "results=folder"),
    **dict.fromkeys(("max_trials", "n_trials"), "trials=20"),
    **dict.fromkeys(("sampler", "oracle"), "tuner=..."),
    "executions_per_trial": "seeds=3",
    "trials_each": "execution=Execution(workers=Workers(command, count, trials_each=...))",
    "quiet": "verbose=0",
    "fit": "the arguments of fit themselves, such as batch_size=32",
}
# What belongs to the study of an `objective`.
_OF_THE_STUDY = ("trials", "max_trials", "n_trials", "tuner", "sampler", "storage", "enqueue", "extra_seeds")


def check_not_elsewhere(
    fit: Mapping[str, Any],
    hypermodel: InitializerHyperModel,
    signature: inspect.Signature,
    in_study: bool = False,
) -> None:
    """Raise an `InitxError` for an argument of `fit` that is an option of `search` under another name.

    Args:
        fit: The arguments that are passed on to `fit`.
        hypermodel: Builds and trains the model; its own `fit` may take an argument with that name.
        signature: That of `search` or `objective`, whose arguments may be misspelt.
        in_study: Whether the options of a study belong to the Optuna study of an `objective`.
    """
    own = [name for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD]
    of_fit = list(inspect.signature(keras.Model.fit).parameters)
    for name in fit:
        if hypermodel.has_own_fit and hypermodel.fit_takes(name):
            continue
        way = _ELSEWHERE.get(name)
        if in_study and name in _OF_THE_STUDY:
            way = "it to optuna.create_study or study.optimize"
        near = get_close_matches(name, [*own, *of_fit], n=1)
        if name in of_fit or (way is None and not (near and near[0] in own)):
            continue
        remedy = f"Did you mean `{near[0]}`?" if way is None else f"Pass {way}."
        problem = f"`{name}` is not an argument of `{'objective' if in_study else 'search'}`"
        raise InitxError(name, fit[name], "another argument", remedy, problem)


def grouped(argument: str, value: Any, kind: type) -> Any:
    """Return a group of options, by default an empty one; raise an `InitxError` for another type."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InitxError(argument, value, f"a {kind.__name__}, such as {kind()}")
    return value
