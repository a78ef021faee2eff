"""The records that a report is made of, and the verdicts that they can carry."""

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class LayerSignal:
    """A weighted layer: what arrives at its activation, what leaves it, and what flows back.

    Everything is of one batch. What was not measured, or does not exist, is NaN.

    Attributes:
        number: Its place in the order of the computation, from 1.
        path, kind: The layer's path and class; of a bare operation with a weight the layer around it.
        activation: The activation that its result meets.
        shape: That of what arrives there, samples first.
        mean, std, second_moment: Of all entries of the pre-activation (of the result, where no activation
            follows, or the layer's inside cannot be looked into).
        spread: sqrt of the mean variance over samples: what is left that tells samples apart.
        not_finite: The share of entries that are NaN or infinite.
        effective_rank: (tr G)^2 / tr(G^2) of the samples' Gram matrix G: in how many directions n samples
            differ, at most n - 1.
        alike: The mean cosine between two samples: 1 where all inputs look alike.
        tokens_alike: The same between two positions of a sample; NaN where there are none.
        units_differ: sqrt of (mean variance over units / second moment): 0 where all units are alike.
        after: The second moment of what the activation returns.
        dead: The share of units that return the same for all samples.
        saturated: The share of entries within 1 % of a bound of the activation.
        gradient_second_moment, gradient_mean: Of the gradient of the loss by the pre-activation.
        gradient_not_finite: The share of it that is NaN or infinite.
        gradient_units_differ: As `units_differ`, of the gradient.
        kernel_std: The standard deviation of the kernel's entries.
        kernel_gradient: The root mean square of the kernel's gradient.
        chi: fan_in E[w^2] E[phi'(z)^2], z Gaussian of the measured mean and variance: by how much a small
            difference between two inputs, or a gradient, grows in this layer; 1 is the edge of chaos.
        looks_up: Whether it is a look-up of rows, or depends on no data, as learned queries do: such a signal
            may be the same for all samples.
        ends_branch: Whether it is the last of a residual branch.
        verdicts: What is wrong, each a word from `VERDICTS`; empty where nothing is.
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
    alike: float
    tokens_alike: float
    units_differ: float
    after: float
    dead: float
    saturated: float
    gradient_mean: float
    gradient_second_moment: float
    gradient_not_finite: float
    gradient_units_differ: float
    kernel_std: float
    kernel_gradient: float
    chi: float
    looks_up: bool = False
    ends_branch: bool = False
    verdicts: tuple[str, ...] = ()

    @property
    def gradient_rms(self) -> float:
        """The root mean square of the gradient of the loss by the pre-activation."""
        return math.sqrt(self.gradient_second_moment) if self.gradient_second_moment >= 0 else math.nan

    @property
    def gradient_norm(self) -> float:
        """The Euclidean norm of that gradient, of all samples and units together."""
        return self.gradient_rms * math.sqrt(math.prod(self.shape))

    @property
    def gradient_variance(self) -> float:
        """The variance of its entries."""
        return self.gradient_second_moment - self.gradient_mean**2


@dataclass(frozen=True)
class HeadSignal:
    """One head of an attention.

    Attributes:
        path: The layer's path.
        head: The number of the head, from 0.
        entropy: Mean over queries of the entropy of the weights, by its largest, log(keys): 0 where each
            query looks at one key, 1 where all keys weigh alike.
        spread: 1 - |mean weights|^2 / mean |weights|^2 over queries: 0 where all of them look alike.
        verdicts: "entropy collapse", "rank collapse".
    """

    path: str
    head: int
    entropy: float
    spread: float
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that a reader should know.

    Attributes:
        verdict: A word from `VERDICTS`.
        path: The layer or weight that it is about; "" for the whole model.
        text: What was measured, and what helps.
    """

    verdict: str
    path: str
    text: str


# The standard deviations of pre-activations that are healthy: the band of the plots. Verdicts come later.
HEALTHY = (0.03, 30.0)


# What each word means, in the order in which they matter.
VERDICTS = {
    "non-finite": "NaN or infinite values",
    "same inputs": "samples that are all the same",
    "no gradient": "a loss that no weight changes",
    "input scale": "inputs that are far larger or smaller than weights are drawn for",
    "exploding": "the signal, or its gradient, grows beyond what training can use",
    "vanishing": "the signal, or its gradient, is lost on the way",
    "symmetric": "all units are alike, and stay so",
    "inputs alike": "all samples look alike here",
    "dead": "units that return the same for every sample",
    "saturated": "an activation at its bounds, where it has no slope",
    "entropy collapse": "an attention head in which each query sees one key only",
    "rank collapse": "tokens that attention has made alike, or a head that would make them so",
    "identical": "two weights with the same values",
    "residual": "residual branches that were not scaled down for their number",
    "frozen": "no weight is trainable",
    "declared": "a kernel that is not what its initializer promises",
}


# Those that are worth knowing, but are no obstacle to a training.
NOTED = frozenset({"declared", "residual", "identical", "rank collapse", "frozen"})


class SignalReport(Protocol):
    """What a plot or an event file reads from a `Report`.

    A protocol, because `Report` itself imports the modules that draw and write it.
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
