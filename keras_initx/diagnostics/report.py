"""`Report`, the result of `diagnose`: as records, in words, as a table, JSON or HTML."""

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

from keras_initx._display import (
    cell_text,
    html_table,
    html_text,
    lines_text,
    listed,
    number,
    plain,
    share,
    width,
)
from keras_initx.diagnostics.records import NOTED, USUAL_STD, Finding, HeadSignal, LayerSignal


@dataclass(frozen=True, repr=False)
class Report:
    """The diagnosis of a model on one batch.

    Attributes:
        model: The model's name.
        samples: The number of samples in the batch.
        loss: The loss on the batch; NaN without targets.
        loss_of: The source of the gradients, worded to follow "gradients": "of the loss", for example.
        rows: One record for each weighted layer, in the order of computation.
        heads: One record for each attention head.
        findings: The problems found, most serious first.
        notes: Remarks on how the model was measured.
        closed: The paths of the layers that were measured as one, because the trace could not open them.
        constant_loss: The loss of the best constant prediction, such as the mean of the targets or the class
            frequencies; NaN if it is not known.
        curvature: The largest absolute eigenvalue of the Hessian of the loss on the batch, by power
            iteration; NaN without targets. Plain SGD diverges above a learning rate of 2 / curvature.
    """

    model: str
    samples: int
    loss: float
    loss_of: str
    rows: tuple[LayerSignal, ...]
    heads: tuple[HeadSignal, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    constant_loss: float = math.nan
    curvature: float = math.nan

    @property
    def healthy(self) -> bool:
        """Return whether no finding would slow or stop training."""
        return all(finding.verdict in NOTED for finding in self.findings)

    def summary(self) -> str:
        """Return the diagnosis in plain words: the problems that would hinder training, and what helps."""
        problems = [finding for finding in self.findings if finding.verdict not in NOTED]
        noted = [finding for finding in self.findings if finding.verdict in NOTED]
        verdict = "no problems found"
        if unusual := self._outside():
            of = f"{unusual} of {_count(len(self._measured()), 'layer')}"
            verdict = f"nothing would stop training, but {of} may need another learning rate than usual"
        if problems:
            verdict = f"{_count(len(problems), 'problem')} would slow or stop training"
        size = f"{_count(len(self.rows), 'weighted layer')}, {_count(self.samples, 'sample')}"
        if self.samples == 1:
            size += ", so what differs between samples was not measured"
        lines = [f"{self.model}: {verdict} ({size}).", *self._figures()]
        lines += [f"- {finding.text}" for finding in problems]
        lines += [f"- note: {finding.text}" for finding in noted[:_MAX_NOTED]]
        if self.closed:
            lines.append(f"- note: measured as one layer each, because not opened: {listed(self.closed)}.")
        if len(noted) > _MAX_NOTED:
            lines.append(f"- and {_count(len(noted) - _MAX_NOTED, 'more note')} in report.findings")
        return lines_text(lines)

    def _figures(self) -> list[str]:
        """Return the range of the signal and of its gradient over the layers, in words."""
        stds = [row.std for row in self._measured()]
        gradients = [row.gradient_rms for row in self.rows if math.isfinite(row.gradient_rms)]
        lines = []
        if any(row.not_finite > 0 or row.gradient_not_finite > 0 for row in self.rows):
            # What is left of the layers is no range over them.
            stds = gradients = []
        if stds:
            low, high = USUAL_STD
            outside = self._outside()
            are = "is" if outside == 1 else "are"
            of = f"; {outside} of {len(stds)} layers {are} outside the usual range of {low:g} to {high:g}"
            line = f"The pre-activation std ranges from {min(stds):.2g} to {max(stds):.2g}"
            lines.append(f"{line}{of if outside else ''}.")
        if gradients and max(gradients) > 0:
            ends = f"{gradients[0]:.2g} at the first layer and {gradients[-1]:.2g} at the last"
            lines.append(f"The gradient rms is {ends} (gradients {self.loss_of}).")
        if math.isfinite(self.constant_loss):
            of = f"the best constant prediction has {self.constant_loss:.3g}"
            lines.append(f"The loss is {self.loss:.3g}; {of}.")
        if self.curvature > 0:
            lines.append(
                "On this batch, plain SGD is unstable above a learning rate of about "
                f"{2 / self.curvature:.2g} (2 / the largest curvature). The first steps may lower the "
                "curvature, and Adam has no such bound."
            )
        return lines

    def _measured(self) -> list[LayerSignal]:
        """Return the layers with a pre-activation std; layers that start at zero on purpose do not count."""
        return [row for row in self.rows if math.isfinite(row.std) and (row.kernel_std != 0 or row.verdicts)]

    def _outside(self) -> int:
        """Return the number of layers outside the usual range."""
        low, high = USUAL_STD
        return sum(not low * min(row.unit, 1.0) <= row.std <= high for row in self._measured())

    def table(self, *, narrow: bool = False) -> Table:
        """Return a `rich` table with one row per weighted layer; `narrow` keeps only the main columns."""
        table = Table(title=escape(self.summary()), title_justify="left")
        columns = [c for c in _COLUMNS if not narrow or c[0] in _NARROW]
        for name, _ in columns:
            left = name in ("layer", "kind", "activation", "verdict")
            table.add_column(name, overflow="fold", justify="left" if left else "right")
        for row in self.rows:
            table.add_row(
                *(cell_text(cell(row)) for _, cell in columns), style="bold" if row.verdicts else None
            )
        if self.notes:
            table.caption = escape(lines_text(self.notes))
            table.caption_justify = "left"
        return table

    def heads_table(self) -> Table:
        """Return a `rich` table with one row for each attention head."""
        table = Table(title="Attention", title_justify="left")
        for name, _ in _HEADS:
            table.add_column(
                name, overflow="fold", justify="left" if name in ("layer", "verdict") else "right"
            )
        for head in self.heads:
            table.add_row(*(cell_text(cell(head)) for _, cell in _HEADS))
        return table

    def plot(self, *, title: str = "") -> Any:
        """Return a matplotlib figure of the signal by depth, forward and backward: see `plot_signals`."""
        from keras_initx.diagnostics.plot import plot_signals

        return plot_signals({self.model: self}, title)

    def log(self, logdir: str | Path, step: int = 0) -> None:
        """Write the summary and the figures of each layer for TensorBoard.

        Args:
            logdir: The folder of a TensorBoard run, created if it does not exist. Later calls add to it.
            step: The training step that the report belongs to.

        Raises:
            InitxError: If `logdir` cannot be written to or is not a path, or `step` is not an integer.
        """
        from keras_initx.diagnostics.tensorboard import log

        log(self, logdir, step)

    def to_json(self) -> str:
        """Return the whole report as JSON; a figure that was not measured is null."""
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
        details = "".join(f"<br>{_html(line)}" for line in (*rest, *self.notes))
        heads = f"<p>Attention</p>{html_table(_HEADS, self.heads)}" if self.heads else ""
        return f"<p><b>{_html(first)}</b>{details}</p>{html_table(_COLUMNS, self.rows)}{heads}"

    def __repr__(self) -> str:
        return f"<Report: {self.summary().splitlines()[0]}>"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _html(line: str) -> str:
    """Return a line of the summary as HTML, with the text between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html_text(line))


# A summary lists at most this number of findings that do not hinder training.
_MAX_NOTED = 8
# All columns fit from this width on; a narrower terminal, of 80 characters, fits only the second set.
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
    ("cosine", lambda row: number(row.sample_cosine)),
    ("gradient rms", lambda row: number(row.gradient_rms)),
    ("chi", lambda row: number(row.chi)),
    ("verdict", lambda row: ", ".join(row.verdicts)),
)
