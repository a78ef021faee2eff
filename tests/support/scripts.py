"""A Python file for `keras-initx tune`, and variants of it."""

from pathlib import Path

BUILD = """\
import keras
import numpy as np


def build(hp):
    units = hp.Choice("units", [3, 5])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 4)).astype("float32"), np.arange(60) % 3
"""
# What `data()` may return: the arguments of `fit`, with two epochs of its own.
ARGUMENTS = '{"x": x, "y": y, "validation_split": 0.5, "batch_size": 30, "epochs": 2}'


def write_script(file: Path, returned: str = ARGUMENTS, build: str = BUILD) -> Path:
    """Write a file whose `data()` returns an expression of the arrays x and y."""
    file.write_text(f"{build}\n\ndef data():\n    x, y = arrays()\n    return {returned}\n", encoding="utf-8")
    return file
