"""A KerasTuner oracle, Keras's own or a user's, as the sampler of an Optuna study."""

from collections.abc import Callable
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

# What keeps its place in lists of its own, which no study can give back to it.
_WITH_A_MEMORY = {
    keras_tuner.oracles.GridSearchOracle: "tuner='grid'",
    keras_tuner.oracles.HyperbandOracle: "pruner='hyperband'",
}


class OracleSampler(optuna.samplers.BaseSampler):
    """Asks `oracle.populate_space` for the values of each trial; the study stays the memory.

    Before each trial the oracle is told of those that have ended, also in other processes or before a
    restart: their values and scores. One that failed, or was ended early, has the worst score that there
    is so far: of what it is not told it would propose again.

    Args:
        oracle: The oracle.
        space: Returns the hyperparameters known so far.

    Raises:
        InitxError: An oracle with a memory of its own: KerasTuner's grid, Hyperband.
    """

    def __init__(self, oracle: keras_tuner.Oracle, space: Callable[[], keras_tuner.HyperParameters]) -> None:
        check_oracle(oracle)
        self._oracle, self._space = oracle, space
        self._values: dict[int, dict[str, Any]] = {}
        self._otherwise = optuna.samplers.RandomSampler(seed=oracle.seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Nothing: every value is sampled by name."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        """Nothing."""
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tells the oracle what is known, and asks it for this trial's values."""
        self._oracle.hyperparameters = self._space()
        self._tell(study)
        answer = self._oracle.populate_space(f"{trial.number:04d}")
        self._values[trial.number] = dict(answer.get("values") or {})

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """The oracle's value; a random one where it has none that is allowed."""
        value = self._values.get(trial.number, {}).get(param_name)
        if value is not None and _allows(param_distribution, value):
            return value
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)

    def _tell(self, study: optuna.Study) -> None:
        ended = study.get_trials(deepcopy=False, states=_ENDED)
        scores = [t.value for t in ended if t.state == TrialState.COMPLETE and t.value is not None]
        if not scores:
            return
        worst = min(scores) if study.direction == optuna.study.StudyDirection.MAXIMIZE else max(scores)
        for frozen in ended:
            name = f"{frozen.number:04d}"
            if name in self._oracle.trials:
                continue
            hyperparameters = self._space()
            hyperparameters.values = dict(frozen.params)
            hyperparameters.ensure_active_values()
            told = kt_trial.Trial(hyperparameters, name, kt_trial.TrialStatus.COMPLETED)
            told.score = frozen.value if frozen.state == TrialState.COMPLETE else worst
            told.best_step = 0
            self._oracle.trials[name] = told
            self._oracle.start_order.append(name)
            self._oracle.end_order.append(name)


_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def check_oracle(oracle: keras_tuner.Oracle) -> None:
    """Raises an `InitxError` for an oracle whose place in its search no study can give back."""
    for cls, instead in _WITH_A_MEMORY.items():
        if isinstance(oracle, cls):
            allowed = "an oracle that proposes from the trials it is told of"
            raise InitxError("tuner", type(oracle).__name__, allowed, f"Use {instead}.")


def _allows(distribution: Any, value: Any) -> bool:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)
