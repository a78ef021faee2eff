"""Optuna's pruners by the names of `search(pruner=...)`: over the epochs of a run, and over the seeds."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState, create_trial

from keras_initx.errors import InitxError, unknown_name

from ..storage import quiet_optuna

PRUNERS = ("median", "halving", "hyperband", "wilcoxon")
Pruner = str | BasePruner


class Pruning:
    """The pruners of a search, at most one over epochs and one over seeds.

    Over epochs, a trial's value at an epoch of a seed is compared with the values of other trials at the same
    epoch of the same seed. Over seeds, a trial is compared with the best trial seed by seed (Wilcoxon's
    signed-rank test, one-sided, p < 0.1), which takes at least four seeds.

    Args:
        pruners: "median", "halving", "hyperband" (over epochs), "wilcoxon" (over seeds), an
            `optuna.pruners.BasePruner`, or a list of at most one of each kind; None never prunes.
        epochs, seeds: The numbers of epochs and of seeds of a trial.

    Raises:
        InitxError: A name is unknown, or two pruners are of one kind.

    Attributes:
        names: The names of the pruners.
        over_epochs: The pruner over epochs; Optuna's `NopPruner` if no pruner over epochs was given.
        over_seeds: The pruner over seeds, or None.
    """

    def __init__(self, pruners: Pruner | Sequence[Pruner] | None, epochs: int, seeds: int) -> None:
        several = isinstance(pruners, Sequence) and not isinstance(pruners, str)
        listed: list[Any] = list(pruners) if several else [] if pruners is None else [pruners]  # type: ignore[arg-type]
        optuna_pruners = [_make_pruner(p, epochs, seeds) for p in listed]
        over_seeds = [p for p in optuna_pruners if isinstance(p, optuna.pruners.WilcoxonPruner)]
        over_epochs = [p for p in optuna_pruners if p not in over_seeds]
        self.names = [p if isinstance(p, str) else type(p).__name__ for p in listed]
        if max(len(over_seeds), len(over_epochs)) > 1:
            allowed = "at most one pruner over epochs and one over seeds (wilcoxon)"
            raise InitxError("pruner", self.names, allowed)
        self.over_epochs: BasePruner = (over_epochs or [optuna.pruners.NopPruner()])[0]
        self.over_seeds = over_seeds[0] if over_seeds else None

    def is_behind(
        self, scores: Mapping[int, float], others: Sequence[Mapping[int, float]], direction: str
    ) -> bool:
        """Return whether a trial's scores are worse than the best other trial's, seed by seed.

        Args:
            scores: The trial's score for each finished seed.
            others: The scores of each completed trial, by seed.
            direction: "max" or "min".
        """
        if self.over_seeds is None or not others:
            return False
        # The search's own study has values over epochs. Optuna's pruner needs a study with values over seeds.
        with warnings.catch_warnings(), quiet_optuna():
            # The pruner leaves out seeds that only one of the two trials has, and warns about it.
            warnings.simplefilter("ignore", UserWarning)
            study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
            for other in others:
                value = sum(other.values()) / len(other)
                study.add_trial(create_trial(value=value, intermediate_values=dict(other)))
            running = create_trial(state=TrialState.RUNNING, intermediate_values=dict(scores))
            return self.over_seeds.prune(study, running)


def _make_pruner(pruner: Pruner, epochs: int, seeds: int) -> BasePruner:
    if isinstance(pruner, BasePruner):
        return pruner
    if not isinstance(pruner, str):
        raise InitxError("pruner", pruner, f"one of {', '.join(PRUNERS)}, or an optuna.pruners.BasePruner")
    if pruner not in PRUNERS:
        raise unknown_name("pruner", pruner, PRUNERS)
    if pruner == "median":
        # The first third of the first run says little about its end.
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 3)
    if pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    if pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs * seeds)
    with warnings.catch_warnings():
        # `WilcoxonPruner` has been experimental since Optuna 3.6.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner()
