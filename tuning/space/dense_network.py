"""The dense network that `keras-initx tune` trains when only data are passed."""

import math
from collections.abc import Sequence

import keras
import keras_tuner

from keras_initx.errors import InitxError, check_positive

from ..data import Dataset
from .hypermodel import LEARNING_RATE
from .initializers import DEFAULT_INITIALIZERS, INITIALIZER, check_initializers, checked_names
from .ranges import Numbers, check_numbers, choose_number

ACTIVATION = "activation"
DEFAULT_LEARNING_RATES = (1e-3, 3e-3)
# Eight gigabytes in float32. Larger sizes are mistakes, which end in a lack of memory.
_MOST_WEIGHTS = 2**31
DEFAULT_ACTIVATIONS = ("relu", "tanh", "sigmoid")


class DenseNetwork:
    """The default model of the command line: standardized inputs and equal hidden layers.

    It ends in a softmax. For a regression it ends in one unit, which is scaled to the mean and the standard
    deviation of the targets; the loss is the squared error as a share of the variance of the targets.

    Args:
        data: The data. Their input shape and number of classes shape the model. The mean and variance of
            arrays go into its first layer, so that the saved model takes raw values.
        activations: The activations to choose among.
        initializers: The initializer names to choose among, passed to the layers as strings.
        learning_rates: As in `SearchSpace`; None is Adam's default of 0.001.
        depth: The number of hidden layers.
        width: The units of each hidden layer.

    Raises:
        InitxError: A name is unknown, a number cannot be used, or the layers have 2^31 weights or more.
    """

    def __init__(
        self,
        data: Dataset,
        activations: Sequence[str] = DEFAULT_ACTIVATIONS,
        initializers: Sequence[str] = DEFAULT_INITIALIZERS,
        learning_rates: Numbers | None = DEFAULT_LEARNING_RATES,
        depth: int = 5,
        width: int = 64,
    ) -> None:
        self.activations = check_activations(activations)
        self.initializers = check_initializers(initializers)
        self.learning_rates = check_numbers(learning_rates)
        self._input_shape, self._n_classes = data.input_shape, data.n_classes
        self._depth, self._width = check_positive("depth", depth), check_positive("width", width)
        weights = width * (math.prod(data.input_shape) + (depth - 1) * width + max(1, data.n_classes))
        if weights >= _MOST_WEIGHTS:
            argument, value = ("width", width) if width > depth else ("depth", depth)
            allowed = f"small enough for fewer than {_MOST_WEIGHTS} weights"
            raise InitxError(argument, value, allowed)
        rows = data.x_train.reshape(len(data.x_train), -1).astype("float64")
        # The encoder of a table standardizes its numbers, and leaves categories as 0 and 1.
        self._moments = None if data.encoder is not None else (rows.mean(axis=0), rows.var(axis=0))
        targets = data.y_train.astype("float64")
        self._target = None if data.classes else (float(targets.mean()), float(targets.std()) or 1.0)

    def __call__(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        initializer = hp.Choice(INITIALIZER, list(self.initializers))
        activation = hp.Choice(ACTIVATION, list(self.activations))
        layers = [keras.Input(self._input_shape), keras.layers.Flatten()]
        if self._moments is not None:
            mean, variance = self._moments
            layers.append(keras.layers.Normalization(mean=mean, variance=variance))
        for _ in range(self._depth):
            layers.append(
                keras.layers.Dense(self._width, activation=activation, kernel_initializer=initializer)
            )
        optimizer = keras.optimizers.Adam()
        if self.learning_rates is not None:
            optimizer.learning_rate = choose_number(hp, LEARNING_RATE, self.learning_rates)
        if self._target is None:
            head = keras.layers.Dense(self._n_classes, activation="softmax", kernel_initializer=initializer)
            model = keras.Sequential([*layers, head], name="dense_network")
            model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model
        mean, std = self._target
        head = keras.layers.Dense(1, kernel_initializer=initializer)
        model = keras.Sequential([*layers, head, keras.layers.Rescaling(std, mean)], name="dense_network")
        metrics = [keras.metrics.RootMeanSquaredError("rmse"), keras.metrics.MeanAbsoluteError("mae")]
        model.compile(optimizer, "mse", loss_weights=[1 / std**2], metrics=metrics)
        return model


def check_activations(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of activations in `keras.activations` as a tuple.

    Raises:
        InitxError: There is no name, a name occurs twice, or a name is unknown (the message suggests the
            nearest).
    """
    public = (n for n in dir(keras.activations) if n.islower() and not n.startswith("_"))
    # These need arguments or change the shape.
    unusable = {"get", "serialize", "deserialize", "threshold", "glu"}
    return checked_names("activations", names, [n for n in public if n not in unusable])
