"""Measure what wrapping `add_weight` costs when a model of 1,000 layers is built.

    python benchmarks/binding.py

The same model, with a Keras initializer, is built in turns with the wrapped `keras.Layer.add_weight` and
with the original; the overhead is the difference of the medians. The last line replaces Keras's `he_normal`
by `he_auto`, and so shows what it costs to read the layer.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import typer

import keras_initx

LAYERS = 1000
sys.setrecursionlimit(20_000)  # Keras walks the chain of a functional model by recursion
WRAPPED = keras.Layer.add_weight
ORIGINAL = WRAPPED.__wrapped__


def build(initializer: str) -> float:
    """Return the seconds to build a chain of 1,000 dense layers."""
    keras.utils.clear_session()
    start = time.perf_counter()
    x = inputs = keras.Input((16,))
    for _ in range(LAYERS):
        x = keras.layers.Dense(16, activation="relu", kernel_initializer=initializer)(x)
    keras.Model(inputs, x)
    return time.perf_counter() - start


def wrapper_alone(calls: int = 200_000) -> float:
    """Return the seconds that the wrapper adds to one call, without Keras's own work."""
    layer = keras.layers.Dense(2)
    initializer = keras.initializers.HeNormal()
    from keras_initx.initializers.layer_binding import bind

    start = time.perf_counter()
    for _ in range(calls):
        bind(initializer, layer, "kernel")
    return (time.perf_counter() - start) / calls


def main(rounds: int = 15) -> None:
    """Build the model with and without the wrapper, in turns."""
    build("he_normal")
    times: dict[str, list[float]] = {"without": [], "with": [], "he_auto": []}
    for _ in range(rounds):
        keras.Layer.add_weight = ORIGINAL
        times["without"].append(build("he_normal"))
        keras.Layer.add_weight = WRAPPED
        times["with"].append(build("he_normal"))
        times["he_auto"].append(build("he_auto"))
    without, wrapped, ours = (statistics.median(times[key]) for key in times)
    alone = 2 * LAYERS * wrapper_alone()
    spread = statistics.stdev(times["without"]) / without
    print(f"keras {keras.__version__} on {keras.backend.backend()}, keras-initx {keras_initx.__version__}")
    print(
        f"{LAYERS} dense layers, median of {rounds}: {without:.3f} s without the wrapper (std {spread:.1%})"
    )
    print(f"with the wrapper:            {wrapped:.3f} s, {wrapped / without - 1:+.2%}")
    print(f"the wrapper timed alone:     {alone * 1e3:.2f} ms of it, {alone / without:.3%}")
    print(f"he_auto instead of he_normal: {ours:.3f} s, {ours / without - 1:+.2%}")


if __name__ == "__main__":
    typer.run(main)
