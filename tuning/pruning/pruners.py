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
    """When a trial that falls behind is ended.

    Over epochs a trial's value at an epoch of a seed is compared with what others had at the same epoch of
    the same seed; over seeds, seed by seed, with the best trial (Wilcoxon's signed-rank test, one-sided,
    p < 0.1), which needs four seeds at least to say anything.

    Args:
        pruners: "median", "halving", "hyperband" (over epochs), "wilcoxon" (over seeds), or an
            `optuna.pruners.BasePruner`: at most one of each kind.
        epochs, seeds: How many of them a trial has.

    Raises:
        InitxError: An unknown name, or two pruners of one kind.
    """

    def __init__(self, pruners: Pruner | Sequence[Pruner] | None, epochs: int, seeds: int) -> None:
        several = isinstance(pruners, Sequence) and not isinstance(pruners, str)
        given: list[Any] = list(pruners) if several else [] if pruners is None else [pruners]  # type: ignore[arg-type]
        made = [_make(p, epochs, seeds) for p in given]
        over_seeds = [p for p in made if isinstance(p, optuna.pruners.WilcoxonPruner)]
        over_epochs = [p for p in made if p not in over_seeds]
        if max(len(over_seeds), len(over_epochs)) > 1:
            raise InitxError("pruner", self._described(given), "one over epochs and one over seeds at most")
        self.names = self._described(given)
        self.over_epochs: BasePruner = (over_epochs or [optuna.pruners.NopPruner()])[0]
        self.over_seeds = over_seeds[0] if over_seeds else None

    def is_behind(
        self, scores: Mapping[int, float], others: Sequence[Mapping[int, float]], direction: str
    ) -> bool:
        """Whether a trial's scores are worse than those of the best of the others, seed by seed.

        Args:
            scores: The trial's score for each seed that is done.
            others: The same of every completed trial.
            direction: "max" or "min".
        """
        if self.over_seeds is None or not others:
            return False
        # The study's own intermediate values are those of the epochs: Optuna's pruner gets a study of seeds.
        with warnings.catch_warnings(), quiet_optuna():
            # Seeds that only one of the two trials has are left out: so it shall be.
            warnings.simplefilter("ignore", UserWarning)
            study = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
            for done in others:
                value = sum(done.values()) / len(done)
                study.add_trial(create_trial(value=value, intermediate_values=dict(done)))
            running = create_trial(state=TrialState.RUNNING, intermediate_values=dict(scores))
            return self.over_seeds.prune(study, running)

    @staticmethod
    def _described(pruners: Sequence[Pruner]) -> list[str]:
        return [p if isinstance(p, str) else type(p).__name__ for p in pruners]


def _make(pruner: Pruner, epochs: int, seeds: int) -> BasePruner:
    if isinstance(pruner, BasePruner):
        return pruner
    if not isinstance(pruner, str):
        raise InitxError("pruner", pruner, f"one of {', '.join(PRUNERS)}, or an optuna.pruners.BasePruner")
    if pruner not in PRUNERS:
        raise unknown_name("pruner", pruner, PRUNERS)
    if pruner == "median":
        # The first third of the first run tells little of the end.
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 3)
    if pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    if pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs * seeds)
    with warnings.catch_warnings():
        # Optuna calls it experimental, as it has since 3.6.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.WilcoxonPruner()
