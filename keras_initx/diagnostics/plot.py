"""`plot_signals`: the signal by depth, forward and backward, in one figure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from keras_initx.diagnostics.records import USUAL_STD, LayerSignal, SignalReport
from keras_initx.errors import printable

# The palette of Okabe and Ito 2008 for colour blindness. Line styles and markers distinguish lines in grey.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# With more layers than this, layers have no names on the axis.
_MAX_LABELS = 30
# Values outside are drawn at the edge: a line that ends at 1e-160 would flatten all others.
_RANGE = (1e-12, 1e12)


def plot_signals(reports: Mapping[str, SignalReport], title: str = "") -> Any:
    """Plot the standard deviation of pre-activations by depth, and the root mean square of their gradients.

    Both axes are logarithmic and show one line for each report. The usual range of pre-activations is
    shaded. A layer without signal is a cross at the lower edge, a layer that is not finite a triangle at the
    upper edge.

    Args:
        reports: Reports of `diagnose`, by the label of their line.
        title: The title of the figure. By default the name of the model and the data.

    Returns:
        A `matplotlib.figure.Figure`: `figure.savefig("signal.png")`.

    Example:

    >>> import keras, keras_initx
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> figure = plot_signals({"as built": keras_initx.diagnose(model)})
    >>> [axis.get_ylabel() for axis in figure.axes]
    ['pre-activation std', 'gradient rms']
    """
    from matplotlib.figure import Figure

    rows = max(reports.values(), key=lambda report: len(report.rows)).rows
    has_labels = len(rows) <= _MAX_LABELS
    figure = Figure(figsize=(7.2, 6.6 if has_labels else 5.6), layout="constrained")
    forward, backward = figure.subplots(2, 1, sharex=True)
    band = f"usual: {USUAL_STD[0]:g} to {USUAL_STD[1]:g}"
    forward.axhspan(*USUAL_STD, color="0.5", alpha=0.15, linewidth=0, label=band)
    for number, (name, report) in enumerate(reports.items()):
        style = {
            "color": _COLORS[number % len(_COLORS)],
            "linestyle": _LINES[number % len(_LINES)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 3.5,
            "linewidth": 1.4,
        }
        _plot_line(forward, report, lambda row: row.std, name, style)
        _plot_line(backward, report, lambda row: row.gradient_rms, name, style)
    forward.set_ylabel("pre-activation std")
    backward.set_ylabel("gradient rms")
    backward.set_xlabel("layer, from input to output")
    for axis in (forward, backward):
        axis.set_yscale("log")
        _explain_edges(axis)
        axis.grid(True, which="major", color="0.88", linewidth=0.6)
        axis.set_axisbelow(True)
    if has_labels:
        names = [printable(row.path.split("/", 1)[-1]) for row in rows]
        backward.set_xticks([row.number for row in rows], names, rotation=60, ha="right", fontsize=7)
    forward.legend(fontsize=8, frameon=False, ncols=2, loc="best")
    figure.suptitle(printable(title or _default_title(reports), keep="\n"), fontsize=10)
    return figure


def _explain_edges(axis: Any) -> None:
    """Explain the marks at the edges in the axis's title, and set a scale if no value is above zero."""
    values = [v for line in axis.lines for v in line.get_ydata() if line.get_label()[0] != "_" and v > 0]
    if not values:
        axis.set_ylim(*_RANGE)
    low, high = _RANGE
    notes = [f"at {low:g}: that or less"] if low in values else []
    notes += [f"at {high:g}: that or more"] if high in values else []
    markers = {
        line.get_marker() for line in axis.lines if line.get_label()[0] == "_" and len(line.get_xdata())
    }
    notes += [
        note for marker, note in (("x", "crosses: zero"), ("^", "triangles: not finite")) if marker in markers
    ]
    if notes:
        axis.set_title("; ".join(notes), fontsize=7, loc="right", pad=2)


def _default_title(reports: Mapping[str, SignalReport]) -> str:
    first = next(iter(reports.values()))
    return f"{first.model}: signal by depth ({first.samples} samples, gradients {first.loss_of})"


def _plot_line(
    axis: Any, report: SignalReport, figure: Callable[[LayerSignal], float], name: str, style: Any
) -> None:
    """Plot one figure of every layer as a line, and mark zeros and values that are not finite."""
    low, high = _RANGE
    values = [figure(row) for row in report.rows]
    numbers = [row.number for row in report.rows]
    heights = [min(max(v, low), high) if math.isfinite(v) and v > 0 else math.nan for v in values]
    axis.plot(numbers, heights, label=printable(name), **style)
    for is_marked, height, marker in (
        (lambda v: v == 0, 0.02, "x"),
        (lambda v: not math.isfinite(v), 0.98, "^"),
    ):
        marked = [n for n, v in zip(numbers, values, strict=True) if is_marked(v)]
        transform = axis.get_xaxis_transform()
        (marks,) = axis.plot(
            marked, [height] * len(marked), marker, color=style["color"], transform=transform
        )
        # Its height is a fraction of the axis and no value, so the layout must not make room for it.
        marks.set_in_layout(False)
