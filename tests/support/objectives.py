"""Objectives of a small search, and Optuna studies for them."""

from collections.abc import Callable
from typing import Any

import optuna
from keras_initx.tuning.study import results_of

Make = Callable[..., Any]


def study_of(goal: Any, values: list[dict[str, Any]], **options: Any) -> optuna.Study:
    """Return a study in which the given values come first."""
    study = optuna.create_study(direction=goal.direction, **options)
    for one in values:
        study.enqueue_trial(one)
    return study


def scores(study: optuna.Study) -> list[dict[int, float]]:
    return [trial.scores() for trial in results_of(study)]
