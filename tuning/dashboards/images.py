"""Draw the images of a search: scores by trial, and the signal before training by depth."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_initx.diagnostics import USUAL_STD

from ..report import bounds_of
from ..study import TrialResult, best_trial

# The palette of Okabe and Ito, distinct for colour-blind readers; markers and dashes are distinct in grey.
_BLUE, _ORANGE, _SKY, _BLACK = "#0072B2", "#D55E00", "#56B4E9", "#000000"
_ENDED_EARLY: dict[str, dict[str, Any]] = {
    "screened": {"color": _BLACK, "marker": "x"},
    "pruned": {"color": "#CC79A7", "marker": "v"},
    "failed": {"color": "#E69F00", "marker": "s"},
}
_LINES: dict[str, dict[str, Any]] = {
    "screened": {"color": _BLACK, "linestyle": (0, (4, 2)), "linewidth": 1.2, "marker": "x", "zorder": 3},
    "other": {"color": _SKY, "linestyle": "-", "linewidth": 1.0, "zorder": 2},
    "best": {"color": _ORANGE, "linestyle": "-", "linewidth": 2.6, "marker": "o", "zorder": 4},
}
# The lowest signal on the logarithmic axis; smaller values, and zeros, are drawn here.
_FLOOR = 1e-12


def scores_image(trials: Sequence[TrialResult], objective: Any) -> bytes | None:
    """Draw the mean of each trial with its 95 % interval, and the best mean so far.

    Args:
        trials: All trials.
        objective: Has the `name` and the `direction` ("max" or "min") of the metric.

    Returns:
        A PNG file, or None if no trial is completed.
    """
    completed = [t for t in trials if t.status == "completed" and t.seeds]
    if not completed:
        return None
    numbers, means = [t.number for t in completed], np.array([t.sample.mean for t in completed])
    intervals = np.array([t.sample.interval(within=bounds_of(objective)) for t in completed])
    # The interval of a single seed is NaN: draw no bar.
    reach = np.nan_to_num(np.abs(intervals - means[:, None])).T
    best_so_far = (np.maximum if objective.direction == "max" else np.minimum).accumulate(means)
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.step(
            numbers, best_so_far, where="post", color=_ORANGE, linewidth=1.6, label="best so far", zorder=2
        )
        axes.errorbar(
            numbers, means, yerr=reach, fmt="o", color=_BLUE, capsize=3, label="mean, 95 % interval", zorder=3
        )
        for status, style in _ENDED_EARLY.items():
            if ended := [t.number for t in trials if t.status == status]:
                # At a fixed height at the bottom of the axes, since these trials have no score.
                transform = axes.get_xaxis_transform()
                axes.scatter(ended, [0.03] * len(ended), transform=transform, label=status, **style)
        # Leave room for these markers below the scores; they do not widen the value axis by themselves.
        axes.margins(y=0.12)
        axes.set_xlim(trials[0].number - 0.5, trials[-1].number + 0.5)
        axes.set(xlabel="trial", ylabel=objective.name, title="Scores by trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, fontsize=9, frameon=False)
        return _png(figure)


def signal_image(trials: Sequence[TrialResult], objective: Any) -> bytes | None:
    """Draw the signal of every trial before training by depth, forward and backward.

    A band marks the usual range of the forward signal. The backward signal has no band, since the size of
    a gradient depends on the loss.

    Args:
        trials: All trials.
        objective: As in `scores_image`.

    Returns:
        A PNG file, or None if no trial has a recorded signal.
    """
    shown = [t for t in trials if t.start]
    if not shown:
        return None
    best = best_trial(trials, objective.direction)
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(8, 4), layout="constrained")
        both = figure.subplots(1, 2)
        for axes, side in zip(both, ("forward", "backward"), strict=True):
            if side == "forward":
                band = f"usual: {USUAL_STD[0]:g} to {USUAL_STD[1]:g}"
                axes.axhspan(*USUAL_STD, color="0.5", alpha=0.15, linewidth=0, label=band, zorder=0)
            for trial in shown:
                kind = "screened" if trial.status == "screened" else "other"
                kind = "best" if best is not None and trial.number == best.number else kind
                label = {"best": f"best: trial {trial.number}", "other": "other trials"}.get(kind, kind)
                _curve(axes, trial, side, label, _LINES[kind])
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("layer, from the input")
            _finish(axes)
        both[0].set(title="Forward: std of the pre-activations", ylabel="std")
        both[1].set(title="Backward: rms of the kernels' gradients", ylabel="rms")
        handles, labels = both[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(
            unique.values(), unique.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False
        )
        return _png(figure)


def _curve(axes: Axes, trial: TrialResult, side: str, label: str, style: dict[str, Any]) -> None:
    known = {depth: getattr(layer, side) for depth, layer in trial.start.items()}
    depths = [depth for depth, value in known.items() if value is not None]
    values = np.array([known[depth] for depth in depths])
    axes.plot(depths, np.maximum(values, _FLOOR), label=label, markersize=4, **style)


def _finish(axes: Axes) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    # Without pyplot, whose global state belongs to the user.
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
