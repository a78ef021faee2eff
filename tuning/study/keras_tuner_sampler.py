"""A KerasTuner oracle, Keras's own or a user's, as the sampler of an Optuna study."""

from collections.abc import Callable
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from .attributes import SURPLUS

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
        InitxError: An oracle with a memory of its own: KerasTuner's grid, Hyperband; one with another
            objective than the search.

    Attributes:
        stopped: Whether the oracle has nothing to propose any more.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        space: Callable[[], keras_tuner.HyperParameters],
        objective: keras_tuner.Objective | None = None,
    ) -> None:
        check_oracle(oracle, objective)
        self._oracle, self._space = oracle, space
        self._values: dict[int, dict[str, Any]] = {}
        self._otherwise = optuna.samplers.RandomSampler(seed=oracle.seed)
        self.stopped = False

    def reseed_rng(self) -> None:
        """Draws other random values where the oracle has none than another process does."""
        self._otherwise.reseed_rng()

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
        known = [t.params for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        values: dict[str, Any] = {}
        for _ in range(_COLLISIONS):
            answer = self._oracle.populate_space(f"{trial.number:04d}")
            self.stopped = answer.get("status") == kt_trial.TrialStatus.STOPPED
            values = dict(answer.get("values") or {})
            # In a new process KerasTuner's begin with the random numbers of the first one. What a user's
            # proposes is its own matter.
            own = type(self._oracle).__module__.startswith("keras_tuner.")
            if not own or self.stopped or not any(_is_same(values, params) for params in known):
                break
        self._values[trial.number] = values

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
            if name in self._oracle.trials or SURPLUS in frozen.user_attrs or not frozen.params:
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


# How often an oracle may propose what is known.
_COLLISIONS = 20
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def check_oracle(oracle: keras_tuner.Oracle, objective: keras_tuner.Objective | None = None) -> None:
    """Raises an `InitxError` for an oracle whose place in its search no study can give back, or that looks
    for something else than the search does.
    """
    for cls, instead in _WITH_A_MEMORY.items():
        if isinstance(oracle, cls):
            allowed = "an oracle that proposes from the trials it is told of"
            raise InitxError("tuner", type(oracle).__name__, allowed, f"Use {instead}.")
    own = getattr(oracle, "objective", None)
    if own is None or objective is None:
        return
    told = [(o.name, o.direction) for o in (own if isinstance(own, list) else [own])]
    if told != [(objective.name, objective.direction)]:
        received = ", ".join(f"an oracle for {name!r} ({direction})" for name, direction in told)
        allowed = f"one for keras_tuner.Objective({objective.name!r}, {objective.direction!r})"
        raise InitxError("tuner", received, allowed, "Pass that as its objective.")


def _is_same(values: dict[str, Any], params: dict[str, Any]) -> bool:
    # A trial that waits, or was one too many, has none.
    return (
        bool(values)
        and bool(params)
        and all(params.get(name, value) == value for name, value in values.items())
    )


def _allows(distribution: Any, value: Any) -> bool:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)
