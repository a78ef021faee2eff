"""The same model under several initializers and methods, side by side, without training."""

import html
import io
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_initx._display import html_table, number, width
from keras_initx._weights import initializers_kept, reinitialize, untouched
from keras_initx.diagnostics.batch import batch_for
from keras_initx.diagnostics.diagnose import SAMPLES, check, diagnosed
from keras_initx.diagnostics.plot import plot_signals
from keras_initx.diagnostics.records import NOTED
from keras_initx.diagnostics.report import Report
from keras_initx.errors import InitxError
from keras_initx.model_init import initialize

AS_IS = "as it is"


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found.

    Attributes:
        model: The model's name.
        reports: A report for each start, by its name.
    """

    model: str
    reports: dict[str, Report]

    def table(self) -> Table:
        """A `rich` table: one row for each start."""
        table = Table(title=escape(f"{self.model}: signal at the start, {self._of()}"), title_justify="left")
        for name, justify in _COLUMNS:
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for name, report in self.reports.items():
            table.add_row(*(escape(cell) for cell in _cells(name, report)))
        return table

    def layers(self) -> Table:
        """A `rich` table: the pre-activation std of each layer under each start."""
        table = Table(title="Pre-activation std (gradient rms)", title_justify="left")
        table.add_column("layer", overflow="fold")
        for name in self.reports:
            table.add_column(escape(name), justify="right")
        for rows in zip(*(report.rows for report in self.reports.values()), strict=True):
            cells = [f"{number(row.std)} ({number(row.gradient_rms)})" for row in rows]
            table.add_row(escape(rows[0].path), *cells)
        return table

    def plot(self) -> Any:
        """All of them as one figure, as `plot_signals` draws it."""
        return plot_signals(self.reports)

    def to_json(self) -> str:
        """Every report, as JSON by the name of its start."""
        reports = {name: json.loads(report.to_json()) for name, report in self.reports.items()}
        return json.dumps({"model": self.model, "reports": reports}, indent=2)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=width(), file=text).print(self.table())
        return text.getvalue()

    def _repr_html_(self) -> str:
        columns = [(name, lambda cells, n=n: cells[n]) for n, (name, _) in enumerate(_COLUMNS)]
        rows = [_cells(name, report) for name, report in self.reports.items()]
        title = html.escape(f"{self.model}: signal at the start, {self._of()}")
        return f"<p><b>{title}</b></p>{html_table(columns, rows)}"

    def __repr__(self) -> str:
        return f"<Comparison of {self.model}: {', '.join(self.reports)}>"

    def _of(self) -> str:
        first = next(iter(self.reports.values()))
        return f"{first.samples} samples, gradients {first.loss_of}"


_COLUMNS = (
    ("start", "left"),
    ("std, least", "right"),
    ("std, most", "right"),
    ("last layer", "right"),
    ("gradient, first / last", "right"),
    ("samples alike", "right"),
    ("verdict", "left"),
)


def _cells(name: str, report: Report) -> tuple[str, ...]:
    stds = [row.std for row in report.rows if not math.isnan(row.std)]
    first, last = report.rows[0], report.rows[-1]
    ratio = first.gradient_rms / last.gradient_rms if last.gradient_rms else math.nan
    words = dict.fromkeys(f.verdict for f in report.findings if f.verdict not in NOTED)
    low, high = (number(min(stds)), number(max(stds))) if stds else ("-", "-")
    verdict = ", ".join(words) or "healthy"
    return name, low, high, number(last.std), number(ratio), number(last.alike), verdict


def compare(
    model: keras.Model,
    initializers: Sequence[Any] = (),
    methods: Sequence[str] = (),
    x: Any = None,
    y: Any = None,
    loss: Any = None,
    seed: int = 0,
    as_is: bool = True,
    samples: int = SAMPLES,
) -> Comparison:
    """Diagnoses a model under each initializer and each method of `initialize`; its weights come back.

    Args:
        model: Functional, Sequential or subclassed; built.
        initializers: What `reinitialize` takes: names, or initializers.
        methods: What `initialize` takes as its method.
        x, y, loss, samples: As in `diagnose`: one batch for all. `lsuv` scales on its `x`, too.
        seed: Of the draws.
        as_is: Whether to diagnose it as it is, too.

    Raises:
        InitxError: Nothing to compare; whatever `diagnose`, `reinitialize` or `initialize` raises. Every
            weight is then as it was.

    Example:

    >>> layers = [keras.layers.Dense(32, activation="tanh") for _ in range(30)]
    >>> model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
    >>> found = compare(model, ["zeros"], ["auto"], as_is=False)
    >>> {name: report.healthy for name, report in found.reports.items()}
    {'zeros': False, 'initialize: auto': True}
    """
    if isinstance(initializers, str) or isinstance(methods, str):
        raise InitxError("initializers", initializers, "a list of names or initializers")
    reports: dict[str, Report] = {}
    check(model, loss, samples)
    with untouched(model) as before, initializers_kept(model):
        # A generator gives a batch once.
        batch = batch_for(model, x, y, loss, samples)
        if as_is:
            reports[AS_IS] = diagnosed(model, batch, loss)
        for initializer in initializers:
            before.restore()
            reinitialize(model, initializer, seed)
            reports[_unique(_name(initializer), reports)] = diagnosed(model, batch, loss)
        for method in methods:
            before.restore()
            data = None if x is None or method != "lsuv" else batch.x
            initialize(model, method, data=data, seed=seed)
            reports[_unique(f"initialize: {method}", reports)] = diagnosed(model, batch, loss)
    if not reports:
        raise InitxError("initializers", initializers, "one initializer or method at least")
    return Comparison(model.name, reports)


def _name(initializer: Any) -> str:
    if isinstance(initializer, str):
        return initializer
    return str(getattr(initializer, "__name__", type(initializer).__name__))


def _unique(name: str, taken: dict[str, Report]) -> str:
    """`name`, or that with the first number that makes it another one."""
    numbered = (f"{name} ({n})" for n in itertools.count(2))
    return name if name not in taken else next(text for text in numbered if text not in taken)
