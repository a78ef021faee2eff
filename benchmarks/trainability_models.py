"""Data and networks of `trainability.py`: real data that packages ship, and common networks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images
from sklearn.model_selection import train_test_split

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu", "selu", "softplus")
# The size of the alphabet, and how many characters a network reads.
_ALPHABET, _LENGTH = 96, 40


@dataclass(frozen=True)
class Data:
    """Three disjoint parts: rates are chosen on the second, accuracies measured on the third."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return int(self.train[1].max()) + 1


def _split(x: np.ndarray, y: np.ndarray) -> Data:
    rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    parts = train_test_split(rest, y_rest, test_size=0.2, random_state=1, stratify=y_rest)
    x_train, x_validation, y_train, y_validation = parts
    if np.issubdtype(x.dtype, np.floating):
        mean = x_train.mean(axis=0)
        spread = x_train.std(axis=0) + 1e-3 * x_train.std()
        x_train, x_validation, x_test = ((part - mean) / spread for part in (x_train, x_validation, x_test))
    return Data((x_train, y_train), (x_validation, y_validation), (x_test, y_test))


def digits() -> Data:
    """Return 1,797 handwritten digits of 8 x 8 (scikit-learn)."""
    x, y = load_digits(return_X_y=True)
    return _split(x.reshape(-1, 8, 8, 1).astype("float32"), y.astype("int32"))


def rotations() -> Data:
    """Return patches of 8 x 8 of two photographs (scikit-learn), labelled by their quarter turn."""
    rng = np.random.default_rng(0)
    patches, turns = [], []
    for image in load_sample_images().images:
        for _ in range(1000):
            top, left = (int(rng.integers(0, n - 32)) for n in image.shape[:2])
            patch = image[top : top + 32, left : left + 32].reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
            turn = int(rng.integers(0, 4))
            patches.append(np.rot90(patch, turn))
            turns.append(turn)
    return _split(np.asarray(patches, "float32"), np.asarray(turns, "int32"))


def cancer() -> Data:
    """Return 569 tumours with 30 measurements each (scikit-learn)."""
    x, y = load_breast_cancer(return_X_y=True)
    return _split(x.astype("float32"), y.astype("int32"))


def sources() -> Data:
    """Return pieces of source code, as characters, labelled by package: NumPy, SciPy, scikit-learn, Keras."""
    import scipy.optimize
    import sklearn.linear_model

    rng = np.random.default_rng(0)
    modules = (np.ma.core, scipy.optimize._optimize, sklearn.linear_model._logistic, keras.layers.LSTM)
    pieces, owners = [], []
    for number, module in enumerate(modules):
        home = inspect.getmodule(module) if inspect.isclass(module) else module
        text = inspect.getsource(home)
        codes = np.clip(
            np.frombuffer(text.encode("ascii", "replace"), "uint8").astype(int) - 31, 0, _ALPHABET - 1
        )
        for start in rng.integers(0, len(codes) - _LENGTH, 500):
            pieces.append(codes[start : start + _LENGTH])
            owners.append(number)
    return _split(np.asarray(pieces, "int32"), np.asarray(owners, "int32"))


def mlp(depth: int, width: int = 64) -> Callable[[Data, str], keras.Model]:
    """Return a builder of a plain network of `depth` weighted layers."""

    def build(data: Data, activation: str) -> keras.Model:
        inputs = keras.Input(data.train[0].shape[1:])
        x = layers.Flatten()(inputs) if len(inputs.shape) > 2 else inputs
        for _ in range(depth - 1):
            x = layers.Dense(width, activation=activation)(x)
        return keras.Model(inputs, layers.Dense(data.classes)(x))

    return build


def cnn(depth: int) -> Callable[[Data, str], keras.Model]:
    """Return a builder of a plain network of convolutions, the first with a stride."""

    def build(data: Data, activation: str) -> keras.Model:
        inputs = x = keras.Input(data.train[0].shape[1:])
        for number in range(depth - 1):
            strides = 1 if number else 2
            x = layers.Conv2D(16, 3, padding="same", strides=strides, activation=activation)(x)
        return keras.Model(inputs, layers.Dense(data.classes)(layers.Flatten()(x)))

    return build


def residual(normalized: bool) -> Callable[[Data, str], keras.Model]:
    """Return a builder of five residual blocks of two convolutions, with or without batch normalization."""

    def build(data: Data, activation: str) -> keras.Model:
        def norm(x):
            return layers.BatchNormalization()(x) if normalized else x

        inputs = keras.Input(data.train[0].shape[1:])
        x = layers.Activation(activation)(norm(layers.Conv2D(16, 3, padding="same", strides=2)(inputs)))
        for _ in range(5):
            h = layers.Activation(activation)(norm(layers.Conv2D(16, 3, padding="same")(x)))
            h = norm(layers.Conv2D(16, 3, padding="same")(h))
            x = layers.Activation(activation)(layers.Add()([x, h]))
        return keras.Model(inputs, layers.Dense(data.classes)(layers.GlobalAveragePooling2D()(x)))

    return build


class Positions(layers.Layer):
    """Layer that adds a table of positions."""

    def build(self, shape):
        self.table = self.add_weight(
            shape=(1, *shape[1:]), initializer=keras.initializers.RandomNormal(stddev=0.02), name="table"
        )

    def call(self, x):
        return x + self.table


def vit(data: Data, activation: str) -> keras.Model:
    """Build a pre-norm vision transformer of four blocks."""
    inputs = keras.Input(data.train[0].shape[1:])
    x = layers.Permute((1, 3, 2, 4))(layers.Reshape((4, 2, 4, 2))(inputs))
    x = Positions()(layers.Dense(32)(layers.Reshape((16, 4))(x)))
    for _ in range(4):
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(h, h)])
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation=activation)(h))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(data.classes)(x))


def lstm(data: Data, activation: str) -> keras.Model:
    """Build two LSTMs that read characters and predict a class."""
    inputs = keras.Input((_LENGTH,), dtype="int32")
    x = layers.Embedding(_ALPHABET, 16)(inputs)
    x = layers.LSTM(32, return_sequences=True)(x)
    x = layers.LSTM(32, return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(data.classes)(ops.mean(x, axis=1)))


# Name -> (data, builder, activations).
MODELS: dict[str, tuple[Callable[[], Data], Callable[[Data, str], keras.Model], tuple[str, ...]]] = {
    "mlp5": (digits, mlp(5), ACTIVATIONS),
    "mlp30": (digits, mlp(30), ACTIVATIONS),
    "mlp100": (digits, mlp(100), ACTIVATIONS),
    "cancer5": (cancer, mlp(5), ACTIVATIONS),
    "cancer30": (cancer, mlp(30), ACTIVATIONS),
    "rotations5": (rotations, mlp(5), ACTIVATIONS),
    "rotations30": (rotations, mlp(30), ACTIVATIONS),
    "cnn5": (digits, cnn(5), ACTIVATIONS),
    "cnn20": (digits, cnn(20), ACTIVATIONS),
    "residual": (digits, residual(normalized=False), ACTIVATIONS),
    "residual_bn": (digits, residual(normalized=True), ACTIVATIONS),
    "vit": (digits, vit, ("gelu",)),
    "lstm": (sources, lstm, ("tanh",)),
}
