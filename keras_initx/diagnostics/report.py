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


@dataclass(frozen=True)
class LayerSignal:
    """A weighted layer: what arrives at its activation, what leaves it, and what flows back.

    Everything is of one batch. What was not measured, or does not exist, is NaN.

    Attributes:
        number: Its place in the order of the computation, from 1.
        path, kind: The layer's path and class; of a bare operation with a weight the layer around it.
        activation: The activation that its result meets.
        shape: That of what arrives there, samples first.
        mean, std, second_moment: Of all entries of the pre-activation (of the result, where no activation
            follows, or the layer's inside cannot be looked into).
        spread: sqrt of the mean variance over samples: what is left that tells samples apart.
        not_finite: The share of entries that are NaN or infinite.
        effective_rank: (tr G)^2 / tr(G^2) of the samples' Gram matrix G: in how many directions n samples
            differ, at most n - 1.
        alike: The mean cosine between two samples: 1 where all inputs look alike.
        tokens_alike: The same between two positions of a sample; NaN where there are none.
        units_differ: sqrt of (mean variance over units / second moment): 0 where all units are alike.
        after: The second moment of what the activation returns.
        dead: The share of units that return the same for all samples.
        saturated: The share of entries within 1 % of a bound of the activation.
        gradient_second_moment, gradient_mean: Of the gradient of the loss by the pre-activation.
        gradient_not_finite: The share of it that is NaN or infinite.
        gradient_units_differ: As `units_differ`, of the gradient.
        kernel_std: The standard deviation of the kernel's entries.
        kernel_gradient: The root mean square of the kernel's gradient.
        chi: fan_in E[w^2] E[phi'(z)^2], z Gaussian of the measured mean and variance: by how much a small
            difference between two inputs, or a gradient, grows in this layer; 1 is the edge of chaos.
        looks_up: Whether it is a look-up of rows, or depends on no data, as learned queries do: such a signal
            may be the same for all samples.
        ends_branch: Whether it is the last of a residual branch.
        verdicts: What is wrong, each a word from `VERDICTS`; empty where nothing is.
    """

    number: int
    path: str
    kind: str
    activation: str
    shape: tuple[int, ...]
    mean: float
    std: float
    second_moment: float
    spread: float
    not_finite: float
    effective_rank: float
    alike: float
    tokens_alike: float
    units_differ: float
    after: float
    dead: float
    saturated: float
    gradient_mean: float
    gradient_second_moment: float
    gradient_not_finite: float
    gradient_units_differ: float
    kernel_std: float
    kernel_gradient: float
    chi: float
    looks_up: bool = False
    ends_branch: bool = False
    verdicts: tuple[str, ...] = ()

    @property
    def gradient_rms(self) -> float:
        """The root mean square of the gradient of the loss by the pre-activation."""
        return math.sqrt(self.gradient_second_moment) if self.gradient_second_moment >= 0 else math.nan

    @property
    def gradient_norm(self) -> float:
        """The Euclidean norm of that gradient, of all samples and units together."""
        return self.gradient_rms * math.sqrt(math.prod(self.shape))

    @property
    def gradient_variance(self) -> float:
        """The variance of its entries."""
        return self.gradient_second_moment - self.gradient_mean**2


@dataclass(frozen=True)
class HeadSignal:
    """One head of an attention.

    Attributes:
        path: The layer's path.
        head: The number of the head, from 0.
        entropy: Mean over queries of the entropy of the weights, by its largest, log(keys): 0 where each
            query looks at one key, 1 where all keys weigh alike.
        spread: 1 - |mean weights|^2 / mean |weights|^2 over queries: 0 where all of them look alike.
        verdicts: "entropy collapse", "rank collapse".
    """

    path: str
    head: int
    entropy: float
    spread: float
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that a reader should know.

    Attributes:
        verdict: A word from `VERDICTS`.
        path: The layer or weight that it is about; "" for the whole model.
        text: What was measured, and what helps.
    """

    verdict: str
    path: str
    text: str


# The standard deviations of pre-activations that are healthy: the band of the plots. Verdicts come later.
HEALTHY = (0.03, 30.0)
# What each word means, in the order in which they matter.
VERDICTS = {
    "non-finite": "NaN or infinite values",
    "same inputs": "samples that are all the same",
    "no gradient": "a loss that no weight changes",
    "input scale": "inputs that are far larger or smaller than weights are drawn for",
    "exploding": "the signal, or its gradient, grows beyond what training can use",
    "vanishing": "the signal, or its gradient, is lost on the way",
    "symmetric": "all units are alike, and stay so",
    "inputs alike": "all samples look alike here",
    "dead": "units that return the same for every sample",
    "saturated": "an activation at its bounds, where it has no slope",
    "entropy collapse": "an attention head in which each query sees one key only",
    "rank collapse": "tokens that attention has made alike, or a head that would make them so",
    "identical": "two weights with the same values",
    "residual": "residual branches that were not scaled down for their number",
    "frozen": "no weight is trainable",
    "declared": "a kernel that is not what its initializer promises",
}
# Those that are worth knowing, but are no obstacle to a training.
NOTED = frozenset({"declared", "residual", "identical", "rank collapse", "frozen"})


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
        from keras_initx.diagnostics.boards import log

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
