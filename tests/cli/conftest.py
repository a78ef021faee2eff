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
from tests.support.made_once import made_once


@dataclass(frozen=True)
class Finished:
    """A finished command: its folder, and what it printed on standard output."""

    folder: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run `TUNE` once: four trained and two screened trials in results/tune."""

    def make(folder: Path) -> None:
        (folder / "work").mkdir()
        out, err = io.StringIO(), io.StringIO()
        ends = pytest.raises(SystemExit)
        with chdir(folder / "work"), redirect_stdout(out), redirect_stderr(err), ends as stopped:
            main([*TUNE, "--quiet"])
        assert stopped.value.code == 0, err.getvalue()
        (folder / "out").write_text(out.getvalue(), encoding="utf-8")

    folder = made_once(tmp_path_factory, "tune", make)
    return Finished(folder / "work", (folder / "out").read_text(encoding="utf-8"))


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
