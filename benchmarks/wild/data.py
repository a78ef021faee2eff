"""Data of the models in the wild: scikit-learn's digits, source code as text, and stated generators."""

import inspect
from functools import cache

import keras
import numpy as np
from sklearn.datasets import load_digits

ALPHABET = 96
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,797 handwritten digits of 8 x 8 in 0..1, and their labels."""
    x, y = load_digits(return_X_y=True)
    return (x.reshape(-1, 8, 8, 1) / 16).astype("float32"), y.astype("int32")


def some_digits(rng: np.random.Generator, size: int, zoom: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits, each pixel repeated `zoom` times in both directions."""
    x, y = digits()
    chosen = rng.integers(0, len(x), size)
    return x[chosen].repeat(zoom, axis=1).repeat(zoom, axis=2), y[chosen]


def digit_batch(size: int = 64, zoom: int = 1):
    """Return a generator of batches of digits and labels."""
    return lambda rng: some_digits(rng, size, zoom)


@cache
def _code() -> np.ndarray:
    text = inspect.getsource(inspect.getmodule(keras.layers.LSTM)) + inspect.getsource(np.ma.core)
    codes = np.frombuffer(text.encode("ascii", "replace"), "uint8").astype("int32") - 31
    return np.clip(codes, 0, ALPHABET - 1)


def some_text(rng: np.random.Generator, size: int, length: int) -> np.ndarray:
    """Draw pieces of the source code of Keras and NumPy, as numbers of characters 0..95."""
    code = _code()
    return np.stack([code[n : n + length] for n in rng.integers(0, len(code) - length, size)])


def shapes(rng: np.random.Generator, size: int, side: int = 32, count: int = 2):
    """Draw noisy images of discs and squares.

    Returns:
        Images (size, side, side, 3); masks with 0 background, 1 disc, 2 square; and for each shape its class,
        centre and radius, (size, count, 4).
    """
    rows, columns = np.mgrid[:side, :side]
    images = rng.normal(0.2, 0.05, (size, side, side, 3))
    masks = np.zeros((size, side, side), "int32")
    boxes = np.zeros((size, count, 4), "float32")
    for n in range(size):
        for k in range(count):
            kind, radius = int(rng.integers(0, 2)), int(rng.integers(side // 10, side // 5))
            top, left = rng.integers(radius, side - radius, 2)
            down, right = rows - top, columns - left
            inside = np.maximum(abs(down), abs(right)) <= radius if kind else down**2 + right**2 <= radius**2
            images[n][inside] = rng.uniform(0.3, 1.0, 3) + rng.normal(0, 0.05, (int(inside.sum()), 3))
            masks[n][inside] = kind + 1
            boxes[n, k] = kind, top, left, radius
    return images.astype("float32"), masks, boxes


def shape_masks(size: int = 16, side: int = 32):
    """Return a generator of batches of images of shapes and the class of each pixel."""
    return lambda rng: shapes(rng, size, side)[:2]


def moons(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw the two moons of scikit-learn, standardized."""
    angle = rng.uniform(0, np.pi, size)
    upper = rng.integers(0, 2, size)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    points = np.stack([x, y], axis=1) + rng.normal(0, 0.05, (size, 2))
    return ((points - [0.5, 0.25]) / [0.87, 0.5]).astype("float32")


@cache
def catch() -> tuple[np.ndarray, np.ndarray]:
    """Return the states of a game of catch on 8 x 8, and the value of each action (discount 0.95).

    A ball falls one row a step; the paddle in the lowest row moves left, stays or moves right. Reaching the
    ball pays 1, missing it -1. The state is an image with the ball in one channel, the paddle in the other.
    """
    values = np.zeros((8, 8, 8, 3), "float32")
    images = np.zeros((8, 8, 8, 8, 8, 2), "float32")
    for row in range(7, -1, -1):
        for ball in range(8):
            for paddle in range(8):
                images[row, ball, paddle, row, ball, 0] = 1
                images[row, ball, paddle, 7, paddle, 1] = 1
                for action in range(3):
                    moved = min(max(paddle + action - 1, 0), 7)
                    if row >= 6:
                        values[row, ball, paddle, action] = 1 if moved == ball else -1
                    else:
                        values[row, ball, paddle, action] = 0.95 * values[row + 1, ball, moved].max()
    return images, values
