"""Every example and every README snippet runs as it stands, in a folder of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def run(arguments, folder):
    # Deprecations inside the libraries are theirs; a UserWarning would be shown to whoever runs this.
    command = [sys.executable, "-W", "error::UserWarning", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path):
    assert run([str(path)], tmp_path).strip()
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.slow
def test_readme_snippets(tmp_path):
    for number, snippet in enumerate(SNIPPETS):
        (tmp_path / f"snippet_{number}.py").write_text(snippet, encoding="utf-8")
    # Each begins with nothing but what it imports; TensorFlow starts once for all of them.
    code = "import runpy, sys\nfor path in sys.argv[1:]: print(path); runpy.run_path(path)"
    run(["-c", code, *(f"snippet_{n}.py" for n in range(len(SNIPPETS)))], tmp_path)


@pytest.mark.slow
def test_what_the_page_of_diagnose_shows(tmp_path):
    text = (ROOT / "docs/diagnose.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    # One program: each goes on where the one before it ended.
    (tmp_path / "page.py").write_text("\n".join(snippets), encoding="utf-8")
    assert "vanishing; try initialize(model)" in run(["page.py"], tmp_path)
    assert {"signal.png", "compare.png"} <= {path.name for path in tmp_path.iterdir()}


def test_there_is_something_to_run():
    assert len(EXAMPLES) >= 3
    assert len(SNIPPETS) >= 3


def test_every_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)", text, re.MULTILINE))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in set(re.findall(r"keras-initx (\w[\w-]*)", text)):
        assert (ROOT / "keras_initx" / "cli" / f"{command.replace('-', '_')}.py").exists(), command
