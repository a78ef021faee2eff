"""The records in a `Report`, and the verdicts that they can carry."""

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class LayerSignal:
    """The signal at one weighted layer on one batch: its pre-activation, its output and the gradient.

    A figure that was not measured, or that does not exist for this layer, is NaN.

    Attributes:
        number: The layer's position in the order of computation, from 1.
        path: The layer's path. A bare operation with a weight has the path of the layer around it.
        kind: The layer's class.
        activation: The activation that its result reaches.
        shape: The shape of the pre-activation, samples first.
        mean, std, second_moment: Moments over all entries of the pre-activation. Where no activation
            follows, or the inside of the layer cannot be observed, they are taken over the layer's result.
        spread: sqrt of the mean variance over samples: the part of the signal that distinguishes samples.
        not_finite: The share of entries that are NaN or infinite.
        effective_rank: (tr G)^2 / tr(G^2), where G is the Gram matrix of the samples: the number of
            directions in which n samples differ, at most n - 1.
        sample_cosine: The mean cosine between two samples; 1 if all samples look alike.
        token_cosine: The mean cosine between two positions of one sample; NaN without positions.
        unit_spread: sqrt of (mean variance over units / second moment); 0 if all units are equal.
        output_second_moment: The second moment of the activation's output.
        dead: The share of units that return the same value for all samples.
        saturated: The share of entries within 1 % of a bound of the activation. An entry of the model's
            output that is right, within 10 % of its target, does not count.
        gradient_mean: The mean of the gradient of the loss with respect to the pre-activation.
        gradient_second_moment: The second moment of that gradient.
        gradient_not_finite: The share of its entries that are NaN or infinite.
        gradient_unit_spread: Its spread over units, computed like `unit_spread`.
        kernel_std: The standard deviation of the kernel's entries.
        kernel_gradient: The root mean square of the kernel's gradient.
        chi: fan_in E[w^2] E[phi'(z)^2], with z Gaussian of the measured mean and variance: the factor by
            which this layer grows a small difference between two inputs, or a gradient. 1 is the edge of
            chaos.
        periods: The standard deviation of the pre-activation in periods of its activation, if the layer reads
            what a periodic one returns too; otherwise 0.
        is_lookup: Whether the layer looks up rows of a weight, or depends on no data, like learned queries.
            Its signal may be the same for all samples.
        ends_branch: Whether the layer is the last of a residual branch.
        is_output: Whether no weight comes after the layer.
        is_behind_zero: Whether every path to the output leads through zeros that have a gradient, so that the
            first training step opens them.
        is_idle: Whether every path to the output leads through the scores of an attention over one position,
            or through a normalization over one entry, which are constants.
        reads_differences: Whether the samples differ at one of the weighted layers just before it.
        unit: The standard deviation that small ones are compared with: 1, or 1 / w0 for a signal that meets
            sin(w0 z), and for an output that depends on such a signal.
        is_bypassed: Whether tokens that differ reach the model's output around the layer, as through a
            residual connection.
        verdicts: The problems found at this layer, each a key of `VERDICTS`. Empty for a healthy layer.
    """

    number: int
    path: str
    kind: str
    activation: str
    shape: tuple[int, ...]
    mean: float
    std: float
    second_moment: float
    spread: float
    not_finite: float
    effective_rank: float
    sample_cosine: float
    token_cosine: float
    unit_spread: float
    output_second_moment: float
    dead: float
    saturated: float
    gradient_mean: float
    gradient_second_moment: float
    gradient_not_finite: float
    gradient_unit_spread: float
    kernel_std: float
    kernel_gradient: float
    chi: float
    periods: float = 0.0
    is_lookup: bool = False
    ends_branch: bool = False
    is_output: bool = False
    is_behind_zero: bool = False
    is_idle: bool = False
    reads_differences: bool = False
    unit: float = 1.0
    is_bypassed: bool = False
    verdicts: tuple[str, ...] = ()

    @property
    def gradient_rms(self) -> float:
        """Return the root mean square of the gradient with respect to the pre-activation."""
        return math.sqrt(self.gradient_second_moment) if self.gradient_second_moment >= 0 else math.nan

    @property
    def gradient_norm(self) -> float:
        """Return the Euclidean norm of that gradient over all samples and units."""
        return self.gradient_rms * math.sqrt(math.prod(self.shape))

    @property
    def gradient_variance(self) -> float:
        """Return the variance of that gradient's entries."""
        return self.gradient_second_moment - self.gradient_mean**2


@dataclass(frozen=True)
class HeadSignal:
    """The attention weights of one head on one batch.

    Attributes:
        path: The layer's path.
        head: The head's number, from 0.
        entropy: The entropy of the weights divided by its maximum, log(keys), as a mean over queries: 0 if
            each query attends to one key, 1 if all keys have equal weight.
        spread: 1 - |mean weights|^2 / mean |weights|^2 over queries: 0 if all queries attend alike.
        is_bypassed: Whether the queries attend alike, but tokens that differ reach the model's output around
            the attention.
        verdicts: "entropy collapse", "rank collapse", or empty.
    """

    path: str
    head: int
    entropy: float
    spread: float
    is_bypassed: bool = False
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A problem, or something worth knowing about the model.

    Attributes:
        verdict: A key of `VERDICTS`.
        path: The path of the layer or weight concerned; "" for the whole model.
        text: The measured figures, and advice.
    """

    verdict: str
    path: str
    text: str


# The usual range of a pre-activation's standard deviation, shaded in plots. Verdicts use wider limits.
USUAL_STD = (0.03, 30.0)


# The meaning of each verdict, most serious first.
VERDICTS = {
    "non-finite": "NaN or infinite values",
    "same inputs": "all samples are the same",
    "no gradient": "the loss depends on no weight",
    "learning rate": "a learning rate at which the first steps raise the loss",
    "input scale": "inputs far larger or smaller than the weights are drawn for",
    "target scale": "targets far larger or smaller than the outputs, at too large a learning rate",
    "exploding": "the signal, or its gradient, grows beyond what training can use",
    "vanishing": "the signal, or its gradient, is lost on the way",
    "symmetric": "all units are equal, and stay equal",
    "inputs alike": "all samples look alike at this layer",
    "dead": "units that return the same value for every sample",
    "saturated": "an activation at its bounds, where its slope is zero",
    "entropy collapse": "an attention head in which each query attends to a single key",
    "rank collapse": "tokens that attention has made equal, or a head that would make them equal",
    "identical": "two weights with the same values",
    "scale": "inputs or targets far from unit scale, where nothing else is wrong",
    "first loss": "a first loss far above the best constant prediction's",
    "residual": "residual branches that are not scaled down for their number",
    "frozen": "no weight is trainable",
    "single entry": "an attention over one position or a normalization over one entry, which is a constant",
    "declared": "a kernel that does not match its layer's initializer",
}


# Verdicts that are worth knowing but do not hinder training.
NOTED = frozenset(
    {"declared", "residual", "identical", "rank collapse", "frozen", "scale", "first loss", "single entry"}
)


class SignalReport(Protocol):
    """The part of a `Report` that plots and event files read.

    A protocol, because `Report` itself imports the modules that plot and log it.
    """

    @property
    def model(self) -> str: ...

    @property
    def samples(self) -> int: ...

    @property
    def loss_of(self) -> str: ...

    @property
    def rows(self) -> tuple[LayerSignal, ...]: ...

    def summary(self) -> str: ...
