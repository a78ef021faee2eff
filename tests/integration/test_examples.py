"""Run the examples unchanged, in an empty folder."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


# Clears the arguments, since an example reads its own.
RUN_ALL = """
import runpy, sys
paths, sys.argv = sys.argv[1:], sys.argv[:1]
for path in paths:
    print("example:", path)
    runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.slow
def test_the_examples_run_unchanged(tmp_path):
    # One process for all examples, since TensorFlow takes seconds to start. Warnings of libraries about
    # deprecations are ignored, but a UserWarning would be shown to the user.
    command = [sys.executable, "-W", "error::UserWarning", "-c", RUN_ALL, *map(str, EXAMPLES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = done.stdout.split("example: ")[1:]
    assert len(outputs) == len(EXAMPLES) >= 3
    for output in outputs:
        assert len(output.strip().splitlines()) > 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
