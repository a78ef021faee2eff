"""Tune a convolutional network on images from tf.data: Fashion-MNIST, in batches.

Run: python examples/fashion_mnist_tf_data.py [--download]
It reads Fashion-MNIST from Debian's package dataset-fashion-mnist or from Keras's folder of data sets;
--download lets Keras fetch it. Without any of these, the digits of scikit-learn stand in for it.
"""

import gzip
import sys
from pathlib import Path

import keras
import numpy as np
import rich
import tensorflow as tf
from keras_initx.tuning import Results, SearchSpace, search
from sklearn.datasets import load_digits

ROWS, CLASSES = 1200, 10
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
KERAS = Path.home() / ".keras/datasets/fashion-mnist"


def load_images() -> tuple[str, np.ndarray, np.ndarray]:
    """Return a name, images of 28 x 28 pixels from 0 to 255, and labels."""
    if DEBIAN.is_dir():
        images = gzip.decompress((DEBIAN / "train-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((DEBIAN / "train-labels-idx1-ubyte.gz").read_bytes())
        pixels = np.frombuffer(images, "uint8", offset=16).reshape(-1, 28, 28)
        return "Fashion-MNIST", pixels[:ROWS], np.frombuffer(labels, "uint8", offset=8)[:ROWS]
    if KERAS.is_dir() or "--download" in sys.argv:
        (x, y), _ = keras.datasets.fashion_mnist.load_data()
        return "Fashion-MNIST", x[:ROWS], y[:ROWS]
    x, y = load_digits(return_X_y=True)
    enlarged = np.kron(x.reshape(-1, 8, 8), np.ones((3, 3))) * (255 / 16)
    return "scikit-learn's digits", np.pad(enlarged, ((0, 0), (2, 2), (2, 2)))[:ROWS], y[:ROWS]


def batches(x: np.ndarray, y: np.ndarray, training: bool) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices((x[..., None].astype("float32") / 255, y.astype("int32")))
    if training:
        data = data.shuffle(len(x), seed=0)
    return data.batch(100).prefetch(2)


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    name, x, y = load_images()
    print(f"{len(x)} images of {name}")
    result = search(
        build,
        batches(x[200:], y[200:], training=True),
        validation_data=batches(x[:200], y[:200], training=False),
        epochs=3,
        trials=4,
        seeds=2,
        space=SearchSpace(initializers=["he_auto", "auto", "own"], learning_rates=[1e-3, 3e-3]),
        results=Results("results/fashion_mnist", mode="overwrite"),
    )
    rich.print(result.table())


if __name__ == "__main__":
    main()
