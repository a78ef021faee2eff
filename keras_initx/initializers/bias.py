"""Initializers of biases: zeros, 1 for the forget gate, and the log-odds of the classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._theory import read_activation
from keras_initx.errors import InitxError, is_number
from keras_initx.initializers.base import PACKAGE, LayerAware

# The activations that turn outputs into the probabilities of exclusive classes, and of independent labels.
_LINKS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid", "log_sigmoid": "sigmoid"}


@keras.saving.register_keras_serializable(package=PACKAGE)
class BiasAuto(LayerAware):
    """Set biases to 0, and the forget gate of an LSTM to 1.

    b = 0, where b is the bias. In an LSTM or ConvLSTM cell, whose bias has the parts input, forget, cell and
    output of `units` entries each, b = 1 for the forget gate: the cell remembers until it has learned what
    to forget. Keras does the same unless `unit_forget_bias=False`. A GRU has no forget gate: b = 0.

    Raises:
        InitxError: The weight is a kernel or an embedding, which zeros would make symmetric.

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
    """Set the bias of an output layer so that it initially predicts the frequencies of the classes.

    softmax: b_k = log p_k

    sigmoid: b_k = log(p_k / (1 - p_k))

    where b_k is the bias of output k and p_k the probability of class k. Several sigmoids are independent
    labels, so their counts alone do not tell the probabilities: pass `p`, the count of each label divided by
    the number of samples.

    A layer without activation (logits) does not know its loss. Name the `activation` that the loss applies:
    "sigmoid" for a binary crossentropy, "softmax" for a categorical one. Else the logits count as a softmax
    if there are several whose probabilities sum to 1, and as sigmoids otherwise.

    If the kernel starts small compared to the bias, the first loss is the entropy of the classes, and no
    steps are lost on learning how rare they are.

    Args:
        p: One probability for all outputs of a sigmoid layer, or one for each output.
        class_counts: The number of samples of each class, instead of `p`. For a single sigmoid output pass
            the counts of the classes 0 and 1. A `collections.Counter` of labels 0, 1, ... is accepted too.
        activation: "softmax" or "sigmoid", for logits; None decides by the layer's activation, else by the
            sum.

    Raises:
        InitxError: Both or neither of `p` and `class_counts` are passed; a probability is outside (0, 1) or
            a count is not positive (a class without samples has no log-odds); the number of values is not
            the number of outputs; the probabilities of a softmax do not sum to 1; the counts belong to
            several sigmoids, which need the number of samples too; the layer has another activation;
            `activation` is unknown, or not what the layer applies.

    Example: a rare positive class.

    >>> layer = keras.layers.Dense(1, activation="sigmoid", bias_initializer=PriorBias(class_counts=[99, 1]))
    >>> layer.build((None, 4))
    >>> round(float(keras.ops.sigmoid(layer.bias[0])), 4)
    0.01

    References: Lin et al. 2017 (Focal loss, arXiv 1708.02002), sections 3.3 and 4.1.
    """

    def __init__(
        self,
        p: float | Sequence[float] | None = None,
        class_counts: Sequence[float] | None = None,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        if activation not in (None, "softmax", "sigmoid"):
            raise InitxError("activation", activation, "'softmax', 'sigmoid' or None")
        self.activation = activation
        if (p is None) == (class_counts is None):
            problem = f"Exactly one of `p` and `class_counts` must be set, got {p!r} and {class_counts!r}"
            raise InitxError("p, class_counts", (p, class_counts), "exactly one of the two", "", problem)
        self.p = _numbers("p", p, below=1.0)
        self.class_counts = _numbers("class_counts", class_counts)
        if self.class_counts is not None and (is_number(self.class_counts) or len(self.class_counts) < 2):
            raise InitxError("class_counts", class_counts, "a list with the counts of two or more classes")

    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        _refuse_others(self)
        link, p = self._link(), self._probabilities(shape)
        if link == "sigmoid" and p.size > 1 and self.class_counts is not None:
            allowed = "left out for several sigmoids, whose labels are independent"
            remedy = "Pass p=, the count of each label divided by the number of samples."
            raise self._error(InitxError(*self._argument(), allowed, remedy))
        exclusive = link == "softmax"
        if link is None:
            exclusive = p.size > 1 and math.isclose(p.sum(), 1, rel_tol=1e-3)
        if exclusive and not math.isclose(p.sum(), 1, rel_tol=1e-3):
            allowed = "probabilities that sum to 1, since the output is a softmax"
            raise self._error(InitxError(*self._argument(), allowed))
        bias = np.log(p) if exclusive else np.log(p) - np.log1p(-p)
        return ops.convert_to_tensor(np.broadcast_to(bias, shape).astype(dtype), dtype)

    def _link(self) -> str | None:
        """Return "softmax" or "sigmoid", whichever turns the outputs into probabilities; None if unknown."""
        own = read_activation(self._layer_info.activation).name
        link = _LINKS.get(own)
        if link is None and own != "linear":
            raise self._error(InitxError("activation", own, "softmax, sigmoid or None (logits)"))
        if link and self.activation not in (None, link):
            allowed = f"None or {link!r}, since the layer applies {own}"
            raise self._error(InitxError("activation", self.activation, allowed))
        return link or self.activation

    def _probabilities(self, shape: tuple[int, ...]) -> np.ndarray:
        outputs = shape[-1] if shape else 1
        if self.class_counts is not None:
            counts = np.asarray(self.class_counts, dtype="float64")
            p = counts / counts.sum()
            # The single output of a binary classifier is the probability of class 1.
            p = p[1:] if outputs == 1 and p.size == 2 else p
        else:
            p = np.atleast_1d(np.asarray(self.p, dtype="float64"))
        if p.size not in (1, outputs):
            raise self._error(InitxError(*self._argument(), f"{outputs} values, one for each output"))
        return p

    def _argument(self) -> tuple[str, Any]:
        """Return the name and the value of the argument that is set."""
        return ("p", self.p) if self.class_counts is None else ("class_counts", self.class_counts)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"p": self.p, "class_counts": self.class_counts, "activation": self.activation}
        return {**super().get_config(), **own}


