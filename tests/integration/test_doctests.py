"""Run the examples in the docstrings of all modules."""

import doctest
import importlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_backend

ROOT = Path(__file__).parents[2]


def modules():
    for path in sorted([*(ROOT / "keras_initx").rglob("*.py"), *(ROOT / "tuning").rglob("*.py")]):
        if "    >>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(("keras_initx", *parts) if parts[0] == "tuning" else parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
