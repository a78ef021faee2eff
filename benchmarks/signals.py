"""Measure signals through deep plain networks: their size, forward and backward, and two inputs' distance.

Each cell is one network at its start. Forward is the log10 of the mean square of the last hidden
pre-activation over the mean square of the first; backward is the same ratio of gradients; the third figure is
the correlation of two independent inputs at the last layer. A cell holds if the absolute values of both
ratios, averaged over the seeds, are under 0.3.

    python benchmarks/signals.py                                   # dense, depths 10 to 200, 3 seeds
    python benchmarks/signals.py --kinds convolution residual --depths 50
    python benchmarks/signals.py --depths 1000 --methods auto he exact lsuv

Finished runs are kept in `--results` and not repeated.
"""

import argparse
import itertools
import json
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import keras_initx
from keras_initx import initialize

ACTIVATIONS = {
    name: name
    for name in [
        "relu",
        "leaky_relu",
        "relu6",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "tanh",
        "softsign",
        "sigmoid",
        "hard_sigmoid",
        "exponential",
    ]
} | {"sin": keras.ops.sin}
DEPTHS = (10, 50, 100, 200)
KINDS = ("dense", "convolution", "residual")
WIDTH, CHANNELS, SIZE = 256, 64, 8
HOLDS = 0.3
# PyTorch's recommended gains of the standard deviation; 1 for other activations.
USUAL_GAINS = {"relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / 1.04), "tanh": 5 / 3, "selu": 3 / 4}
PEERS = ("glorot", "he", "lecun", "orthogonal_usual", "lsuv", "exact")
OURS = ("auto", "mirrored", "edge", "gpn", "shaped")
METHODS = PEERS + OURS


def network(kind: str, depth: int) -> keras.Model:
    """Build a plain network with `depth` hidden layers, still linear: the activation is set later."""
    if kind == "convolution":
        inputs = x = keras.Input((SIZE, SIZE, CHANNELS))
        for _ in range(depth):
            x = keras.layers.Conv2D(CHANNELS, 3, padding="same")(x)
        return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    inputs = x = keras.Input((WIDTH,))
    for _ in range(depth if kind == "dense" else depth // 2):
        h = keras.layers.Dense(WIDTH)(x)
        x = h if kind == "dense" else keras.layers.Add()([x, keras.layers.Dense(WIDTH)(h)])
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def hidden(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the weighted layers before the head."""
    return [layer for layer in model.layers if hasattr(layer, "kernel")][:-1]


def set_activation(model: keras.Model, kind: str, activation) -> None:
    """Give the hidden layers their activation; in a residual block only the first of two."""
    for number, layer in enumerate(hidden(model)):
        linear = kind == "residual" and number % 2
        layer.activation = keras.activations.get("linear" if linear else activation)


def start(model: keras.Model, method: str, activation: str, seed: int) -> str:
    """Draw the model's weights; return the method that `initialize` chose."""
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
    fixed = {
        "glorot": "glorot_uniform",
        "he": "he_normal",
        "lecun": "lecun_normal",
        "orthogonal_usual": keras.initializers.Orthogonal(gain=USUAL_GAINS.get(activation, 1.0)),
    }
    if method in fixed:
        keras_initx.reinitialize(model, fixed[method], seed=seed)
        return method
    if method == "lsuv":
        data = np.random.default_rng(seed).standard_normal((64, *model.input_shape[1:]), dtype="float32")
        return _used(initialize(model, "lsuv", data=data, seed=seed))
    return _used(initialize(model, "variance" if method == "exact" else method, seed=seed))


def _used(plan: keras_initx.Plan) -> str:
    return plan.rows[len(plan.rows) // 2].method


def propagate(model: keras.Model, kind: str, seed: int) -> dict[str, float]:
    """Return the ratios of one drawn network, and the correlation of independent inputs at its end."""
    layers = hidden(model)
    shape = (8 if kind == "convolution" else 64, *model.input_shape[1:])
    x = tf.random.stateless_normal(shape, (seed, 1))
    with tf.GradientTape() as tape:
        first = _result(layers[0], x)
        tape.watch(first)
        last = first
        if kind == "residual":
            h = layers[0].activation(first)
            stream = x + _result(layers[1], h)
            # The residual stream should keep its size; it begins after the first block.
            first = stream
            tape.watch(first)
            last = first
            for one, two in zip(layers[2::2], layers[3::2], strict=True):
                last = last + _result(two, one.activation(_result(one, last)))
        else:
            for before, layer in itertools.pairwise(layers):
                last = _result(layer, before.activation(last))
        head = model.layers[-1]
        h = last if kind == "residual" else layers[-1].activation(last)
        outputs = tf.reshape(h, (h.shape[0], -1)) @ head.kernel.value + head.bias.value
    # Start at the outputs, so that the last hidden layer receives a gradient, not noise.
    cotangent = tf.random.stateless_normal(outputs.shape, (seed, 2))
    gradients = tape.gradient(outputs, [first, last], output_gradients=cotangent)
    return {
        "forward": _log_ratio(last, first),
        "backward": _log_ratio(*gradients),
        "correlation": _correlation(last),
    }


def _result(layer, h):
    if isinstance(layer, keras.layers.Dense):
        return h @ layer.kernel.value + layer.bias.value
    return tf.nn.conv2d(h, layer.kernel.value, 1, "SAME") + layer.bias.value


def _log_ratio(above, below) -> float:
    with np.errstate(all="ignore"):
        squares = [np.mean(np.square(np.asarray(t, dtype="float64"))) for t in (above, below)]
        return float(np.log10(squares[0]) - np.log10(squares[1]))


def _correlation(z) -> float:
    rows = np.asarray(z, dtype="float64").reshape(z.shape[0], -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = rows @ rows.T
    return float(np.mean(pairs[np.triu_indices(len(rows), 1)]))


def run(options: argparse.Namespace) -> None:
    """Run every cell that is not in the results yet."""
    done = {_key(row) for row in read(options.results)}
    for kind in options.kinds:
        for depth in options.depths:
            model = None
            for name in options.activations:
                for method in options.methods:
                    for seed in range(options.seeds):
                        row = {
                            "kind": kind,
                            "depth": depth,
                            "activation": name,
                            "method": method,
                            "seed": seed,
                        }
                        if _key(row) in done:
                            continue
                        model = model or network(kind, depth)
                        set_activation(model, kind, ACTIVATIONS[name])
                        began = time.perf_counter()
                        try:
                            row["used"] = start(model, method, name, seed)
                            row |= propagate(model, kind, seed)
                        except keras_initx.InitxError as error:
                            row["error"] = str(error)
                        row["seconds"] = round(time.perf_counter() - began, 3)
                        with options.results.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[dict]:
    """Return the rows of the results file; none if it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _key(row: dict) -> tuple:
    return tuple(row[name] for name in ("kind", "depth", "activation", "method", "seed"))


def cell(rows: list[dict]) -> tuple[bool, str, str]:
    """Return whether a cell holds, its figures, and why it does not."""
    failed = next((row["error"] for row in rows if "error" in row), None)
    if failed:
        return False, "-", failed.split(";")[0]
    with np.errstate(all="ignore"):
        # Average absolute values: a growing and a vanishing seed must not cancel.
        signs = {k: np.sign(np.mean([row[k] for row in rows])) for k in ("forward", "backward")}
        forward, backward = (float(signs[k] * np.mean([abs(row[k]) for row in rows])) for k in signs)
    correlation = float(np.mean([row["correlation"] for row in rows]))
    text = f"{forward:+.1f}/{backward:+.1f} {correlation:.2f}"
    reasons = []
    for name, value in (("forward", forward), ("backward", backward)):
        if not math.isfinite(value):
            reasons.append(f"{name} not finite")
        elif abs(value) >= HOLDS:
            reasons.append(f"{name} {'grows' if value > 0 else 'vanishes'} by 10^{value:+.1f}")
    return not reasons, text, f"{rows[0].get('used', '')}: {', '.join(reasons)}" if reasons else ""


def report(options: argparse.Namespace, console: Console) -> None:
    """Print how many cells hold, then every cell of one method, with its reason."""
    cells: dict[tuple, list[dict]] = {}
    for row in read(options.results):
        cells.setdefault((row["kind"], row["depth"], row["method"], row["activation"]), []).append(row)
    methods = [m for m in METHODS if any(key[2] == m for key in cells)]
    counts = Table(title=f"Cells that hold, of {len(ACTIVATIONS)} activations", title_justify="left")
    counts.add_column("network")
    for method in methods:
        counts.add_column(method, justify="right")
    for kind, depth in sorted({key[:2] for key in cells}, key=lambda k: (KINDS.index(k[0]), k[1])):
        held = []
        for method in methods:
            same_network = [rows for key, rows in cells.items() if key[:3] == (kind, depth, method)]
            held.append(
                f"{sum(cell(rows)[0] for rows in same_network)}/{len(same_network)}" if same_network else ""
            )
        counts.add_row(f"{kind} {depth}", *held)
    console.print(counts)
    for kind in KINDS:
        depths = sorted({key[1] for key in cells if key[0] == kind and key[2] == options.show})
        if not depths:
            continue
        title = f"{kind}, {options.show}: log10 forward/backward, correlation of two inputs"
        table = Table(title=title, title_justify="left")
        table.add_column("activation")
        for depth in depths:
            table.add_column(str(depth))
        table.add_column("does not hold because", overflow="fold")
        for name in ACTIVATIONS:
            by_depth = {d: cells.get((kind, d, options.show, name)) for d in depths}
            judged = {d: cell(rows) for d, rows in by_depth.items() if rows}
            why = "; ".join(f"{d}: {t[2]}" for d, t in judged.items() if t[2])
            table.add_row(name, *(judged[d][1] if d in judged else "" for d in depths), why)
        console.print(table)


def main() -> None:
    """Run the command line."""
    # Keras builds a functional model recursively.
    sys.setrecursionlimit(100_000)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["dense"], choices=KINDS)
    parser.add_argument("--depths", nargs="+", type=int, default=list(DEPTHS))
    parser.add_argument("--activations", nargs="+", default=list(ACTIVATIONS), choices=ACTIVATIONS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--show", default="auto", choices=METHODS, help="the method whose cells are printed one by one"
    )
    parser.add_argument("--results", type=Path, default=Path("results/signals.jsonl"))
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--table", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        run(options)
    console = Console(width=150, record=True)
    report(options, console)
    if options.table:
        text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
        head = "# Signals through deep plain networks\n\n"
        head += "Written by `python benchmarks/signals.py --table FILE`; "
        head += "its docstring describes what it measures.\n"
        options.table.write_text(f"{head}\n```text\n{text}\n```\n", encoding="utf-8")


if __name__ == "__main__":
    main()
