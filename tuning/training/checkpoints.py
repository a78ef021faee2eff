"""The weights of a trial's best seed, in a file that names it: another machine may have better ones."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import keras

from keras_initx.errors import InitxError

from .._variables import checkpoint_bytes
from ..storage import WEIGHT_FILES, atomic_write, disk_errors, reserve


class NoWeights(InitxError):
    """The weights of a trial's best seed are not in the folder of the results."""


def is_better(score: float, others: Iterable[float], direction: str) -> bool:
    """Whether a score is better than all others.

    >>> is_better(0.9, [0.8, 0.9], "max"), is_better(0.7, [0.8, 0.9], "min"), is_better(0.5, [], "max")
    (False, True, True)
    """
    return all(score > other if direction == "max" else score < other for other in others)


def keep(folder: Path, seed: int, model: keras.Model) -> None:
    """Writes the weights of a seed into a trial's folder.

    Those of the seed before it stay until the study knows of this one: whenever the process is killed, the
    best seed that the study has is there.
    """
    with atomic_write(_file(folder, seed)) as partial:
        # HDF5 that runs out of room as it closes a file prints its own tracebacks.
        reserve(partial, checkpoint_bytes(model))
        model.save_weights(partial)


@contextmanager
def saving_if_better(better: bool, folder: Path, seed: int, model: keras.Model) -> Iterator[None]:
    """Around the write that tells the study of a seed: its weights before, without the others after."""
    if better:
        keep(folder, seed, model)
    yield
    if better:
        remove_others(folder, seed)


def remove_others(folder: Path, seed: int) -> None:
    """Removes the weights of all seeds but one."""
    with disk_errors("results", folder, every_os_error=True):
        for path in folder.glob(WEIGHT_FILES):
            if path != _file(folder, seed):
                path.unlink(missing_ok=True)


def find(folder: Path, scores: Mapping[int, float], direction: str) -> Path:
    """The file of the best seed of a trial.

    Args:
        folder: The trial's.
        scores: The score of each seed, as the study has it.
        direction: "max" or "min".

    Raises:
        NoWeights: It is not there: the seed was trained elsewhere.
    """
    best = [s for s, score in scores.items() if is_better(score, set(scores.values()) - {score}, direction)]
    for seed in best:
        if (path := _file(folder, seed)).exists():
            return path
    allowed = f"a folder with the weights of the best seed of {folder.name}"
    if not best:
        raise NoWeights("results", str(folder.parent), allowed, "No seed of it was trained.")
    path = _file(Path(folder.name), best[0])
    remedy = (
        f"That is seed {best[0]}, which another machine or another folder trained: copy {path} from the "
        f"results there into this folder."
    )
    raise NoWeights("results", str(folder.parent), allowed, remedy)


def save_model(path: Path, load: Callable[[], keras.Model]) -> None:
    """Writes the model that `load` returns; where its weights are elsewhere, an older one is removed."""
    try:
        model = load()
    except NoWeights as error:
        with disk_errors("results", path.parent, every_os_error=True):
            path.unlink(missing_ok=True)
        warnings.warn(f"There is no {path.name} here. {error}", stacklevel=3)
        return
    with atomic_write(path) as partial:
        model.save(partial)


def _file(folder: Path, seed: int) -> Path:
    return folder / f"best_{seed}.weights.h5"
