"""The weights of a trial's best seed, in a file named after the seed.

The name matters because another machine may have trained a better seed.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import keras

from keras_initx.errors import InitxError, error_line

from .._variables import checkpoint_bytes, optimizers_of
from ..storage import WEIGHT_FILES, atomic_write, disk_errors, reserve


class NoWeights(InitxError):
    """The results folder lacks the weights of a trial's best seed."""


def is_better(score: float, others: Iterable[float], direction: str) -> bool:
    """Return whether a score is better than all others.

    >>> is_better(0.9, [0.8, 0.9], "max"), is_better(0.7, [0.8, 0.9], "min"), is_better(0.5, [], "max")
    (False, True, True)
    """
    return all(score > other if direction == "max" else score < other for other in others)


def save_weights(folder: Path, seed: int, model: keras.Model, argument: str) -> None:
    """Write the weights of a seed into a trial's folder.

    The weights of the previous best seed stay until the study has stored this seed. Whenever the process
    is killed, the folder contains the best seed that the study knows.
    """
    with atomic_write(_file(folder, seed), argument) as partial:
        # Reserve the space first: HDF5 prints its own tracebacks if the disk is full when it closes a file.
        reserve(partial, checkpoint_bytes(model))
        model.save_weights(partial)


@contextmanager
def saving_if_better(
    better: bool, folder: Path, seed: int, model: keras.Model | None, argument: str
) -> Iterator[None]:
    """Save a better seed's weights before a block that stores its result, and remove the others after.

    The training of a user's own may leave the model without weights: then there is nothing to save.
    """
    better = better and model is not None and bool(model.variables)
    if better:
        save_weights(folder, seed, model, argument)
    yield
    if better:
        remove_others(folder, seed, argument)


def remove_others(folder: Path, seed: int, argument: str) -> None:
    """Remove the weights of all seeds but one."""
    with disk_errors(argument, folder, every_os_error=True):
        for path in folder.glob(WEIGHT_FILES):
            if path != _file(folder, seed):
                path.unlink(missing_ok=True)


def find_weights(folder: Path, scores: Mapping[int, float], direction: str, argument: str) -> Path:
    """Return the weights file of a trial's best seed.

    Args:
        folder: The trial's folder.
        scores: The score of each seed in the study.
        direction: "max" or "min".
        argument: The name of the user's argument for the folder of all trials.

    Raises:
        NoWeights: The file is missing, because the seed was trained elsewhere.
    """
    best = [s for s, score in scores.items() if is_better(score, set(scores.values()) - {score}, direction)]
    for seed in best:
        if (path := _file(folder, seed)).exists():
            return path
    results, trial = str(folder.parent), folder.name
    allowed = f"a folder with the weights of the best seed of {trial}"
    if not best:
        problem = f"`{argument}` {results!r} has no weights of {trial}: no seed of it was trained"
        raise NoWeights(argument, results, allowed, "Resume the search to train it.", problem)
    path = _file(Path(trial), best[0])
    problem = f"`{argument}` {results!r} lacks the weights of the best seed of {trial}, seed {best[0]}"
    remedy = f"Another machine or folder trained that seed: copy {path} from there into this folder."
    raise NoWeights(argument, results, allowed, remedy, problem)


def load_weights(model: keras.Model, find: Callable[[], Path], argument: str) -> None:
    """Load the file that `find` returns, with the optimizer's state if the model has one optimizer.

    Args:
        model: The model.
        find: Finds the file.
        argument: As in `find_weights`.

    Raises:
        InitxError: The file is damaged.
    """

    def load() -> None:
        path = find()
        try:
            model.load_weights(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            # HDF5 does not name the file.
            problem = f"`{argument}`: the weights {str(path)!r} cannot be read ({error_line(error)})"
            raise InitxError(
                argument, str(path), "intact weights", "Restore a copy of that file.", problem
            ) from error

    optimizers = optimizers_of(model)
    if len(optimizers) == 1:
        # The file also contains the optimizer's state, whose variables must exist before it is loaded.
        optimizers[0].build(model.trainable_variables)
    with warnings.catch_warnings():
        # Only the model's own code knows which variables each of several optimizers has.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer", UserWarning)
        with suppress(FileNotFoundError):
            load()
            return
        # Another process has just replaced the file by the weights of a better seed.
        load()


def save_model(path: Path, load: Callable[[], keras.Model]) -> None:
    """Write the model that `load` returns, or remove an older model and warn.

    It cannot be written if its weights are elsewhere, or if Keras cannot serialize it: a subclass whose
    `__init__` has arguments needs a `get_config`. A search whose trials are done must not fail for that.
    """
    try:
        model = load()
        with atomic_write(path) as partial:
            model.save(partial)
    except NoWeights as error:
        reason = str(error)
    except (NotImplementedError, TypeError, ValueError) as error:
        if isinstance(error, InitxError):
            raise
        kind = type(model).__name__
        reason = (
            f"Keras cannot serialize the model ({error_line(error)}). Give {kind} a `get_config`, or use "
            "best_model(), which builds the model and loads its weights."
        )
    else:
        return
    with disk_errors("results", path.parent, every_os_error=True):
        path.unlink(missing_ok=True)
    warnings.warn(f"{path.name} was not written. {reason}", stacklevel=3)


def _file(folder: Path, seed: int) -> Path:
    return folder / f"best_{seed}.weights.h5"
