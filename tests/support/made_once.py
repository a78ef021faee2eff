"""Make what is expensive once for all workers of pytest-xdist, which otherwise share no fixture."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills in one worker, while the others that need it wait.

    Args:
        factory: The fixture `tmp_path_factory`.
        name: The name of the folder, one for the whole test run.
        make: Fills the empty folder. The next worker tries again if it raises.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each worker has its own folder inside the folder of the run.
        root = root.parent
    folder, lock, done = root / name, root / f"{name}.lock", root / f"{name}.done"
    while not done.exists():
        try:
            lock.mkdir()
        except FileExistsError:
            time.sleep(0.1)
            continue
        try:
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        finally:
            lock.rmdir()
    return folder
