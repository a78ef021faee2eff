"""What a search varies besides the user's own hyperparameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from .initializers import Initializers
from .ranges import Numbers


@dataclass(frozen=True)
class SearchSpace:
    """The hyperparameters that a search adds to a model.

    Attributes:
        initializers: The names to choose from: initializers of this package and of Keras, your own classes
            in `keras.saving.get_custom_objects()`, "own" for what the model was built with, and
            "initialize:auto" (or another method) for `keras_initx.initialize`. A dictionary chooses by group
            ("stem", "hidden", "recurrent", "attention", "head"), by another kind of weights
            ("recurrent_kernels", "embeddings", "biases") or by pattern of layer paths:
            {"hidden": ["he_auto", "auto"], "biases": ["zeros", "bias_auto"]}.
            Weights that no key covers keep the model's own initializer. None means `DEFAULT_INITIALIZERS`
            and "own", or what the model declares as "initializer".
        learning_rates: The rates to choose from, a `Range` to search in (not for a grid), or None to keep
            the model's own rate.
        gains: Gains g for he_auto, xavier_auto, lecun_auto and auto: the variance is g / fan, whatever the
            activation. None keeps each rule's own gain.
        distributions: The distributions that these rules may draw from
            (`keras_initx.known_distributions`). None keeps the truncated normal.
        optimizers: The names of Keras's optimizers ("adam", "sgd"), and "own" for the model's. Each has the
            learning rate, the weight decay and the clipping of the model's own, unless those are searched.
            None keeps the model's own.
        weight_decays: Values, or a `Range`, for the optimizer's decoupled weight decay; None keeps the
            model's own.
        schedules: How the learning rate changes from epoch to epoch: "constant", "linear", "cosine". None
            leaves the rate alone.
        batch_sizes: The batch sizes to choose from, if the data are arrays; None keeps the one of `fit`. A
            HyperModel's own `fit` receives the chosen one as `batch_size`, and must pass it on.

    Example:

    >>> SearchSpace(initializers=["auto", "own"], learning_rates=[1e-3, 3e-3]).learning_rates
    [0.001, 0.003]
    """

    initializers: Initializers | None = None
    learning_rates: Numbers | None = None
    gains: Numbers | None = None
    distributions: Sequence[str] | None = None
    optimizers: Sequence[str] | None = None
    weight_decays: Numbers | None = None
    schedules: Sequence[str] | None = None
    batch_sizes: Sequence[int] | None = None
