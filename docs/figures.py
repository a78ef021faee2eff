"""Draw the bar charts of the reference: gains by activation."""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from keras_initx import Scale

# Blue and orange of Okabe and Ito, which every kind of colour blindness can separate. The hatching and the
# labels of the bars carry the same information without colour.
_STYLES = (
    {"facecolor": "#56B4E9", "edgecolor": "#004B76"},
    {"facecolor": "#E69F00", "edgecolor": "#5C4000", "hatch": "////"},
)
_MEANINGS = {
    "fan_in": "fan_in: Var[w] = gain / fan_in",
    "fan_avg": "fan_avg: Var[w] = gain / ((fan_in + fan_out) / 2)",
    "fan_out": "fan_out: Var[w] = gain / fan_out",
    "norm": "W = √gain · Q, with Q orthogonal",
}


def scales(title: str, by_activation: Mapping[str, Scale], path: Path) -> None:
    """Draw the gain of each activation as a bar; if modes differ, hatching and labels show the mode."""
    rows = sorted(by_activation.items(), key=lambda item: (-round(item[1].gain, 6), item[1].mode))
    modes = sorted({scale.mode for _, scale in rows}, key=list(_MEANINGS).index)
    style = dict(zip(modes, _STYLES, strict=False))
    with matplotlib.style.context("default"):
        figure, axes = _canvas(title, [name for name, _ in rows])
        for row, (_, scale) in enumerate(rows):
            axes.barh(row, scale.gain, height=0.7, **style[scale.mode])
            label = f"{scale.gain:.5g}" + (f"  {scale.mode}" if len(modes) > 1 else "")
            axes.annotate(label, (scale.gain, row), **_label_position(1))
        axes.set_xlim(0, 1.2 * rows[0][1].gain)
        axes.set_xlabel("gain, in " + ("W = √gain · Q" if modes == ["norm"] else "Var[w] = gain / fan"))
        # The long bars are at the top, so the lower right is empty.
        handles = [Patch(label=_MEANINGS[mode], **style[mode]) for mode in modes]
        axes.legend(handles=handles, loc="lower right", fontsize=8)
        _save(figure, path)


def both_gains(gains: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Draw the forward and backward gain of each activation as bars from 1 on a logarithmic axis."""
    rows = sorted(gains.items(), key=lambda item: -round(item[1][0], 6))
    labels = ("forward: 1 / E[φ(z)²]", "backward: 1 / E[φ'(z)²]")
    with matplotlib.style.context("default"):
        figure, axes = _canvas("Forward and backward gain by activation", [name for name, _ in rows], 0.34)
        for side, (style, label) in enumerate(zip(_STYLES, labels, strict=True)):
            for row, (_, both) in enumerate(rows):
                gain, height = both[side], row - 0.2 + 0.4 * side
                axes.barh(height, gain - 1, left=1, height=0.38, label=label if row == 0 else None, **style)
                direction = -1 if gain < 0.9995 else 1
                axes.annotate(f"{gain:.5g}", (gain, height), **_label_position(direction))
        axes.set_xscale("log")
        ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(0.05, 80)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel("gain of the variance, z ~ N(0, 1) (logarithmic; bars start at 1)")
        axes.legend(loc="lower right", fontsize=9)
        _save(figure, path)


def _canvas(title: str, names: list[str], row_height: float = 0.22) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 1.1 + row_height * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label_position(direction: int) -> dict:
    """Return the options that place a label right (1) or left (-1) of the end of its bar."""
    return {
        "xytext": (3 * direction, 0),
        "textcoords": "offset points",
        "ha": "left" if direction > 0 else "right",
        "va": "center",
        "fontsize": 8,
    }


def _save(figure: Figure, path: Path) -> None:
    # 64 colours are enough for bars and halve the file. Pillow, which matplotlib requires, does not write the
    # version of matplotlib into the file, which would change with every release.
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)
