"""A small finished `keras-initx tune`, shared by the tests of the commands."""

import io
import shutil
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from keras_initx.cli import main
from tests.support.commands import TUNE


@dataclass(frozen=True)
class Finished:
    """A finished command: its folder, and what it printed on standard output."""

    folder: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run `TUNE` once: four trained and two screened trials in results/tune and runs/tune."""
    folder = tmp_path_factory.mktemp("tune")
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
        main([*TUNE, "--quiet"])
    assert stopped.value.code == 0, err.getvalue()
    return Finished(folder, out.getvalue())


@pytest.fixture
def in_a_new_folder(tmp_path: Path) -> Iterator[Path]:
    """Work in an empty folder."""
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def in_a_copy(finished: Finished, tmp_path: Path) -> Iterator[Path]:
    """Work in a copy of the folder of `finished`."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        yield tmp_path
