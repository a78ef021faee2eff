"""Run every Python snippet of the README and of docs/, and check every command and link in them."""

import ast
import contextlib
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import typer.main
from keras_initx.tuning import Execution, objective, search
from typer.exceptions import TyperException

from keras_initx.cli import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [README, ROOT / "CONTRIBUTING.md", *PAGES]
# Pages whose program another test runs.
RUN_ELSEWHERE = {"kerastuner": ROOT / "tests/tuning/parallel/test_keras_tuner_chief.py"}
# What a page's snippets print, as its comments show it.
PRINTED = {
    "README": [" (0.005 at the last layer). Try initialize(model).", "True"],
    "diagnose": ["vanishing: pre-activation std 0.", " at the last layer). Try initialize(model)."],
    "initialize": ["sequential: initialized 101 weights by auto (101 mirrored); pre-activations 1 to 1"],
    "initializers": ["2.35171", "2.19369", "Scale(gain=2.0, mode='fan_in'", "std=0.0883883"],
}
# Programs of other projects.
FOREIGN = {"export", "wait", "tensorboard", "optuna-dashboard"}


def name(path: Path) -> str:
    return path.stem


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def commands(path: Path) -> Iterator[list[str]]:
    """Every command of a page, in blocks and in inline code, as its words."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in blocks(path, "(?:bash|console)") for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = re.findall(r"`([^`]+)`", prose)
    lines += [code for code in inline if re.match(r"(\w+=\S+ )?(keras-initx|make|python) [\w.]", code)]
    for line in lines:
        words = shlex.split(line.removesuffix(" ..."), comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield [word for word in words if word != "&"]


def source_of(script: Path) -> str:
    """Return the text of a script and of the neighbouring modules it imports: one may define its options."""
    text = script.read_text(encoding="utf-8")
    imported = re.findall(r"^from (\w+) import", text, re.MULTILINE)
    modules = [script.with_name(f"{name}.py") for name in imported]
    return "\n".join([text, *(module.read_text(encoding="utf-8") for module in modules if module.is_file())])


def check(words: list[str], page: Path) -> None:
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), words
    elif program == "keras-initx":
        group = typer.main.get_command(app)
        with group.make_context("keras-initx", []) as context:
            command_name, command, rest = group.resolve_command(context, arguments)
            # Raises for an option that the command does not have, or a value of another type.
            command.make_context(command_name, [*rest], parent=context)
    elif program == "python" and arguments[0] == "program.py":
        assert blocks(page, "python"), words
    elif program == "python":
        source = source_of(ROOT / arguments[0])
        for option in (word for word in arguments if word.startswith("--")):
            declared = option.removeprefix("--").replace("-", "_")
            assert f'"{option}"' in source or re.search(rf"\b{declared}: ", source), words
    elif program == "pip":
        assert arguments[0] == "install", words
    elif program.startswith(".ci/"):
        assert (ROOT / program).is_file(), words
    else:
        assert program in {*FOREIGN, "pre-commit"}, words


@contextlib.contextmanager
def eagerly(on: bool) -> Iterator[None]:
    """Run without tf.function where no model is trained: tracing deep models takes most of the time."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.config.run_functions_eagerly(on)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


def test_there_is_something_to_run():
    assert len(blocks(README, "python")) >= 5
    assert len(list(commands(README))) >= 12
    assert len(PAGES) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("path", [README, *PAGES], ids=name)
def test_python_snippets_run(path, tmp_path, monkeypatch, capsys):
    snippets = blocks(path, "python")
    if not snippets:
        pytest.skip("no Python on this page")
    if path.stem in RUN_ELSEWHERE:
        assert f"docs/{path.name}" in RUN_ELSEWHERE[path.stem].read_text(encoding="utf-8")
        return
    monkeypatch.chdir(tmp_path)
    # Without XLA, which changes nothing that a page shows.
    for function in (search, objective):
        monkeypatch.setitem(function.__kwdefaults__, "execution", Execution(jit_compile=False))
    policy = keras.config.dtype_policy()
    names: dict = {}
    try:
        for number, snippet in enumerate(snippets):
            # A page is one program; each snippet of the README stands on its own.
            if path == README:
                names = {}
            program = snippet if path == README else "".join(snippets)
            with eagerly(not any(name in program for name in ("search(", "objective("))):
                exec(compile(snippet, f"{path.name}[{number}]", "exec"), names)
    finally:
        keras.config.set_dtype_policy(policy)
    printed = capsys.readouterr().out
    for text in PRINTED.get(path.stem, ()):
        assert text in printed
    if path.stem == "diagnose":
        assert {"signal.png", "compare.png"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_commands_exist(path):
    for words in commands(path):
        check(words, path)


def test_a_wrong_command_is_noticed():
    for line in ("make nothing", "keras-initx tune --nothing", "python benchmarks/fans.py --nothing", "rm x"):
        with pytest.raises((AssertionError, TyperException)):
            check(line.split(), README)


def test_extras_exist():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"]["optional-dependencies"]
    for path in TEXTS:
        for extra in re.findall(r"keras-initx\[(\w+)\]", path.read_text(encoding="utf-8")):
            assert extra in extras, path.name


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_files_exist(path):
    folders = "tests|benchmarks|docs|examples|tuning|keras_initx"
    for file in re.findall(rf"`((?:{folders})/[\w/.]*)`", path.read_text(encoding="utf-8")):
        assert (ROOT / file).exists(), file


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 250


def test_programs_import_names_that_exist():
    programs = [
        path for folder in ("benchmarks", "docs", "examples") for path in (ROOT / folder).glob("*.py")
    ]
    imports = [
        (node.module, alias.name)
        for path in programs
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("keras_initx", "tests")
        for alias in node.names
    ]
    assert len(imports) > 30
    for module, imported in imports:
        package = importlib.import_module(module)
        if not hasattr(package, imported):
            importlib.import_module(f"{module}.{imported}")
