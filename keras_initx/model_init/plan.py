"""The plan of `initialize`: its effect on each weight and the reason, as records, a table, JSON and HTML."""

import io
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_initx._display import cell_text, html_table, html_text, lines_text, listed, number, plain
from keras_initx.errors import printable


@dataclass(frozen=True)
class PlanUse:
    """One of several uses of a weight.

    Attributes:
        path: The path of the layer that uses it.
        kind: The class of that layer, or of the operation that reads the weight.
        roles: The roles of this use.
        rms: The root mean square of its result, without a bias; NaN if it was not measured.
    """

    path: str
    kind: str
    roles: tuple[str, ...]
    rms: float

    def __str__(self) -> str:
        size = f" (rms {number(self.rms)})" if math.isfinite(self.rms) else ""
        return f"{', '.join(self.roles) or self.kind} in {self.path}{size}"


@dataclass(frozen=True)
class PlanRow:
    """A weight of a plan.

    Attributes:
        path: The path of the weight, such as "encoder/dense_1/kernel".
        kind: The class of its layer, or of the operation that reads it.
        shape: Its shape.
        activation: The first activation that its output meets.
        roles: Its roles in the graph, such as "residual_end" or "head".
        depth: The number of weights in its plain chain.
        method: The method that drew it; "kept" if only= or skip= excluded it, "given", "zeros", "small",
            "frequencies" or "structured" if it was set on purpose, "frozen" if it is not
            trainable, "adapted" if its layer has LoRA or is quantized, "pretrained" if it was copied.
        fan_in, fan_out: Its fans.
        gain: The mean square of its entries times fan_in.
        rms_before: The root mean square of its output, on its actual inputs, with the new values before they
            are scaled. `diagnose` shows what the old values gave. For a weight that was not drawn, its
            present values count. NaN if it was not measured.
        rms_after: The same after scaling.
        target: The root mean square that its output was scaled to; None if it was left as drawn.
        error: The relative standard error of the measurement.
        measured_at: Where its output was measured: the pre-activation, an operation, the gates of a cell ...
        reason: The reason for the method.
        uses: The uses of a weight that several steps read; empty for any other.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    activation: str
    roles: tuple[str, ...]
    depth: int
    method: str
    fan_in: float
    fan_out: float
    gain: float
    rms_before: float
    rms_after: float
    target: float | None
    error: float
    measured_at: str
    reason: str
    uses: tuple[PlanUse, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The plan of one call of `initialize`.

    Attributes:
        model: The name of the model.
        method: The method that was asked for.
        rows: One row for each weight that was drawn, scaled, copied or left as it is, in graph order.
        notes: Remarks on the model as a whole, such as the reasons why layers stay closed to the trace.
        closed: The paths of the layers that the trace could not open. Their inner layers have no roles.
        dry_run: Whether the model was left as it was.
        seconds: The time that the call took.
    """

    model: str
    method: str
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = 0.0

    def summary(self) -> str:
        """Return one line: the weights by method, the range of scaled pre-activations, closed layers."""
        counts = Counter(row.method for row in self.rows).most_common()
        # Drawn weights first, then the others.
        counts.sort(key=lambda count: count[0] in NOT_DRAWN)
        methods = ", ".join(f"{n} {name}" for name, n in counts)
        drawn = sum(n for name, n in counts if name not in NOT_DRAWN)
        weights = f"{len(self.rows)} weight{'' if len(self.rows) == 1 else 's'}"
        if drawn < len(self.rows):
            weights = f"{drawn} of {weights}"
        sizes = [row.rms_after for row in self.rows if math.isfinite(row.rms_after)]
        signal = f"; pre-activations {min(sizes):.2g} to {max(sizes):.2g}" if sizes else ""
        closed = f"; not opened: {listed(self.closed)}" if self.closed else ""
        done = "would initialize" if self.dry_run else "initialized"
        return printable(f"{self.model}: {done} {weights} by {self.method} ({methods}){signal}{closed}")

    def table(self) -> Table:
        """Return a `rich` table with one row for each weight."""
        table = Table(title=escape(self.summary()), title_justify="left")
        for name, _ in _COLUMNS:
            table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
        for row in self.rows:
            table.add_row(*(cell_text(cell(row)) for _, cell in _COLUMNS))
        if self.notes:
            table.caption = escape(lines_text(self.notes))
            table.caption_justify = "left"
        return table

    def to_json(self) -> str:
        """Return the plan as JSON, with null for values that were not measured."""
        return json.dumps(plain(asdict(self)), indent=2)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=150, file=text).print(self.table())
        return text.getvalue()

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html_text(note)}</p>" for note in self.notes)
        return f"<p><b>{html_text(self.summary())}</b></p>{notes}{html_table(_COLUMNS, self.rows)}"


# The reason why a weight was not drawn, by the word that replaces its method.
NOT_DRAWN = {
    "kept": "excluded by only= or skip=",
    "frozen": "not trainable: left as it is",
    "adapted": "its layer has LoRA or is quantized: left as it is",
    "pretrained": "copied from pretrained=",
    "zeros": "zeros that let the rest of the model learn: kept on purpose unless only= names them",
    "small": "far smaller than any scheme, on purpose: left as it is unless only= names it",
    "frequencies": "frequencies of its periodic activation, set on purpose: left unless only= names it",
    "given": "its initializer is Constant(array): left as it is unless only= names it",
    "structured": "values that repeat, set on purpose: left as they are unless only= names them",
}

_NUMBERS = frozenset({"fan in", "rms as drawn", "rms scaled"})
_COLUMNS = (
    ("weight", lambda row: row.path),
    ("kind", lambda row: row.kind),
    ("activation", lambda row: row.activation),
    ("role", lambda row: ", ".join(row.roles)),
    ("method", lambda row: row.method),
    ("fan in", lambda row: f"{row.fan_in:g}"),
    ("rms as drawn", lambda row: number(row.rms_before)),
    ("rms scaled", lambda row: number(row.rms_after)),
    ("why", lambda row: row.reason),
)
