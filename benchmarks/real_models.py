"""Measure real models before and after `initialize`: pre-activations, gradients, and time.

    python benchmarks/real_models.py --write docs/real_models.md

The models are nine of `keras.applications` and seven in plain Keras (tests/support/zoo.py). The root mean
square of each layer's pre-activation is measured on held-out noise, with batch normalization in training
mode; after `initialize` it is divided by the target in the plan. The gradient of a random sum of the outputs
is measured by its root mean square at each pre-activation: its spread is the log10 of the largest over the
smallest layer, and "0 in" counts the layers that no gradient reaches. The time of `initialize` is divided by
the time of one forward pass of the noise that it measures on.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

import keras_initx
from keras_initx._graph import noise, trace

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.support import zoo
from tests.support.recorder import KINDS, pre_activations

MODELS: dict[str, Callable[[], keras.Model]] = {
    name: lambda name=name: getattr(keras.applications, name)(weights=None) for name in zoo.APPLICATIONS
} | zoo.PLAIN


@dataclass(frozen=True)
class Row:
    """One model: the share of layers within 2x and within 10 %, and the gradient's spread."""

    name: str
    layers: int
    within_2x: tuple[float, float]
    within_10: tuple[float, float]
    spread: tuple[str, str]
    passes: float


def gradients(model: keras.Model, x) -> list[float]:
    """Return the root mean square of the gradient at each pre-activation, in order of computation."""
    arrived: list[tf.Tensor] = []
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, KINDS)]

    def recording(activation):
        def record(z):
            if tf.executing_eagerly():
                arrived.append(z)
            return activation(z)

        return record

    kept = {id(layer): layer.activation for layer in layers}
    state = [keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    for layer in layers:
        layer.__dict__["activation"] = recording(layer.activation)
    try:
        with tf.GradientTape() as tape:
            outputs = [y for y in keras.tree.flatten(model(x, training=True)) if y.dtype.is_floating]
            total = sum(tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (1, 2))) for y in outputs)
        reached = [g for g in tape.gradient(total, arrived) if g is not None]
    finally:
        for layer in layers:
            layer.__dict__["activation"] = kept[id(layer)]
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
    return [float(np.sqrt(np.mean(np.square(g.numpy(), dtype="float64")))) for g in reached]


def spread(sizes: list[float]) -> str:
    """Return the log10 of the largest over the smallest size, and how many are 0."""
    sizes = [s for s in sizes if np.isfinite(s)]
    reached = [s for s in sizes if s > 0]
    text = f"{np.log10(max(reached) / min(reached)):.1f}" if reached else "-"
    return text + (f", 0 in {len(sizes) - len(reached)}" if len(reached) < len(sizes) else "")


def measure(name: str) -> Row:
    """Measure a model with Keras's own weights, then with `initialize`."""
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    # A small batch changes batch normalization itself, most of all in front of squeeze-and-excite gates.
    batch = {"MobileNetV3Small": 64}.get(name, 8 if name in zoo.APPLICATIONS else 256)
    x = noise(trace(model), batch, seed=77)
    within_2x, within_10, spreads, used = [], [], [], []

    def listening(*args):
        used.append(noise(*args))
        return used[-1]

    seconds = 0.0
    targets: dict[str, float] = {}
    for turn in range(2):
        if turn:
            keras_initx.initialize(model, seed=0)
            with patch.object(
                importlib.import_module("keras_initx.model_init.calibration.passes"), "noise", listening
            ):
                began = time.perf_counter()
                plan = keras_initx.initialize(model, seed=0)
                seconds = time.perf_counter() - began
            targets = {row.path.rpartition("/")[0]: row.rms_after for row in plan.rows}
        sizes = pre_activations(model, x, training=True)
        ratios = np.array([size / targets.get(path, 1.0) for path, size in sizes.items()])
        within_2x.append(float(np.mean((ratios > 0.5) & (ratios < 2))))
        within_10.append(float(np.mean(np.abs(ratios - 1) < 0.1)))
        spreads.append(spread(gradients(model, x)))
    forward = 0.0
    for _ in range(2):
        began = time.perf_counter()
        model(used[-1], training=True)
        forward = time.perf_counter() - began
    return Row(name, len(ratios), tuple(within_2x), tuple(within_10), tuple(spreads), seconds / forward)


def table(rows: list[Row]) -> Table:
    """Return a table with Keras's weights before the arrow and `initialize` after it."""
    result = Table(title="Keras's own weights -> initialize(model)", title_justify="left")
    columns = ("model", "layers", "within 0.5..2", "within 10 %", "gradient's spread", "time, in passes")
    for column in columns:
        result.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        shares = [f"{100 * a:.0f} -> {100 * b:.0f} %" for a, b in (row.within_2x, row.within_10)]
        result.add_row(row.name, str(row.layers), *shares, " -> ".join(row.spread), f"{row.passes:.1f}")
    return result


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    rows = [measure(name) for name in track(options.models, console=Console(stderr=True))]
    console = Console(width=120, record=True)
    console.print(table(rows))
    if options.write:
        text = __doc__.split("\n\n", 2)
        head = f"# Real models, before and after\n\n    {text[1].strip()}\n\n{text[2].strip()}\n\n"
        options.write.write_text(f"{head}```\n{console.export_text().rstrip()}\n```\n", encoding="utf-8")


if __name__ == "__main__":
    main()
