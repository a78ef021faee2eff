"""Compare the time and memory of drawing a model's weights with our initializers and with Keras's.

    python benchmarks/drawing.py

Both draw the same weights in turns in one process; each ratio is a ratio of medians. Memory is the peak above
the level before the draw, measured in a process of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import typer
from rich.console import Console
from rich.table import Table

import keras_initx

L = keras.layers
# (layer, name of the weight, its shape)
Weights = list[tuple[keras.Layer, str, tuple[int, ...]]]


def resnet50() -> Weights:
    """Return the kernels of Keras's own ResNet50: 53 convolutions and a dense layer, 25.5 million weights."""
    return list(_kernels(keras.applications.ResNet50(weights=None)))


def vit_b16() -> Weights:
    """Return the kernels of ViT-B/16 (Dosovitskiy et al. 2021): 12 blocks, width 768, 86 million weights."""
    image = keras.Input((224, 224, 3))
    x = L.Reshape((196, 768))(L.Conv2D(768, 16, strides=16)(image))
    for _ in range(12):
        x = x + L.MultiHeadAttention(12, 64)(L.LayerNormalization()(x), x)
        x = x + L.Dense(768)(L.Dense(3072, activation="gelu")(L.LayerNormalization()(x)))
    return list(_kernels(keras.Model(image, L.Dense(1000)(x[:, 0]))))


def embedding() -> Weights:
    """Return one table of 131,072 x 768: 100.7 million weights."""
    return [(L.Embedding(131_072, 768), "embeddings", (131_072, 768))]


def _kernels(model: keras.Model) -> Iterator[tuple[keras.Layer, str, tuple[int, ...]]]:
    for layer in keras_initx.all_layers(model):
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            yield layer, "kernel", tuple(kernel.shape)


SETS: dict[str, Callable[[], Weights]] = {
    "ResNet50": resnet50,
    "ViT-B/16": vit_b16,
    "embedding 100M": embedding,
}
# Scheme -> (Keras's class, our class).
SCHEMES: dict[str, tuple[Any, Any]] = {
    "he": (keras.initializers.HeNormal, keras_initx.HeAuto),
    "uniform": (keras.initializers.HeUniform, lambda: keras_initx.HeAuto(distribution="uniform")),
    "orthogonal": (keras.initializers.Orthogonal, keras_initx.OrthogonalAuto),
}


def draw(weights: Weights, scheme: str, ours: bool) -> float:
    """Return the seconds to draw all weights, one after the other; none is kept."""
    start = time.perf_counter()
    for layer, weight, shape in weights:
        initializer = SCHEMES[scheme][ours]()
        values = (initializer.bound_to(layer, weight) if ours else initializer)(shape)
        # JAX and GPUs return before the values exist: read one.
        float(keras.ops.reshape(values, (-1,))[0])
        del values
    return time.perf_counter() - start


def peak_memory(name: str, scheme: str, ours: bool) -> float:
    """Return the peak above the level before the draw in MB, from a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([name, scheme, ours])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _child(name: str, scheme: str, ours: bool) -> float:
    weights = SETS[name]()
    draw(weights[-1:] if len(weights) > 1 else [(L.Dense(300), "kernel", (300, 300))], scheme, ours)
    before = _megabytes("VmRSS")
    # Resets Linux's high-water mark.
    Path("/proc/self/clear_refs").write_text("5")
    draw(weights, scheme, ours)
    return _megabytes("VmHWM") - before


def _megabytes(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def main(rounds: int = 3, memory: bool = True, child: str = "") -> None:
    """Draw every set with every scheme, ours and Keras's in turn."""
    if child:
        print(_child(*json.loads(child)))
        return
    console = Console(width=110)
    table = Table(title=f"Drawing, keras {keras.__version__} on {keras.backend.backend()}, {rounds} rounds")
    for header in (
        "weights",
        "scheme",
        "Keras s",
        "ours s",
        "ratio",
        "Keras peak MB",
        "ours peak MB",
        "ratio",
    ):
        table.add_column(header, justify="left" if header in ("weights", "scheme") else "right")
    for name, make in SETS.items():
        weights = make()
        for scheme in SCHEMES:
            times: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(rounds):
                for ours in times:
                    times[ours].append(draw(weights, scheme, ours))
            theirs, our = (statistics.median(times[ours]) for ours in (False, True))
            row = [name, scheme, f"{theirs:.3f}", f"{our:.3f}", f"{our / theirs:.2f}"]
            if memory:
                peaks = [peak_memory(name, scheme, ours) for ours in (False, True)]
                row += [f"{peaks[0]:.0f}", f"{peaks[1]:.0f}", f"{peaks[1] / max(peaks[0], 1):.2f}"]
            table.add_row(*row)
            console.print(*row)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
