"""Whether more or less of a metric is better, from its name alone."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import keras_tuner

from keras_initx.errors import InitxError

# What a misspelt objective may have meant.
_USUAL = ("val_accuracy", "val_loss", "val_mae", "val_mse", "val_auc", "accuracy", "loss")
# KerasTuner takes these for losses, or fails on them. Names are compared without case and underscores.
_MORE_IS_BETTER = {
    "binaryiou", "concordancecorrelation", "f1score", "fbetascore", "iou", "meaniou", "onehotiou",
    "onehotmeaniou", "pearsoncorrelation", "precisionatrecall", "r2score", "recallatprecision",
    "sensitivityatspecificity", "specificityatsensitivity",
}  # fmt: skip
# The direction of names that end in one of these words, such as "top_5_accuracy" or "kl_loss".
_LAST_WORDS = {"accuracy": "max", "auc": "max", "loss": "min", "logcosh": "min"}
# KerasTuner minimizes these. As metrics, some are losses to one user and coefficients to another, and the
# others may measure anything.
_AMBIGUOUS = {
    "cosinesimilarity", "deserialize", "dice", "get", "mean", "meanmetricwrapper", "metric", "serialize",
    "sum", "tversky",
}  # fmt: skip


def objectives_of(objective: Any, outputs: Callable[[], Iterable[str]]) -> list[keras_tuner.Objective]:
    """Return the objective with its direction; for None, the objectives to try in turn.

    A metric of one of several outputs begins with the output's name, such as "val_age_mae".

    Args:
        objective: The name of a metric, a `keras_tuner.Objective`, a list of these, or None.
        outputs: Returns the names of the model's outputs.

    Raises:
        InitxError: It is unknown whether more or less of the metric is better.

    Example:

    >>> print(objectives_of("val_age_mae", lambda: ["age", "kind"])[0])
    Objective(name="val_age_mae", direction="min")
    """
    names = ["val_accuracy", "val_loss"] if objective is None else [objective]
    return [_with_direction(name, outputs) for name in names]


def _with_direction(objective: Any, outputs: Callable[[], Iterable[str]]) -> keras_tuner.Objective:
    if isinstance(objective, keras_tuner.Objective):
        return objective
    if isinstance(objective, list) and objective:
        return keras_tuner.Oracle([_with_direction(part, outputs) for part in objective]).objective
    name = objective if isinstance(objective, str) else ""
    metric = name.removeprefix("val_")
    direction = _direction(metric)
    if metric and direction is None:
        parts = [metric.removeprefix(f"{out}_") for out in outputs() if metric.startswith(f"{out}_")]
        direction = next(filter(None, map(_direction, parts)), None)
    if direction is not None:
        return keras_tuner.Objective(name, direction)
    near = get_close_matches(name, _USUAL, n=1, cutoff=0.8)
    example = f"keras_tuner.Objective({name or 'val_f1'!r}, 'max')."
    remedy = f"Did you mean {near[0]!r}? If not, pass {example}" if near else f"For example {example}"
    allowed = "a metric with a known direction, or keras_tuner.Objective(name, direction)"
    raise InitxError("objective", objective, allowed, remedy)


def _direction(metric: str) -> str | None:
    """Return "max" or "min" for the name of a metric without "val_" and output; None if it is unknown."""
    # Keras numbers the second metric of a name.
    metric = re.sub(r"_\d+$", "", metric)
    words = metric.lower().split("_")
    if not {"neg", "negative", "not"}.intersection(words) and words[-1] in _LAST_WORDS:
        return _LAST_WORDS[words[-1]]
    key = metric.removeprefix("weighted_").replace("_", "").lower()
    if key in _MORE_IS_BETTER:
        return "max"
    if key in _AMBIGUOUS or not metric or metric.startswith("_"):
        return None
    try:
        return keras_tuner.Oracle(metric).objective.direction
    except Exception:
        # KerasTuner makes an object of the metric, which raises anything for one that needs arguments.
        return None
