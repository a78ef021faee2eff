"""What `initialize` did to each weight, and why: as records, a table, JSON and HTML."""

import html
import io
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_initx._display import html_table, number, plain


@dataclass(frozen=True)
class PlanRow:
    """One weight.

    Attributes:
        path: The weight's path, such as "encoder/dense_1/kernel".
        kind: The class of its layer, or of the operation that reads it.
        shape: Its shape.
        activation: The activation that its result meets.
        roles: What it is there for, as the graph shows.
        depth: How many weights the plain chain has that it stands in.
        method: The method that drew it; "kept" where it was left out, "pretrained" where it was copied.
        fan_in, fan_out: Its fans.
        gain: What the variance of its entries is, times fan_in.
        drawn: The root mean square of its result as drawn, on what it received; NaN where not measured.
        scaled: The same after scaling.
        target: What it was scaled to; None where it was left as drawn.
        error: The relative standard error of the measurement.
        measured_by: What the result was read from: the pre-activation, an operation, gates ...
        reason: Why this method.
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
    drawn: float
    scaled: float
    target: float | None
    error: float
    measured_by: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What was done to a model.

    Attributes:
        model: The model's name.
        method: The method that was asked for.
        rows: One for each weight that was drawn, scaled, copied or left out, in the order of the graph.
        notes: What a reader should know beside: layers that could not be opened, tables that were found.
        dry_run: Whether the model was left as it was.
        seconds: How long it took.
    """

    model: str
    method: str
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = 0.0

    def summary(self) -> str:
        """One line: how many weights by which method, and the range of the signal after."""
        counts = Counter(row.method for row in self.rows).most_common()
        # What was drawn first, then what was left.
        counts.sort(key=lambda count: count[0] in NOT_DRAWN)
        methods = ", ".join(f"{n} {name}" for name, n in counts)
        drawn = sum(n for name, n in counts if name not in NOT_DRAWN)
        weights = f"{len(self.rows)} weight{'' if len(self.rows) == 1 else 's'}"
        if drawn < len(self.rows):
            weights = f"{drawn} of {weights}"
        sizes = [row.scaled for row in self.rows if math.isfinite(row.scaled)]
        signal = f"; pre-activations {min(sizes):.2g} to {max(sizes):.2g}" if sizes else ""
        done = "would initialize" if self.dry_run else "initialized"
        return f"{self.model}: {done} {weights} by {self.method} ({methods}){signal}"

    def table(self) -> Table:
        """A `rich` table: one row for each weight."""
        table = Table(title=escape(self.summary()), title_justify="left")
        for name, _ in _COLUMNS:
            table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
        for row in self.rows:
            table.add_row(*(escape(cell(row)) for _, cell in _COLUMNS))
        if self.notes:
            table.caption = escape("\n".join(self.notes))
            table.caption_justify = "left"
        return table

    def to_json(self) -> str:
        """Everything, as JSON; what was not measured is null."""
        return json.dumps(plain(asdict(self)), indent=2)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(width=150, file=text).print(self.table())
        return text.getvalue()

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<p><b>{html.escape(self.summary())}</b></p>{notes}{html_table(_COLUMNS, self.rows)}"


# Why a weight was not drawn, which then stands in place of its method.
NOT_DRAWN = {
    "kept": "left out by only= or skip=",
    "frozen": "not trainable: left as it is",
    "pretrained": "copied from pretrained=",
}

_NUMBERS = frozenset({"fan in", "drawn", "scaled"})
_COLUMNS = (
    ("weight", lambda row: row.path),
    ("kind", lambda row: row.kind),
    ("activation", lambda row: row.activation),
    ("role", lambda row: ", ".join(row.roles)),
    ("method", lambda row: row.method),
    ("fan in", lambda row: f"{row.fan_in:g}"),
    ("drawn", lambda row: number(row.drawn)),
    ("scaled", lambda row: number(row.scaled)),
    ("why", lambda row: row.reason),
)