def _refuse_others(initializer: LayerAware) -> None:
    """Raise an `InitxError` for kernels, embeddings and gains: equal values make units symmetric or dead."""
    weight = initializer._layer_info.weight
    if weight.endswith(("kernel", "embeddings", "gamma")):
        name = type(initializer).__name__
        problem = f"`initializer` {name!r} is for biases, not for {weight!r}"
        remedy = "Use it as bias_initializer=."
        raise initializer._error(
            InitxError("initializer", name, "an initializer of kernels", remedy, problem)
        )


def _numbers(name: str, value: Any, below: float = math.inf) -> Any:
    """Return `value` as a float or a list of floats, which JSON can hold, each between 0 and `below`."""
    if value is None:
        return None
    if isinstance(value, Mapping) and set(value) == set(range(len(value))):
        # A collections.Counter of labels, or a dictionary.
        value = [value[label] for label in range(len(value))]
    try:
        numbers = np.asarray(value, dtype="float64")
    except (TypeError, ValueError):
        numbers = np.array([])
    allowed = "finite numbers > 0" if math.isinf(below) else f"probabilities between 0 and {below:g}"
    if not (numbers.size and numbers.ndim <= 1 and np.all((numbers > 0) & (numbers < below))):
        has_empty_class = math.isinf(below) and numbers.size and np.all(numbers >= 0)
        has_empty_class = has_empty_class and np.all(np.isfinite(numbers))
        remedy = "A class without samples has no log-odds: add 1 to every count." if has_empty_class else ""
        raise InitxError(name, value, allowed, remedy)
    return numbers.tolist()
