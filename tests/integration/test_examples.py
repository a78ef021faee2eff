"""Run every example as it stands, in a folder of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path):
    # A process of its own, as a user starts it. A deprecation inside a library is the library's; a
    # UserWarning would be shown to the user.
    command = [sys.executable, "-W", "error::UserWarning", str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


def test_there_is_something_to_run():
    assert len(EXAMPLES) >= 3
