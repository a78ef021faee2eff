"""A search of KerasTuner, shared by the tests that read it."""

from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from tests.support.keras_tuner_searches import run


@pytest.fixture(scope="session")
def searched(tmp_path_factory: Any) -> tuple[Path, keras_tuner.Tuner]:
    """The folder of a search, which no test may change, and the tuner that wrote it."""
    folder = tmp_path_factory.mktemp("kerastuner")
    return folder / "random", run(folder)
