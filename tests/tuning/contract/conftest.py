"""The makers as fixtures."""

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.contract.makers import MAKERS, Maker, optuna_oracle


def _of(maker: Maker, folder: Path) -> Maker:
    def make(*args: Any, **options: Any) -> Any:
        return maker(folder, *args, **options)

    return make


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    """Return a function that makes a tuner; a second one resumes the first."""
    return _of(request.param, tmp_path)


@pytest.fixture(params=[m for m in MAKERS if m is not MAKERS[0]], ids=lambda maker: maker.__name__)
def make_ours(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    """Return the same for a promise that KerasTuner itself breaks."""
    return _of(request.param, tmp_path)


@pytest.fixture
def with_oracle(tmp_path: Path) -> Maker:
    """Return the same for what only the oracle offers."""
    return _of(optuna_oracle, tmp_path)
