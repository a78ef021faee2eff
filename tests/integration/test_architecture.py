"""Who may import whom; and no import of a backend, nothing of Keras's private modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "keras_initx").rglob("*.py"), *(ROOT / "tuning").rglob("*.py")])

# Module of the core -> what it may import of the core.
ALLOWED = {
    "errors": set(),
    "formulas": set(),
    "pieces": set(),
    "fans": {"errors"},
    "moments": {"errors", "pieces"},
    "probing": {"errors", "pieces"},
    "activations": {"errors", "formulas", "moments", "probing"},
    "gains": {"errors", "moments", "activations"},
    "initializers": {"errors", "fans", "moments", "activations", "initializers"},
    "binding": {"errors", "initializers"},
    "redraw": {"errors", "initializers", "binding"},
    "owners": {"fans", "initializers"},
    "selection": {"errors"},
    "reinit": {"errors", "initializers", "binding", "owners", "redraw", "selection"},
    # The graph and the pass: records of calls, no rules about weights.
    "masks": set(),
    "observing": {"masks"},
    "graph": {"errors", "observing"},
    "replay": {"graph", "masks", "observing"},
    "steps": {"errors", "activations", "graph"},
    "roles": {"errors", "activations", "graph", "steps"},
    "sites": {"activations", "graph", "roles", "steps"},
    "grouping": {"graph", "roles", "sites", "steps"},
    "noise": {"errors", "graph", "steps"},
    "measuring": set(),
    "recurrent": {"masks", "measuring", "observing"},
    "calibrate": {"errors", "graph", "measuring", "observing", "recurrent", "replay"},
    # The methods: from a place in the graph to a choice.
    "mirroring": {"errors", "activations", "probing", "propagation"},
    "propagation": {"errors", "activations", "formulas", "moments", "pieces", "probing"},
    "shaping": {"errors", "activations", "moments", "pieces", "probing", "propagation"},
    "methods": {"errors", "activations", "initializers", "sites", "mirroring", "propagation", "shaping"}
    | {"methods"},
    "drawing": {"initializers", "methods"},
    "tables": {"drawing", "owners", "graph", "initializers", "methods", "sites", "steps"},
    # Around them.
    "snapshot": set(),
    "pretrained": {"errors", "snapshot"},
    "plan": set(),
    "jobs": {
        "errors",
        "drawing",
        "owners",
        "graph",
        "initializers",
        "measuring",
        "methods",
        "plan",
        "selection",
        "sites",
        "steps",
        "tables",
    },
    "model": {
        "errors",
        "binding",
        "calibrate",
        "drawing",
        "owners",
        "graph",
        "initializers",
        "measuring",
        "jobs",
        "methods",
        "steps",
        "noise",
        "plan",
        "pretrained",
        "reinit",
        "selection",
        "sites",
        "snapshot",
        "tables",
    },
    # What a pass shows of a model that is left as it is.
    "events": set(),
    "tracing": set(),
    "diagnostics": {
        "errors",
        "binding",
        "events",
        "activations",
        "drawing",
        "graph",
        "masks",
        "measuring",
        # To compare a model under several methods.
        "model",
        "noise",
        "observing",
        "owners",
        "plan",
        "redraw",
        "reinit",
        "replay",
        "sites",
        "snapshot",
        "steps",
        "tracing",
    },
}
WITHOUT_KERAS = {"errors", "fans", "formulas", "pieces", "moments"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module in ("keras_initx", "keras_initx.initializers"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name.islower()}
    return found


def unit(path: Path) -> str:
    return path.relative_to(ROOT / "keras_initx").parts[0].removesuffix(".py")


# Where TensorFlow is the backend, and only then.
LATE = {ROOT / "tuning/strategy.py": {"tensorflow"}}
# What Keras has no public way to, in one function each.
PRIVATE = {ROOT / "tuning/session.py": {"keras.src.utils"}}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_backend_and_nothing_private_of_keras(path):
    late = LATE.get(path, set())
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in getattr(node, "names", ()):
            assert name.name.split(".")[0] not in late
    for name in imports(path):
        assert name.split(".")[0] not in {"tensorflow", "jax", "torch"} - late, name
        assert not name.startswith(("keras.src", "keras_tuner.src")) or name in PRIVATE.get(path, ()), name


CORE = [p for p in SOURCES if p.is_relative_to(ROOT / "keras_initx") and unit(p) not in ("__init__", "cli")]


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_downwards_only(path):
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("keras_initx.")}
    assert inside <= ALLOWED[unit(path)] | {unit(path)}
    if unit(path) in WITHOUT_KERAS:
        assert not {name for name in imports(path) if name.split(".")[0] == "keras"}


TUNING = [p for p in SOURCES if p.is_relative_to(ROOT / "tuning") and p.name != "__main__.py"]


@pytest.mark.parametrize("path", TUNING, ids=lambda p: p.name)
def test_tuning_imports_the_public_package_only(path):
    public = {
        "keras_initx",
        "keras_initx.errors",
        "keras_initx.diagnostics",
        "keras_initx._event_files",
        "keras_initx._tf_logging",
        "keras_initx.reinitialize",
        "keras_initx.known_names",
    }
    public |= {
        f"keras_initx.{name}"
        for name in ("all_layers", "diagnose", "initialize", "kernel_groups", "known_methods")
    }
    assert {name for name in imports(path) if name.startswith("keras_initx")} <= public


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_concept(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
