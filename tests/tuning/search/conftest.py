"""Objectives of a small search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning import Execution, SearchSpace, objective
from keras_initx.tuning.search.objective import _TUNERS

from tests.support.objectives import Make


@pytest.fixture
def make(tmp_path: Path, pairs: Any, small_model: Any) -> Iterator[Make]:
    """Make an objective of two seeds and two epochs without XLA, unless options differ."""

    def run(model: Any = None, **options: Any) -> Any:
        (x, y), validation = pairs
        defaults = {"epochs": 2, "seeds": 2, "batch_size": 16, "results": tmp_path / "goal"}
        defaults |= {
            "space": SearchSpace(["auto", "own", "zeros"]),
            "execution": Execution(jit_compile=False),
        }
        model = model or (lambda: small_model())
        return objective(model, x, y, validation_data=validation, **(defaults | options))

    yield run
    _TUNERS.clear()
