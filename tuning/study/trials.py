"""KerasTuner's trials from the trials of a study, and back."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from ..space import allows, range_of
from .attributes import METRICS_ATTRIBUTE, REASON_ATTRIBUTE, values_of

_STATUS = {
    TrialState.COMPLETE: kt_trial.TrialStatus.COMPLETED,
    TrialState.FAIL: kt_trial.TrialStatus.FAILED,
    # KerasTuner gives up after several FAILED trials in a row, but a pruned trial is not an error.
    TrialState.PRUNED: kt_trial.TrialStatus.INVALID,
    TrialState.RUNNING: kt_trial.TrialStatus.RUNNING,
    TrialState.WAITING: kt_trial.TrialStatus.IDLE,
}


class ActiveValues(keras_tuner.HyperParameters):
    """Hyperparameters whose `ensure_active_values` supports one name under several conditions.

    KerasTuner drops the value of an active hyperparameter if an inactive one has the same name, and the next
    build raises `KeyError`.
    """

    def ensure_active_values(self) -> None:
        """Add a random value for each active hyperparameter without one, and drop inactive values."""
        names = [hp.name for hp in self.space]
        for hp in self.space:
            if self.is_active(hp):
                value = self.values.get(hp.name)
                # It may be the value of the hyperparameter that was active before.
                of_another = names.count(hp.name) > 1 and value != hp.default and not _allows(hp, value)
                if value is None or of_another:
                    self.values[hp.name] = hp.random_sample()
            elif not self.is_active(hp.name):
                self.values.pop(hp.name, None)


# KerasTuner serializes hyperparameters by the name of their class, and reads back only its own.
ActiveValues.__name__ = keras_tuner.HyperParameters.__name__


def _allows(hp: Any, value: Any) -> bool:
    return not isinstance(hp, hp_types.Fixed) and allows(range_of(hp), value)


def trial_id_of(number: int) -> str:
    """Return KerasTuner's id of the trial with that number."""
    return f"{number:04d}"


def to_keras_tuner(frozen: FrozenTrial, space: keras_tuner.HyperParameters) -> kt_trial.Trial:
    """Return a trial of the study as KerasTuner's, with exactly the values that its builds used.

    Args:
        frozen: The trial.
        space: The hyperparameters that are known. Those that the trial's builds never declared are left
            out, so a build that declares one uses its default, as the trial would have.
    """
    trial = kt_trial.Trial(
        hyperparameters_of(values_of(frozen), space), trial_id_of(frozen.number), _STATUS[frozen.state]
    )
    record = copy.deepcopy(frozen.user_attrs.get(METRICS_ATTRIBUTE))
    if record is not None:
        trial.metrics = type(trial.metrics).from_config({"metrics": record["metrics"]})
        trial.best_step = record["best_step"]
    trial.score = frozen.value if frozen.state == TrialState.COMPLETE else None
    trial.message = frozen.user_attrs.get(REASON_ATTRIBUTE)
    return trial


def hyperparameters_of(
    values: Mapping[str, Any], space: keras_tuner.HyperParameters
) -> keras_tuner.HyperParameters:
    """Return hyperparameters with exactly the given values, and the fixed values of `space`."""
    known = ActiveValues()
    known.values = dict(values)
    for hp in space.space:
        if isinstance(hp, hp_types.Fixed) and known.is_active(hp):
            known.values.setdefault(hp.name, hp.value)
    used = [hp for hp in space.space if hp.name in known.values or not known.is_active(hp)]
    hyperparameters = ActiveValues()
    hyperparameters.merge(used)
    hyperparameters.values = known.values
    return hyperparameters


def metrics_record(trial: kt_trial.Trial) -> dict[str, Any]:
    """Return the metrics and the best step of an ended trial, as the study stores them."""
    return {**trial.metrics.get_config(), "best_step": trial.best_step}


def combination(values: Mapping[str, Any]) -> str:
    """Return a text that is equal for trials with equal values."""
    return json.dumps(values, sort_keys=True, default=str)
