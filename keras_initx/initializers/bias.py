"""Biases: zeros, the forget gate's 1, and the log-odds of the classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._theory import read_activation
from keras_initx.errors import InitxError, is_number
from keras_initx.initializers.base import PACKAGE, LayerAware

# How the probability of a class follows from the output, by the layer's activation.
_SOFTMAX = frozenset({"softmax", "log_softmax"})
_SIGMOID = frozenset({"sigmoid", "log_sigmoid"})


@keras.saving.register_keras_serializable(package=PACKAGE)
class BiasAuto(LayerAware):
    """Zeros, and 1 for the forget gate of an LSTM.

    b = 0; in the bias (4 x units: input, forget, cell, output) of an LSTM or ConvLSTM cell, b = 1 for
    the forget gate, so that the cell remembers while it has not learned what to forget. Keras does the
    same unless `unit_forget_bias=False`. A GRU has no such gate: zeros.

    Raises:
        InitxError: It is given to a kernel or an embedding, which zeros would make symmetric.

    Example:

    >>> cell = keras.layers.LSTMCell(2, bias_initializer="bias_auto", unit_forget_bias=False)
    >>> cell.build((None, 3))
    >>> keras.ops.convert_to_numpy(cell.bias).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    References: Gers et al. 2000, "Learning to forget", section 4; Jozefowicz et al. 2015, section 3.2.
    """

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        _refuse_others(self)
        if self._layer_info.geometry.kind != "forget_bias":
            return ops.zeros(shape, dtype)
        units = shape[-1] // self._layer_info.geometry.gates
        return ops.cast(ops.repeat(ops.array([0.0, 1.0, 0.0, 0.0]), units), dtype)


@keras.saving.register_keras_serializable(package=PACKAGE)
class PriorBias(LayerAware):
    """The bias of an output layer with which it predicts the frequencies of the classes at the start.

    softmax: b_k = log p_k

    sigmoid: b_k = log(p_k / (1 - p_k))

    where p_k is the probability of class k. An output without activation (logits) is taken for a softmax
    where it has several classes whose probabilities sum to 1, else for sigmoids. With kernels that start
    small against the bias, the first loss is the entropy of the classes, and no steps are lost on
    learning how rare they are.

    Args:
        p: One probability, for every output of a sigmoid; or one for each output.
        class_counts: In place of `p`: how many samples each class has. For a single sigmoid output,
            the counts of the classes 0 and 1. A `collections.Counter` of labels from 0 on will do.

    Raises:
        InitxError: Both or neither given; a probability outside of (0, 1), or a count that is not
            positive (a class without samples has no log-odds); a number of values that is not the
            layer's number of outputs; probabilities of a softmax that do not sum to 1; another
            activation of the layer.

    Example: a rare positive class.

    >>> layer = keras.layers.Dense(1, activation="sigmoid", bias_initializer=PriorBias(class_counts=[99, 1]))
    >>> layer.build((None, 4))
    >>> round(float(keras.ops.sigmoid(layer.bias[0])), 4)
    0.01

    References: Lin et al. 2017 (Focal loss, arXiv 1708.02002), sections 3.3 and 4.1.
    """

    def __init__(
        self, p: float | Sequence[float] | None = None, class_counts: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if (p is None) == (class_counts is None):
            raise InitxError("p, class_counts", (p, class_counts), "exactly one of the two")
        self.p = _numbers("p", p, below=1.0)
        self.class_counts = _numbers("class_counts", class_counts)
        if self.class_counts is not None and (is_number(self.class_counts) or len(self.class_counts) < 2):
            raise InitxError("class_counts", class_counts, "the counts of two classes or more")

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        _refuse_others(self)
        activation = read_activation(self._layer_info.activation).name
        p = self._probabilities(shape)
        exclusive = activation in _SOFTMAX
        if activation == "linear":
            exclusive = p.size > 1 and math.isclose(p.sum(), 1, rel_tol=1e-3)
        elif not exclusive and activation not in _SIGMOID:
            allowed = "softmax, sigmoid or no activation (logits)"
            raise self._error(InitxError("activation", activation, allowed))
        if exclusive and not math.isclose(p.sum(), 1, rel_tol=1e-3):
            allowed = "probabilities that sum to 1, as those of a softmax do"
            raise self._error(InitxError(*self._given(), allowed))
        bias = np.log(p) if exclusive else np.log(p) - np.log1p(-p)
        return ops.convert_to_tensor(np.broadcast_to(bias, shape).astype(dtype), dtype)

    def _probabilities(self, shape: tuple[int, ...]) -> np.ndarray:
        outputs = shape[-1] if shape else 1
        if self.class_counts is not None:
            counts = np.asarray(self.class_counts, dtype="float64")
            p = counts / counts.sum()
            # The one output of a binary classifier is the probability of class 1.
            p = p[1:] if outputs == 1 and p.size == 2 else p
        else:
            p = np.atleast_1d(np.asarray(self.p, dtype="float64"))
        if p.size not in (1, outputs):
            raise self._error(InitxError(*self._given(), f"{outputs} values, one for each output"))
        return p

    def _given(self) -> tuple[str, Any]:
        return ("p", self.p) if self.class_counts is None else ("class_counts", self.class_counts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "p": self.p, "class_counts": self.class_counts}


def _refuse_others(initializer: LayerAware) -> None:
    """Kernels, embeddings and gains that are all alike would make their units symmetric, or dead."""
    if initializer._layer_info.weight.endswith(("kernel", "embeddings", "gamma")):
        name = type(initializer).__name__
        raise initializer._error(
            InitxError("initializer", name, "an initializer of kernels", "It is for biases.")
        )


def _numbers(name: str, given: Any, below: float = math.inf) -> Any:
    """`given` as a float or a list of floats, which JSON can hold, each between 0 and `below`."""
    if given is None:
        return None
    if isinstance(given, Mapping) and set(given) == set(range(len(given))):
        # A collections.Counter of the labels, or a dictionary.
        given = [given[label] for label in range(len(given))]
    try:
        values = np.asarray(given, dtype="float64")
    except (TypeError, ValueError):
        values = np.array([])
    allowed = "positive numbers" if math.isinf(below) else f"probabilities between 0 and {below:g}"
    if not (values.size and values.ndim <= 1 and np.all((values > 0) & (values < below))):
        empty = math.isinf(below) and values.size and np.all(values >= 0)
        remedy = "A class without samples has no log-odds: add 1 to every count." if empty else ""
        raise InitxError(name, given, allowed, remedy)
    return values.tolist()
