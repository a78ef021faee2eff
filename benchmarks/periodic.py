"""Measure how well networks of sin(w0 z) fit an image from each start.

    KERAS_BACKEND=jax python benchmarks/periodic.py

A network maps the coordinates of a pixel, in [-1, 1], to its value: four hidden layers of 128 sines, 64 x 64
pixels of a photograph in scikit-learn, Adam, 150 epochs of 16 batches. The figure is the peak signal-to-noise
ratio of the best epoch, at the better of two learning rates.
"""

import argparse

import keras
import numpy as np
from keras import layers, ops

import keras_initx

SIZE, WIDTH = 64, 128
RATES = (1e-4, 3e-4)
STARTS = ("SIREN", "initialize", "Keras default", "auto", "auto, SIREN's first")


def image():
    """Return the coordinates and values, both within [-1, 1], of the pixels of a photograph."""
    from sklearn.datasets import load_sample_image

    grey = load_sample_image("china.jpg").mean(axis=-1)
    height, width = grey.shape
    left = (width - height) // 2
    square = grey[:, left : left + height, None].astype("float32") / 127.5 - 1
    small = ops.convert_to_numpy(ops.image.resize(square, (SIZE, SIZE), antialias=True))
    axis = np.linspace(-1, 1, SIZE, dtype="float32")
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), small.reshape(-1, 1)


def network(start, w0, seed):
    """Return a network with the weights of a start."""
    keras.utils.set_random_seed(seed)

    def sine(z):
        return ops.sin(w0 * z)

    uniform = keras.initializers.RandomUniform
    limit = np.sqrt(6 / WIDTH) / w0
    first, others = {
        "SIREN": (uniform(-0.5, 0.5), uniform(-limit, limit)),
        "auto": ("auto", "auto"),
        "auto, SIREN's first": (uniform(-0.5, 0.5), "auto"),
    }.get(start, ("glorot_uniform", "glorot_uniform"))

    def kernel(number):
        # Keras warns if one initializer draws several weights.
        own = others if number else first
        return own if isinstance(own, str) else own.clone()

    hiddens = [layers.Dense(WIDTH, sine, kernel_initializer=kernel(n)) for n in range(4)]
    model = keras.Sequential([keras.Input((2,)), *hiddens, layers.Dense(1, kernel_initializer=kernel(4))])
    if start == "initialize":
        keras_initx.initialize(model, seed=seed)
    return model


def psnr(model, rate, x, y, epochs):
    """Train a model, and return the peak signal-to-noise ratio of its best epoch in dB."""
    model.compile(keras.optimizers.Adam(rate), "mse", jit_compile=True)
    losses = model.fit(x, y, batch_size=SIZE * SIZE // 16, epochs=epochs, verbose=0).history["loss"]
    # The values span 2, so the square of the peak is 4.
    return 10 * np.log10(4 / min(losses))


def main():
    """Print one row for each start."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--w0", type=float, nargs="+", default=[30.0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()
    x, y = image()
    print("| w0 | start | dB, mean of the seeds | each |")
    print("|---|---|---|---|")
    for w0 in options.w0:
        for start in options.starts:
            values = [
                max(psnr(network(start, w0, seed), rate, x, y, options.epochs) for rate in RATES)
                for seed in range(options.seeds)
            ]
            each = ", ".join(f"{value:.1f}" for value in values)
            print(f"| {w0:g} | {start} | {np.mean(values):.1f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
