"""`compare`: diagnose a model under several initializers and methods, without training."""

import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from rich.console import Console
from rich.table import Table

from keras_initx._display import cell_text, html_table, html_text, number, width
from keras_initx._weights import initializers_kept, reinitialize, untouched
from keras_initx.diagnostics.batch import batch_for
from keras_initx.diagnostics.diagnose import SAMPLES, check_arguments, diagnose_batch
from keras_initx.diagnostics.plot import plot_signals
from keras_initx.diagnostics.records import NOTED
from keras_initx.diagnostics.report import Report
from keras_initx.errors import InitxError, printable, unknown_name
from keras_initx.model_init import initialize, known_methods

AS_IS = "as it is"


@dataclass(frozen=True, repr=False)
class Comparison:
    """The reports on one model under several starts, the result of `compare`.

    Attributes:
        model: The model's name.
        reports: The report on each start, by its name.
        refused: Why a method does not apply to the model, by the name of its start.
    """

    model: str
    reports: dict[str, Report]
    refused: dict[str, str] = field(default_factory=dict)

    def table(self) -> Table:
        """Return a `rich` table with one row for each start."""
        table = Table(title=cell_text(self._title()), title_justify="left")
        for name, justify in _COLUMNS:
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for cells in self._rows():
            table.add_row(*map(cell_text, cells))
        return table

    def layers(self) -> Table:
        """Return a `rich` table of the pre-activation std of each layer under each start."""
        table = Table(title="Pre-activation std (gradient rms)", title_justify="left")
        table.add_column("layer", overflow="fold")
        for name in self.reports:
            table.add_column(cell_text(name), justify="right")
        for rows in zip(*(report.rows for report in self.reports.values()), strict=True):
            cells = [f"{number(row.std)} ({number(row.gradient_rms)})" for row in rows]
            table.add_row(cell_text(rows[0].path), *cells)
        return table

    def plot(self) -> Any:
        """Return all starts in one figure: see `plot_signals`."""
        return plot_signals(self.reports)

    def to_json(self) -> str:
        """Return every report, and every reason of a start without one, as JSON."""
        reports = {name: json.loads(report.to_json()) for name, report in self.reports.items()}
        return json.dumps({"model": self.model, "reports": reports, "refused": self.refused}, indent=2)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=width(), file=text).print(self.table())
        return text.getvalue()

    def _repr_html_(self) -> str:
        columns = [(name, lambda cells, n=n: cells[n]) for n, (name, _) in enumerate(_COLUMNS)]
        return f"<p><b>{html_text(self._title())}</b></p>{html_table(columns, self._rows())}"

    def __repr__(self) -> str:
        return printable(f"<Comparison of {self.model}: {', '.join(self.reports)}>")

    def _rows(self) -> list[tuple[str, ...]]:
        """Return the cells of each start; of one without a report, only the reason."""
        rows = [_cells(name, report) for name, report in self.reports.items()]
        blank = ("-",) * (len(_COLUMNS) - 2)
        return rows + [(name, *blank, f"does not apply: {why}") for name, why in self.refused.items()]

    def _title(self) -> str:
        first = next(iter(self.reports.values()))
        return f"{self.model}: signal at the start, {first.samples} samples, gradients {first.loss_of}"


_COLUMNS = (
    ("start", "left"),
    ("min std", "right"),
    ("max std", "right"),
    ("last layer std", "right"),
    ("gradient, first / last", "right"),
    ("sample cosine", "right"),
    ("verdict", "left"),
)


def _cells(name: str, report: Report) -> tuple[str, ...]:
    """Return the row of a start."""
    stds = [row.std for row in report.rows if not math.isnan(row.std)]
    first, last = report.rows[0], report.rows[-1]
    ratio = first.gradient_rms / last.gradient_rms if last.gradient_rms else math.nan
    verdicts = dict.fromkeys(f.verdict for f in report.findings if f.verdict not in NOTED)
    low, high = (number(min(stds)), number(max(stds))) if stds else ("-", "-")
    verdict = ", ".join(verdicts) or "healthy"
    return name, low, high, number(last.std), number(ratio), number(last.sample_cosine), verdict


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
    """Diagnose a model under several initializers and methods, then restore its weights.

    Args:
        model: A built functional, Sequential or subclassed model.
        initializers: Names of initializers, or initializers, as `reinitialize` takes them.
        methods: Methods of `initialize`. One that does not apply to the model, such as `residual` without
            residual sums, gets a row with the reason.
        x, y, loss, samples: As in `diagnose`. All starts are measured on the same batch; `lsuv` scales on its
            x, too.
        seed: The seed of the draws.
        as_is: Whether to diagnose the model with its current weights, too.

    Raises:
        InitxError: If there is nothing to compare, or for the reasons that `diagnose`, `reinitialize` and
            `initialize` list, or if no start applies to the model. Every weight is restored even then.

    Example:

    >>> layers = [keras.layers.Dense(32, activation="tanh") for _ in range(6)]
    >>> model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
    >>> comparison = compare(model, ["zeros"], ["auto"], as_is=False)
    >>> {name: report.healthy for name, report in comparison.reports.items()}
    {'zeros': False, 'initialize: auto': True}
    """
    for argument, names in (("initializers", initializers), ("methods", methods)):
        if isinstance(names, str):
            raise InitxError(argument, names, "a list of names", f"Pass a list: {argument}=[{names!r}].")
    for method in methods:
        if method not in known_methods():
            raise unknown_name("methods", method, known_methods())
    reports: dict[str, Report] = {}
    refused: dict[str, InitxError] = {}
    check_arguments(model, samples)
    with untouched(model) as before, initializers_kept(model):
        # Take the batch once: a generator yields it only once.
        batch = batch_for(model, x, y, loss, samples)
        if as_is:
            reports[AS_IS] = diagnose_batch(model, batch, loss)
        for initializer in initializers:
            before.restore()
            reinitialize(model, initializer, seed)
            reports[_unique(_name(initializer), reports)] = diagnose_batch(model, batch, loss)
        for method in methods:
            before.restore()
            data = None if x is None or method != "lsuv" else batch.x
            name = _unique(f"initialize: {method}", {**reports, **refused})
            try:
                initialize(model, method, data=data, seed=seed)
            except InitxError as error:
                # These are wrong for every method.
                if error.argument in ("data", "model", "seed"):
                    raise
                refused[name] = error
                continue
            reports[name] = diagnose_batch(model, batch, loss)
    if not reports and refused:
        raise next(iter(refused.values()))
    if not reports:
        problem = "There is nothing to compare: `initializers` and `methods` are empty, and `as_is` is False"
        remedy = "Pass at least one initializer or method."
        raise InitxError("initializers", initializers, "at least one initializer or method", remedy, problem)
    return Comparison(model.name, reports, {name: str(error) for name, error in refused.items()})


def _name(initializer: Any) -> str:
    if isinstance(initializer, str):
        return initializer
    return str(getattr(initializer, "__name__", type(initializer).__name__))


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`; if it is taken, append the lowest free number, from 2."""
    numbered = (f"{name} ({n})" for n in itertools.count(2))
    return name if name not in taken else next(text for text in numbered if text not in taken)
