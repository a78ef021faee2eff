"""What `diagnose` found: as records, in words, a table, JSON and HTML."""

import html
import io
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_initx._display import html_table, number, plain, share, width
from keras_initx.diagnostics.records import HEALTHY, NOTED, Finding, HeadSignal, LayerSignal


@dataclass(frozen=True, repr=False)
class Report:
    """What one batch shows of a model.

    Attributes:
        model: The model's name.
        samples: How many samples the batch had.
        loss: The loss on it; NaN where there was none.
        loss_of: What the gradients are of, in words.
        rows: One for each weighted layer, in the order of the computation.
        heads: One for each attention head.
        findings: What is wrong, most serious first.
        notes: What a reader should know beside.
    """

    model: str
    samples: int
    loss: float
    loss_of: str
    rows: tuple[LayerSignal, ...]
    heads: tuple[HeadSignal, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that slows or stops a training."""
        return all(finding.verdict in NOTED for finding in self.findings)

    def summary(self) -> str:
        """In plain words: whether something is in the way of a training, what it is, and what helps."""
        wrong = [f for f in self.findings if f.verdict not in NOTED]
        stds = [row.std for row in self.rows if math.isfinite(row.std)]
        gradients = [row.gradient_rms for row in self.rows if math.isfinite(row.gradient_rms)]
        layers = f"{len(self.rows)} weighted layer{'' if len(self.rows) == 1 else 's'}"
        many = f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} in the way of a training"
        lines = [f"{self.model}: {many if wrong else 'nothing is wrong'} ({layers}, {self.samples} samples)."]
        if stds:
            low, high = HEALTHY
            outside = sum(not low <= std <= high for std in stds)
            of = f", {outside} of {len(stds)} outside of the healthy {low:g} to {high:g}" if outside else ""
            lines.append(f"Pre-activations have a std of {min(stds):.2g} to {max(stds):.2g}{of}.")
        if gradients and max(gradients) > 0:
            ends = f"{gradients[0]:.2g} at the first layer, {gradients[-1]:.2g} at the last"
            lines.append(f"Their gradients have a root mean square of {ends} ({self.loss_of}).")
        noted = [f for f in self.findings if f.verdict in NOTED]
        lines += [f"- {finding.text}" for finding in wrong]
        lines += [f"- to know: {finding.text}" for finding in noted[:_SHOWN]]
        if len(noted) > _SHOWN:
            lines.append(f"- and {len(noted) - _SHOWN} more to know: see report.findings")
        return "\n".join(lines)

    def table(self, *, narrow: bool = False) -> Table:
        """A `rich` table: one row for each weighted layer; `narrow` leaves columns out."""
        table = Table(title=escape(self.summary()), title_justify="left")
        columns = [c for c in _COLUMNS if not narrow or c[0] in _NARROW]
        for name, _ in columns:
            left = name in ("layer", "kind", "activation", "verdict")
            table.add_column(name, overflow="fold", justify="left" if left else "right")
        for row in self.rows:
            table.add_row(*(escape(cell(row)) for _, cell in columns), style="bold" if row.verdicts else None)
        if self.notes:
            table.caption = escape("\n".join(self.notes))
            table.caption_justify = "left"
        return table

    def heads_table(self) -> Table:
        """A `rich` table of the attention heads."""
        table = Table(title="Attention", title_justify="left")
        for name, _ in _HEADS:
            table.add_column(
                name, overflow="fold", justify="left" if name in ("layer", "verdict") else "right"
            )
        for head in self.heads:
            table.add_row(*(escape(cell(head)) for _, cell in _HEADS))
        return table

    def plot(self, *, title: str = "") -> Any:
        """Signal by depth, forward and backward, as a matplotlib figure: see `plot_signals`."""
        from keras_initx.diagnostics.plot import plot_signals

        return plot_signals({self.model: self}, title)

    def log(self, logdir: str | Path, step: int = 0) -> None:
        """Writes the figures of each layer, and the summary, for TensorBoard.

        Args:
            logdir: The folder of a run; it is made where it is not there. Later calls add to it.
            step: The step of a training that the report is of.

        Raises:
            InitxError: A folder that cannot be written to.
        """
        from keras_initx.diagnostics.tensorboard import log

        log(self, logdir, step)

    def to_json(self) -> str:
        """Everything, as JSON; what was not measured is null."""
        rows = [
            {**asdict(r), "gradient_norm": r.gradient_norm, "gradient_variance": r.gradient_variance}
            for r in self.rows
        ]
        return json.dumps(plain({**asdict(self), "healthy": self.healthy, "rows": rows}), indent=2)

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(width=width(), file=text)
        console.print(self.table(narrow=width() < _WIDE))
        if self.heads:
            console.print(self.heads_table())
        return text.getvalue()

    def _repr_html_(self) -> str:
        first, *rest = self.summary().splitlines()
        said = "".join(f"<br>{_html(line)}" for line in (*rest, *self.notes))
        heads = f"<p>Attention</p>{html_table(_HEADS, self.heads)}" if self.heads else ""
        return f"<p><b>{_html(first)}</b>{said}</p>{html_table(_COLUMNS, self.rows)}{heads}"

    def __repr__(self) -> str:
        return f"<Report: {self.summary().splitlines()[0]}>"


def _html(line: str) -> str:
    """A line of the summary; what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(line))


_SHOWN = 8
# Of all columns, and those that a terminal of 80 characters has room for.
_WIDE = 120
_NARROW = frozenset({"", "layer", "std", "dead", "gradient rms", "verdict"})
_HEADS = (
    ("layer", lambda head: head.path),
    ("head", lambda head: str(head.head)),
    ("entropy", lambda head: number(head.entropy)),
    ("spread", lambda head: number(head.spread)),
    ("verdict", lambda head: ", ".join(head.verdicts)),
)
_COLUMNS = (
    ("", lambda row: str(row.number)),
    ("layer", lambda row: row.path),
    ("kind", lambda row: row.kind),
    ("activation", lambda row: row.activation),
    ("mean", lambda row: number(row.mean)),
    ("std", lambda row: number(row.std)),
    ("dead", lambda row: share(row.dead)),
    ("saturated", lambda row: share(row.saturated)),
    ("rank", lambda row: number(row.effective_rank)),
    ("alike", lambda row: number(row.alike)),
    ("gradient rms", lambda row: number(row.gradient_rms)),
    ("chi", lambda row: number(row.chi)),
    ("verdict", lambda row: ", ".join(row.verdicts)),
)
