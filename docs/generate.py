"""Write docs/reference from the docstrings and the gains of the package (`make docs`)."""

import functools
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docstrings
import figures
import jinja2
import keras

import keras_initx
from keras_initx._theory.formulas import FORMULAS
from keras_initx.initializers import NAMES

HERE = Path(__file__).parent
# The defaults of PyTorch (0.01), keras.activations.leaky_relu (0.2) and keras.layers.LeakyReLU (0.3).
SLOPES = (0.01, 0.1, 0.2, 0.3)
# The squares of torch.nn.init.calculate_gain, written out because PyTorch is not a dependency. The values for
# tanh, sigmoid and SELU are rules of thumb in PyTorch, not 1 / E[phi^2].
TORCH = {"linear": 1.0, "sigmoid": 1.0, "tanh": (5 / 3) ** 2, "relu": 2.0, "selu": (3 / 4) ** 2}
TORCH |= {f"leaky_relu, a = {slope:g}": 2 / (1 + slope**2) for slope in SLOPES}


def initializers() -> dict[str, type[keras_initx.LayerAware]]:
    """Return every public initializer by the name of its class, in the order of their strings."""
    public = [getattr(keras_initx, name) for name in keras_initx.__all__]
    classes = [c for c in public if inspect.isclass(c) and issubclass(c, keras_initx.LayerAware)]
    order = list(NAMES.values())
    classes.sort(key=lambda cls: order.index(cls) if cls in order else len(order))
    return {cls.__name__: cls for cls in classes if not inspect.isabstract(cls)}


def activations() -> dict[str, Any]:
    """Return every elementwise activation of Keras that works without arguments, and some leaky slopes."""
    by_label: dict[str, Any] = {}
    for name, (_, kinks) in FORMULAS.items():
        required = [p for p in inspect.signature(kinks).parameters.values() if p.default is p.empty]
        if name == "leaky_relu":
            for slope in SLOPES:
                leaky = functools.partial(keras.activations.leaky_relu, negative_slope=slope)
                by_label[f"leaky_relu, a = {slope:g}"] = leaky
        elif not required:
            by_label[name] = name
    return by_label


def depends_on_activation(cls: type) -> bool:
    """Return whether the gain of the class depends on the activation."""
    return {"activation", "gain"} <= inspect.signature(cls).parameters.keys()


def page(cls: type) -> dict[str, Any]:
    """Return the variables of the page template for a class.

    Raises:
        ValueError: The docstring does not describe every argument.
    """
    docstring = docstrings.parse(cls)
    texts, notes = docstrings.arguments(cls, initializers())
    parameters = inspect.signature(cls).parameters
    if set(parameters) != set(texts):
        raise ValueError(f"{cls.__name__} takes {[*parameters]}, its docstring describes {[*texts]}")
    intro, code = docstrings.example(cls)
    defaults = {name: _code(parameter.default) for name, parameter in parameters.items()}
    return {
        "name": cls.__name__,
        "strings": [name for name, named in NAMES.items() if named is cls],
        "line": docstring.line,
        "formula": docstring.formula,
        "signature": f"{cls.__name__}({', '.join(f'{k}={v}' for k, v in defaults.items())})",
        "arguments": [(name, default, texts[name]) for name, default in defaults.items()],
        "notes": notes,
        "errors": [(name, text) for names, text in docstring.entries("Raises") for name in names],
        "intro": intro,
        "code": code,
        "references": docstrings.references(docstring),
        "source": cls.__module__.replace(".", "/") + ".py",
        "plot": depends_on_activation(cls),
    }


def gains() -> list[dict[str, Any]]:
    """Return the rows of the table of activations, unrounded."""
    rows = []
    for name, activation in activations().items():
        moments = keras_initx.activation_moments(activation)
        rows.append(
            {
                "name": name,
                "forward": keras_initx.gain(activation),
                "backward": keras_initx.gain(activation, mode="backward"),
                "chi": moments.slope_second_moment / moments.second_moment,
                "mean": moments.mean,
                "torch": TORCH.get(name),
            }
        )
    return rows


def texts() -> dict[str, str]:
    """Return the text of every page by file name."""
    render = _templates(set(initializers()))
    pages = [page(cls) for cls in initializers().values()]
    return {
        "index.md": render("index", pages=pages),
        "gains.md": render("gains", rows=gains()),
        **{f"{shown['name']}.md": render("page", **shown) for shown in pages},
    }


def draw(folder: Path) -> None:
    """Draw every figure into the folder."""
    for name, cls in initializers().items():
        if not depends_on_activation(cls):
            continue
        # A softmax has no moments, but it has a rule, and most classifiers end in one.
        labelled = {**activations(), "softmax": "softmax"}
        by_activation = {label: cls(activation=phi).scale((64, 64)) for label, phi in labelled.items()}
        figures.scales(f"{name}: the gain by the layer's activation", by_activation, folder / f"{name}.png")
    both = {row["name"]: (row["forward"], row["backward"]) for row in gains()}
    figures.both_gains(both, folder / "gains.png")


def _code(default: Any) -> str:
    return f'"{default}"' if isinstance(default, str) else repr(default)


def _digits(value: float) -> str:
    # An integral that is 0 by symmetry comes out as about 1e-17, with a sign that depends on the processor.
    # Rounding removes the digits, and adding 0 turns -0 into 0.
    return f"{round(value, 12) + 0.0:.6g}"


def _templates(pages: set[str]) -> Callable[..., str]:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )

    def linked(text: str, name: str = "") -> str:
        """Return the text with a link for every class it names, except the page's own."""
        names = "|".join(sorted(pages - {name}))
        return re.sub(rf"`({names})`", r"[`\1`](\1.md)", text)

    environment.filters |= {
        "linked": linked,
        "digits": _digits,
        "cell": lambda text: text.replace("|", r"\|"),
    }
    return lambda template, **shown: environment.get_template(f"{template}.md.jinja").render(**shown)


def main(folder: Path = HERE / "reference") -> None:
    """Write all pages and figures, and remove obsolete ones."""
    pages = texts()
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.md"), *folder.glob("*.png")):
        old.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    draw(folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
