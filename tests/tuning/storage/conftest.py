"""Searches that are as small as possible, and a disk that tests can fill."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from keras_initx.tuning import SearchResult
from keras_initx.tuning.storage.results_folder import SearchFolders

from tests.support.search_folders import LOGS, OURS, SETTINGS, write

# One batch for each epoch: the tests of this folder are about what is stored.
SMALL = {"epochs": 1, "batch_size": 48, "screening": False}


@pytest.fixture(scope="session")
def compiled_model(small_model: Callable[..., keras.Model]) -> Callable[[], keras.Model]:
    """Return a function that builds a model whose steps are compiled, for runs of many epochs."""

    def build() -> keras.Model:
        model = small_model()
        model.run_eagerly = False
        return model

    return build


@pytest.fixture(scope="session")
def small_model() -> Callable[..., keras.Model]:
    def build(units: int = 4, rate: float = 0.05) -> keras.Model:
        layers = [keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(2, activation="softmax")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        loss = "sparse_categorical_crossentropy"
        # Tracing a step takes longer than the few steps of these searches.
        model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], run_eagerly=True)
        return model

    return build


@pytest.fixture
def quick(quick: Callable[..., SearchResult]) -> Callable[..., SearchResult]:
    return lambda *args, **options: quick(*args, **{**SMALL, **options})


def as_root(*command: str) -> bool:
    """Run a command that needs root's rights; return whether it succeeded."""
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a separate disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    if shutil.which("mount") is None or not as_root(*mount):
        pytest.skip("this machine lets no test mount a disk")
    yield folder
    as_root("umount", "-l", str(folder))


@pytest.fixture(scope="session")
def uninterrupted() -> dict[str, Any]:
    """Return a cache of the records of searches that ran without a failure, by their options."""
    return {}


@pytest.fixture
def folders(tmp_path: Path) -> SearchFolders:
    return SearchFolders(tmp_path / "deep" / "results", tmp_path / "logs")


@pytest.fixture
def used(folders: SearchFolders) -> SearchFolders:
    """Folders that hold a search."""
    folders.open(SETTINGS)
    write(folders.results, *OURS)
    write(folders.logs, *LOGS)
    return folders
