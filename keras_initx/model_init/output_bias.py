"""Set the output bias to the log-odds of the classes."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_initx._graph import Graph, WeightContext, link_of_loss, output_losses, regression_loss
from keras_initx._weights import PathFilter, WeightIndex
from keras_initx.errors import InitxError
from keras_initx.initializers import PriorBias


def set_output_bias(
    model: keras.Model,
    graph: Graph,
    contexts: Iterable[WeightContext],
    index: WeightIndex,
    path_filter: PathFilter,
    labels: Any,
    class_counts: Any,
) -> keras.Variable:
    """Set the bias of the output layer to the log-odds of the classes, and return the bias.

    The activation of the output decides whether the classes exclude each other; for logits the loss of the
    compiled model, else the labels: in rows of independent labels, some have no class or several.
    """
    heads = [context for context in contexts if "head" in context.roles and context.biased]
    if len(heads) != 1:
        listed = f"{len(heads)}: {', '.join(head.path for head in heads)}" if heads else "none"
        raise InitxError(
            "output_bias",
            "prior",
            "None for this model",
            "Give a layer bias_initializer=keras_initx.PriorBias(...) instead.",
            f"`output_bias='prior'` needs one output layer with a bias, but the model has {listed}",
        )
    bias = graph.steps[heads[0].step].bias
    assert bias is not None
    if not bias.trainable or not path_filter.matches(index.names(bias)):
        raise InitxError(
            "output_bias",
            "prior",
            "None for this model",
            "Make the layer trainable, or change only= and skip= to include the bias.",
            f"`output_bias='prior'` may not change {bias.path}: it is frozen, or excluded by only= or skip=",
        )
    link, cause = _link(model, graph, heads[0])
    outputs = math.prod(bias.shape)
    if link == "softmax" and outputs == 1:
        allowed = f"None for a layer with one output, since {cause}"
        raise InitxError("output_bias", "prior", allowed, "Use a sigmoid and a binary crossentropy.")
    if class_counts is not None and link == "sigmoid" and outputs > 1:
        allowed = f"None, since {cause}: the labels are independent, and counts lack the number of samples"
        raise InitxError("class_counts", class_counts, allowed, "Pass labels=, as rows of 0 and 1.")
    p: list[float] | None = None
    if class_counts is None:
        p, is_exclusive = _frequencies(labels, outputs, len(graph.steps[heads[0].step].shapes[0]))
        if link == "softmax" and not is_exclusive:
            allowed = f"class numbers or one-hot rows, since {cause}"
            raise InitxError("labels", "rows that are not one-hot", allowed)
        link = link if is_exclusive else "sigmoid"
    layer, name = index.of(bias)
    values = PriorBias(p, class_counts, link).bound_to(layer, name)(tuple(bias.shape), dtype=bias.dtype)
    bias.assign(values)
    return bias


def _link(model: keras.Model, graph: Graph, head: WeightContext) -> tuple[str | None, str]:
    """Return "softmax" or "sigmoid", whichever turns an output into probabilities, and what says so."""
    for applied in ("softmax", "sigmoid"):
        if head.activation.name in (applied, f"log_{applied}"):
            return applied, f"the output is a {applied}"
    losses = output_losses(model, graph.results)
    fed = [graph.ancestors.get(tensor, 0) >> head.step & 1 for tensor in graph.outputs]
    if len(fed) != len(losses):
        return None, ""
    # If losses of both kinds judge the output, none decides.
    own = [loss for loss, is_fed in zip(losses, fed, strict=True) if is_fed]
    links = {link_of_loss(loss) for loss in own}
    if links == {None} and (others := [name for loss in own if (name := regression_loss(loss))]):
        raise InitxError(
            "output_bias",
            "prior",
            f"None for the loss {others[0]}, since it compares the outputs themselves, not their log-odds",
            "Use a crossentropy, or set the bias to the mean of the targets: "
            "keras_initx.reinitialize(model, keras.initializers.Constant(mean), weights='biases', only=...).",
        )
    link = links.pop() if len(links) == 1 else None
    return link, "the loss is a binary crossentropy" if link == "sigmoid" else "the loss is categorical"


def _frequencies(labels: Any, width: int, rank: int) -> tuple[list[float], bool]:
    """Return the frequency of each output's class, and whether each sample has exactly one class.

    The labels are class numbers, or rows of 0 and 1 with the classes of a sample, one (one-hot) or several
    (multi-hot). `rank` is the number of axes of the output, the first of which are the samples.
    """
    values = np.asarray(labels)
    # One output is the probability of the second of two classes.
    classes = max(width, 2)
    is_exclusive = True
    received = f"{values.dtype} values of shape {values.shape}"
    if values.dtype.kind not in "biuf":
        remedy = "Turn names into numbers with np.unique(labels, return_inverse=True)[1]."
        raise _bad_labels(received, classes, remedy)
    if values.ndim >= rank and values.shape[-1] not in (1, width):
        remedy = (
            f"The output has {width} unit{'s' * (width > 1)}, the labels have {values.shape[-1]} columns."
        )
        raise _bad_labels(received, classes, remedy)
    # One label for each pixel or word counts like one for each sample.
    if values.ndim > 1 and values.shape[-1] == width > 1:
        if not values.size or not np.all((values == 0) | (values == 1)):
            raise _bad_labels(f"{received} other than 0 and 1", classes)
        rows = values.reshape(-1, width)
        frequencies, is_exclusive = rows.mean(axis=0), bool(np.all(rows.sum(axis=1) == 1))
    else:
        is_class = np.floor(values) == values
        if not values.size or not np.all(is_class & (values >= 0) & (values < classes)):
            span = f" from {values.min():g} to {values.max():g}" if values.size else ""
            raise _bad_labels(received + span, classes)
        frequencies = np.bincount(values.ravel().astype("int64"), minlength=classes) / values.size
    if np.any((frequencies <= 0) | (frequencies >= 1)):
        never = int(np.argmin(frequencies)) if frequencies.min() <= 0 else int(np.argmax(frequencies))
        which = "no sample of" if frequencies[never] <= 0 else "only samples of"
        raise InitxError(
            "labels",
            f"{which} class {never}",
            "labels with and without every class",
            "Give the layer bias_initializer=keras_initx.PriorBias(p=...) for the frequencies you expect.",
            f"`labels` has {which} class {never}, so its log-odds are infinite",
        )
    return [float(f) for f in (frequencies if width > 1 else frequencies[1:])], is_exclusive


def _bad_labels(received: str, classes: int, remedy: str = "") -> InitxError:
    allowed = f"class numbers from 0 to {classes - 1}, or rows of 0 and 1 for {classes} classes"
    return InitxError("labels", received, allowed, remedy, f"`labels` must be {allowed}, got {received}")
