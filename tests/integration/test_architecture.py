"""Check the layout: which folder imports which, no cycle, no backend, small files, mirrored tests.

docs/architecture.md draws the same arrows for readers.
"""

import ast
import graphlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

# It reads source code only.
pytestmark = [pytest.mark.check, pytest.mark.one_backend]

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "keras_initx").rglob("*.py"), *(ROOT / "tuning").rglob("*.py")])
FOLDERS = sorted({path.parent for path in SOURCES})
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

# Entry of keras_initx/ -> the entries that it may import.
CORE = {
    "errors": set(),
    "_event_files": set(),
    "_display": {"errors"},
    "_tf_logging": set(),
    "_theory": {"errors"},
    "initializers": {"errors", "_theory"},
    "_graph": {"errors", "_theory"},
    "_weights": {"errors", "initializers"},
    "model_init": {"errors", "_weights", "_graph", "initializers", "_theory", "_display", "_tf_logging"},
    "diagnostics": {
        "errors", "_weights", "_graph", "_theory", "initializers", "_display", "_event_files", "_tf_logging",
        # Only to compare a model under several methods, and to measure its weights.
        "model_init",
    },
}  # fmt: skip
# Entry of tuning/ -> the entries that it may import.
TUNING = {
    "data": set(),
    "storage": set(),
    "stats": set(),
    "observers": set(),
    "_variables": set(),
    "space": {"data", "_variables"},
    "pruning": {"_variables", "storage", "data"},
    "study": {"space", "pruning", "storage", "stats"},
    "parallel": {"study", "observers"},
    "keras_tuner_import": {"study", "storage", "space"},
    "training": {
        "data", "parallel", "study", "pruning", "space", "storage", "stats", "observers", "_variables",
    },
    "report": {"study", "storage", "stats", "keras_tuner_import"},
    "dashboards": {"report", "study", "pruning", "storage"},
}  # fmt: skip
# These, the faces and the command line may import everything.
TOP = {"search", "cli", "tuning", "__init__", "__main__"}
# What tuning may use of the core.
PUBLIC = {"keras_initx", "keras_initx.errors", "keras_initx.diagnostics", "keras_initx._event_files"}
PUBLIC |= {"keras_initx._tf_logging"}
# Imported inside a function, once TensorFlow is known to be the backend.
LATE = {ROOT / "tuning/training/devices.py": {"tensorflow"}}
# Private modules that have no public counterpart, each used in one function.
PRIVATE = {ROOT / "tuning/training/session.py": {"keras.src.utils"}}
# Files without a test file of the same name, and where they are tested.
TESTED_ELSEWHERE = {
    "keras_initx/initializers/base.py": "tests/initializers/test_contract.py",
    # It passes calls on to the study and the leases.
    "tuning/study/reporting.py": "tests/tuning/study/test_lease.py",
    # A protocol.
    "tuning/observers.py": "tests/tuning/dashboards/test_observer.py",
}
# Tests of no single file: contracts, programs of others, and a setting that concerns every file.
OF_SEVERAL_FILES = {
    "tests/initializers/test_contract.py",
    "tests/tuning/contract",
    "tests/tuning/test_precision.py",
    "tests/tuning/test_published_examples.py",
    "tests/tuning/test_published_guides.py",
    "tests/integration",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("keras_initx", *parts) if parts[0] == "tuning" else parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, type-only and late imports included."""
    package = module_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in MODULES and not defines(source, alias.name) else source


def defines(module: str, name: str) -> bool:
    """Return whether a package binds a name, which then hides its submodule of that name."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    other = [n for n in imported if n.module != module]
    return any(name == (a.asname or a.name) for n in other for a in n.names)


def entry(module: str) -> tuple[str, str]:
    """The tree that a module stands in, and the file or folder at its top."""
    parts = module.split(".")
    if parts[:2] == ["keras_initx", "tuning"]:
        return "tuning", parts[2] if len(parts) > 2 else "__init__"
    return "core", parts[1] if len(parts) > 1 else "__init__"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_backend_and_nothing_private_of_keras(path):
    late = LATE.get(path, set())
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in getattr(node, "names", ()):
            assert name.name.split(".")[0] not in late
    for name in imports(path):
        assert name.split(".")[0] not in {"tensorflow", "jax", "torch"} - late, name
        assert not name.startswith(("keras.src", "keras_tuner.src")) or name in PRIVATE.get(path, ()), name


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_folders_import_only_what_they_may(path):
    tree, own = entry(module_of(path))
    if own in TOP:
        return
    for module in imports(path):
        if module.split(".")[0] != "keras_initx":
            continue
        other_tree, other = entry(module)
        if tree == other_tree:
            assert other == own or other in (CORE if tree == "core" else TUNING)[own], module
        else:
            assert tree == "tuning", f"the core imports {module}"
            assert module in PUBLIC, module


def test_every_arrow_of_the_tables_is_used():
    """A table that allows more than the code needs would let imports creep in, and docs would draw them."""
    used = {
        (entry(module_of(path)), entry(module))
        for path in SOURCES
        for module in imports(path)
        if module.split(".")[0] == "keras_initx"
    }
    for tree, table in (("core", CORE), ("tuning", TUNING)):
        arrows = {(own, other) for (t, own), (u, other) in used if t == u == tree and own != other}
        assert {a for a in arrows if not TOP.intersection(a)} == {
            (own, other) for own, others in table.items() for other in others
        }


def test_the_trees_stay_as_small_as_they_are():
    assert len(CORE) <= 12
    assert sum(map(len, CORE.values())) <= 35
    assert len(TUNING) + len({"search", "scheme_comparison", "__init__"}) <= 18
    assert sum(map(len, TUNING.values())) <= 65


def test_the_tables_list_every_entry():
    entries = {entry(module) for module in MODULES}
    assert {name for tree, name in entries if tree == "core"} - TOP == CORE.keys()
    assert {name for tree, name in entries if tree == "tuning"} - TOP == TUNING.keys()


@pytest.mark.parametrize("table", [CORE, TUNING], ids=["core", "tuning"])
def test_no_import_points_up(table):
    # Raises CycleError.
    graphlib.TopologicalSorter(table).prepare()


def test_no_modules_import_each_other():
    graph = {
        module: {i for i in imports(path) if i in MODULES and i != module} for module, path in MODULES.items()
    }
    # A folder's face imports its modules: only they count.
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            graph[module] = {i for i in graph[module] if i.startswith(f"{module}.")}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_other_folders_are_imported_by_their_face(path):
    for module in imports(path):
        if module in MODULES and module.startswith("keras_initx"):
            folder = MODULES[module].parent
            top = folder in (ROOT / "keras_initx", ROOT / "tuning")
            if not top and entry(module) != entry(module_of(path)):
                assert MODULES[module].name == "__init__.py", (
                    f"import from {module_of(folder / '__init__.py')}"
                )


def test_the_command_line_and_the_examples_import_only_the_face_of_tuning():
    for path in sorted([*(ROOT / "keras_initx/cli").glob("*.py"), *(ROOT / "examples").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith("keras_initx.tuning."), f"{path.name} imports {name}"


def mirror(path: Path) -> Path:
    """The test file of a source file: keras_initx/_graph/trace.py is tested in tests/graph/test_trace.py."""
    parts = [part.removeprefix("_") for part in path.relative_to(ROOT).parts]
    parts = parts[1:] if parts[0] == "keras_initx" else parts
    return ROOT.joinpath("tests", *parts[:-1], f"test_{parts[-1]}")


MIRRORS = {mirror(path) for path in SOURCES if not path.name.startswith("__")}


@pytest.mark.parametrize("path", [p for p in SOURCES if not p.name.startswith("__")], ids=relative)
def test_a_file_has_a_test_file(path):
    elsewhere = TESTED_ELSEWHERE.get(relative(path))
    assert mirror(path).exists() is (elsewhere is None)
    assert elsewhere is None or (ROOT / elsewhere).exists()


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_a_test_file_belongs_to_a_file(path):
    """A second test file of one file has a longer name: test_race.py, test_race_searches.py."""
    if OF_SEVERAL_FILES.isdisjoint([relative(path), *map(relative, path.parents[: -len(ROOT.parents) - 1])]):
        names = [path.stem, *(path.stem.rsplit("_", n)[0] for n in range(1, path.stem.count("_")))]
        assert any(path.with_name(f"{name}.py") in MIRRORS for name in names)


@pytest.mark.parametrize("path", [*SOURCES, *(ROOT / "tests").rglob("*.py")], ids=relative)
def test_a_file_has_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_folder_has_at_most_twelve_files_and_a_face(folder):
    assert (
        len([path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]) <= 12
    )
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert any(isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__" for n in tree.body)


def test_the_wheel_has_every_folder():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = settings["tool"]["setuptools"]["packages"]
    assert sorted(packages) == sorted(module_of(folder / "__init__.py") for folder in FOLDERS)
