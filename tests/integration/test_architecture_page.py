"""Check docs/architecture.md against the code: its paths, its tree, its functions, its arrows."""

import ast
import itertools
import re
from pathlib import Path

import pytest

from tests.integration.test_architecture import CORE, ROOT, SOURCES, TUNING

PAGE = ROOT / "docs/architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
# Every file or folder in backticks; `__init__.py` alone means any folder's.
CODE = set(re.findall(r"`([\w./]+)`", PROSE)) - {"__init__.py"}
PATHS = sorted(path for path in CODE if re.fullmatch(r"(\w+/)*\w+\.(py|md)|(\w+/)+", path))
# `path`: `function` or `Class.method`, as in the two lives.
PLACES = re.findall(r"`([\w/]+\.py)`: `([\w.]+)`", PROSE)


def section(title: str) -> str:
    return re.split(r"^## ", TEXT.split(f"## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def tree() -> set[Path]:
    """The files and folders of the page's tree."""
    paths: set[Path] = set()
    folders: list[str] = []
    for line in re.findall(r"```text\n(.*?)```", section("The tree"), re.DOTALL)[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        words = line.split()
        names = list(itertools.takewhile(lambda word: word.endswith((".py", ".jinja", "/")), words))
        assert names, f"no file: {line}"
        assert len(names) < len(words) or depth == 0, f"no purpose: {line}"
        paths |= {Path(*folders[:depth], name) for name in names}
        if names[0].endswith("/"):
            folders[depth:] = names
    return paths


def arrows(number: int) -> dict[str, set[str]]:
    """The arrows of the page's first or second picture, by their origin."""
    picture = re.findall(r"```mermaid\n(.*?)```", section("Allowed imports"), re.DOTALL)[number]
    targets: dict[str, set[str]] = {}
    for line in picture.splitlines()[1:]:
        origin, _, ends = line.strip().partition(" --> ")
        targets.setdefault(origin, set()).update(ends.split(" & ") if ends else [])
    return targets


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert (ROOT / path).exists()


def test_the_tree_is_complete():
    files = {path.relative_to(ROOT) for path in SOURCES if not path.name.startswith("__")}
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    templates = {path.relative_to(ROOT) for path in (ROOT / "tuning").rglob("*.jinja")}
    assert tree() == files | folders | templates


@pytest.mark.parametrize(("path", "name"), PLACES)
def test_every_function_exists(path, name):
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in name.split("."):
        definitions = {n.name: n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert part in definitions
        body = definitions[part].body


@pytest.mark.parametrize(("number", "table"), [(0, CORE), (1, TUNING)], ids=["core", "tuning"])
def test_the_arrows_are_those_of_the_test(number, table):
    assert arrows(number) == table


def test_the_lives_have_six_steps():
    for title in ("The life of `initialize(model)`", "The life of a trial"):
        assert re.findall(r"^\| (\d) \|", section(title), re.MULTILINE) == [*"123456"]


def test_terms_are_explained_once():
    terms = re.findall(r"^\| ([^|]+) \| ", section("Glossary"), re.MULTILINE)[2:]
    assert 20 <= len(terms) == len(set(terms))


def test_the_page_names_things():
    assert len(PATHS) > 30
    assert len(PLACES) >= 15
