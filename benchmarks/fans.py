"""Send white noise through every kind of layer, under Keras's LeCun initializer and under ours.

    python benchmarks/fans.py --write docs/fans.md

Noise of variance 1 goes forward through a layer whose kernel has variance 1 / fan_in, and backward through
one with 1 / fan_out. If the fan is right, the output has variance 1 again. Borders, where padding replaces
inputs, are left out.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import keras_initx

# TensorFlow advises against tracing fresh layers; here each layer is fresh on purpose.
logging.getLogger("tensorflow").setLevel(logging.ERROR)

L = keras.layers
LAYERS_OF_ONE_KIND = 6


@dataclass(frozen=True)
class Kind:
    """A kind of layer with shapes in which fan_in is far from fan_out.

    Attributes:
        make: Returns the layer for an initializer.
        shape: The shape of the input, without the batch.
        trim: How many positions at each border to leave out.
        weight: The name of the weight that is drawn.
        fans: (fan_in, fan_out), derived by hand, in words.
    """

    make: Callable[[Any], keras.Layer]
    shape: tuple[int, ...]
    trim: int = 0
    weight: str = "kernel"
    fans: str = ""


KINDS = {
    "Dense": Kind(lambda i: L.Dense(40, kernel_initializer=i), (300,), fans="inputs; outputs"),
    "Conv2D": Kind(
        lambda i: L.Conv2D(32, 3, padding="same", kernel_initializer=i),
        (16, 16, 24),
        2,
        fans="window x channels; window x filters",
    ),
    "Conv2D, strides 2": Kind(
        lambda i: L.Conv2D(32, 3, strides=2, padding="same", kernel_initializer=i),
        (24, 24, 24),
        4,
        fans="window x channels; window x filters / 4",
    ),
    "Conv2D, 4 groups": Kind(
        lambda i: L.Conv2D(32, 3, groups=4, padding="same", kernel_initializer=i),
        (16, 16, 64),
        2,
        fans="window x channels / 4; window x filters / 4",
    ),
    "DepthwiseConv2D": Kind(
        lambda i: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", depthwise_initializer=i),
        (16, 16, 64),
        2,
        fans="window; window x multiplier",
    ),
    "Conv2DTranspose": Kind(
        lambda i: L.Conv2DTranspose(16, 3, padding="same", kernel_initializer=i),
        (16, 16, 64),
        2,
        fans="window x channels; window x filters",
    ),
    "Conv2DTranspose, strides 2": Kind(
        lambda i: L.Conv2DTranspose(8, 4, strides=2, padding="same", kernel_initializer=i),
        (16, 16, 64),
        4,
        fans="window x channels / 4; window x filters",
    ),
    "EinsumDense, to 4 heads": Kind(
        lambda i: L.EinsumDense("abc,cde->abde", (None, 4, 16), kernel_initializer=i),
        (9, 256),
        fans="summed axes; new axes",
    ),
    "EinsumDense, heads joined": Kind(
        lambda i: L.EinsumDense("abcd,cde->abe", (None, 48), kernel_initializer=i),
        (9, 4, 64),
        fans="summed axes; new axes",
    ),
    "EinsumDense, one for each head": Kind(
        lambda i: L.EinsumDense("abc,bcd->abd", (6, 24), kernel_initializer=i),
        (6, 200),
        fans="summed axes; new axes",
    ),
    "SimpleRNN cell": Kind(
        lambda i: L.SimpleRNNCell(40, activation=None, kernel_initializer=i), (300,), fans="inputs; units"
    ),
    "LSTM cell, each gate": Kind(
        lambda i: L.LSTMCell(60, kernel_initializer=i), (250,), fans="inputs; units (Keras: 4 x units)"
    ),
    "GRU cell, each gate": Kind(
        lambda i: L.GRUCell(60, kernel_initializer=i), (250,), fans="inputs; units (Keras: 3 x units)"
    ),
    "Embedding": Kind(
        lambda i: L.Embedding(1000, 64, embeddings_initializer=i),
        (),
        0,
        "embeddings",
        "1; 1: a look-up sums nothing",
    ),
}
GATES = {"LSTM cell, each gate": 4, "GRU cell, each gate": 3}


def variances(kind: str, make_initializer: Callable[[str], Any]) -> tuple[float, float]:
    """Return the (forward, backward) output variance of noise of variance 1, averaged over several draws."""
    forward, backward = [], []
    for number in range(LAYERS_OF_ONE_KIND):
        rng = np.random.default_rng(number)
        for mode, outputs in (("fan_in", forward), ("fan_out", backward)):
            layer = KINDS[kind].make(make_initializer(mode))
            outputs.append(_pass(kind, layer, rng, mode == "fan_in"))
    return float(np.mean(forward)), float(np.mean(backward))


def _pass(kind: str, layer: keras.Layer, rng: np.random.Generator, forward: bool) -> float:
    spec = KINDS[kind]
    if kind == "Embedding":
        layer.build((None, 1))
        return _variance(layer.embeddings, 0)
    x = rng.standard_normal((16, *spec.shape)).astype("float32")
    layer.build(x.shape)
    if kind in GATES:
        # Only the pre-activations of the gates: the cell itself squashes and multiplies them.
        kernels = np.split(keras.ops.convert_to_numpy(layer.kernel), GATES[kind], axis=1)
        noise = x if forward else rng.standard_normal((16, kernels[0].shape[1]))
        return float(np.mean([np.mean(np.square(noise @ (k if forward else k.T))) for k in kernels]))

    def apply(inputs: Any) -> Any:
        outputs = layer(inputs, [keras.ops.zeros((16, layer.units))]) if "RNN" in kind else layer(inputs)
        return outputs[0] if isinstance(outputs, list | tuple) else outputs

    if forward:
        return _variance(apply(x), spec.trim)
    # The layer is linear, y = W x, so the gradient of the sum of y g with respect to x is W'g.
    import tensorflow as tf

    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = apply(inputs)
        loss = tf.reduce_sum(outputs * rng.standard_normal(outputs.shape).astype("float32"))
    return _variance(tape.gradient(loss, inputs), spec.trim)


def _variance(values: Any, trim: int) -> float:
    array = keras.ops.convert_to_numpy(values)
    if trim:
        array = array[(slice(None), *(slice(trim, -trim) for _ in array.shape[1:-1]))]
    return float(np.mean(np.square(array, dtype="float64")))


def main(write: Path | None = None) -> None:
    """Measure all kinds; --write also writes the table to a Markdown file."""

    def of_keras(mode: str) -> Any:
        return keras.initializers.VarianceScaling(1.0, mode, "untruncated_normal")

    def of_ours(mode: str) -> Any:
        return keras_initx.LecunAuto(distribution="normal", mode=mode)

    keras.utils.set_random_seed(0)
    headers = ("layer", "fan_in; fan_out", "Keras forward", "ours forward", "Keras backward", "ours backward")
    table = Table(title=f"Output variance of white noise of variance 1, keras {keras.__version__}")
    lines = ["| " + " | ".join(headers) + " |", "| --- | --- | --- | --- | --- | --- |"]
    for header in headers:
        table.add_column(header)
    for kind in track(KINDS, description="Measuring"):
        theirs, ours = variances(kind, of_keras), variances(kind, of_ours)
        figures = [f"{value:.3f}" for pair in zip(theirs, ours, strict=True) for value in pair]
        table.add_row(kind, KINDS[kind].fans, *figures)
        marked = [text if abs(float(text) - 1) < 0.1 else f"**{text}**" for text in figures]
        lines.append(f"| {kind} | {KINDS[kind].fans} | {' | '.join(marked)} |")
    Console(width=140).print(table)
    if write:
        write.write_text(PAGE.format(version=keras.__version__, table="\n".join(lines)), encoding="utf-8")


PAGE = """<!-- Written by `make fans`. -->

# Fans by kind of layer

White noise of variance 1 goes forward through layers whose kernel has variance 1 / fan_in, and backward
(as the gradient of the output) through layers with variance 1 / fan_out. If the fan is right, the result is
1 again. Keras's `VarianceScaling` and `keras_initx.LecunAuto` in the same run, Keras {version}, the mean of
6 draws; figures that are off by more than 10 % are bold.

{table}

Attention layers are made of `EinsumDense` to and from heads. Before Keras 3.15, Keras read the fans of
`EinsumDense` from the shape, too. The depthwise half of a separable convolution is a depthwise kernel; the
gates of a convolutional LSTM are LSTM gates with a window. A look-up has no backward figure of its own: the
column repeats the variance of the table's entries.
"""

if __name__ == "__main__":
    typer.run(main)
