"""A KerasTuner oracle, one of its own or a user's, as the sampler of an Optuna study."""

from collections.abc import Callable
from typing import Any

import keras_tuner
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import FrozenTrial, TrialState

from keras_initx.errors import InitxError

from ...space import allows, parameters_of
from ..attributes import SURPLUS_ATTRIBUTE, searched_values, values_of
from ..trials import hyperparameters_of

# Oracles that keep their progress in private lists, which no study can restore, and what to use instead.
_STATEFUL = {
    keras_tuner.oracles.GridSearchOracle: "tuner='grid'",
    keras_tuner.oracles.HyperbandOracle: "pruner='hyperband'",
}
# Methods of an oracle that the study replaces.
_REPLACED = ("create_trial", "update_trial", "end_trial", "score_trial", "get_best_trials")
# How often an oracle may propose values that the study already has.
_MAX_COLLISIONS = 20
_ENDED_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class OracleSampler(optuna.samplers.BaseSampler):
    """A sampler that asks `oracle.populate_space` for the values of each trial; the study remains the memory.

    Before each trial the oracle receives the values and scores of all trials that have ended, including
    trials of other processes and of earlier runs. A trial that failed or was ended early counts with the
    worst score so far; without a score the oracle would propose its values again.

    Args:
        oracle: The oracle.
        space: Returns the hyperparameters known so far.
        objective: The objective of the search; None skips the comparison with the oracle's own.
        repeats: Whether an oracle of KerasTuner may propose values that the study has already, after several
            attempts. Otherwise that ends the search.

    Raises:
        InitxError: The oracle keeps state that a study cannot restore (KerasTuner's grid and Hyperband),
            overrides a method that the study replaces, or has a different objective.

    Attributes:
        stopped: Whether the oracle has no more values to propose.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        space: Callable[[], keras_tuner.HyperParameters],
        objective: keras_tuner.Objective | None = None,
        repeats: bool = True,
    ) -> None:
        check_oracle(oracle, objective)
        self._oracle, self._space, self._repeats = oracle, space, repeats
        self._values: dict[int, dict[str, Any]] = {}
        self._fallback = optuna.samplers.RandomSampler(seed=oracle.seed)
        self.stopped = False

    def reseed_rng(self) -> None:
        """Reseed the random values that stand in for missing ones, so that two processes differ."""
        self._fallback.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return an empty space: every value is sampled by name."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        """Return no values: every value is sampled by name."""
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass the ended trials to the oracle, and ask it for the values of this trial."""
        self._oracle.hyperparameters = self._space()
        self._register_results(study)
        trials = study.get_trials(deepcopy=False)
        earlier = [searched_values(t) for t in trials if t.number != trial.number]
        # In a new process KerasTuner's oracles repeat the random numbers of the first process. A user's
        # oracle may propose the same values twice on purpose.
        is_keras_tuners = type(self._oracle).__module__.startswith("keras_tuner.")
        values: dict[str, Any] = {}
        for _ in range(_MAX_COLLISIONS):
            answer = self._oracle.populate_space(f"{trial.number:04d}")
            self.stopped = answer.get("status") == kt_trial.TrialStatus.STOPPED
            values = dict(answer.get("values") or {})
            if not is_keras_tuners or self.stopped or not any(_is_same(values, params) for params in earlier):
                break
        else:
            self.stopped = not self._repeats
        space = self._space().space
        self._values[trial.number] = {
            p.name: p.stored(values[p.hyperparameter.name])
            for p in parameters_of(space)
            if p.hyperparameter.name in values
        }

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return the oracle's value, or a random one if the oracle has no allowed value."""
        value = self._values.get(trial.number, {}).get(param_name)
        if value is not None and allows(param_distribution, value):
            return value
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def _register_results(self, study: optuna.Study) -> None:
        ended = study.get_trials(deepcopy=False, states=_ENDED_STATES)
        scores = [t.value for t in ended if t.state == TrialState.COMPLETE and t.value is not None]
        if not scores:
            return
        worst = min(scores) if study.direction == optuna.study.StudyDirection.MAXIMIZE else max(scores)
        for frozen in ended:
            trial_id = f"{frozen.number:04d}"
            is_known = trial_id in self._oracle.trials
            if is_known or SURPLUS_ATTRIBUTE in frozen.user_attrs or not frozen.params:
                continue
            hyperparameters = hyperparameters_of(values_of(frozen), self._space())
            # Its models need a value for every hyperparameter.
            hyperparameters.merge(self._space(), overwrite=False)
            hyperparameters.ensure_active_values()
            trial = kt_trial.Trial(hyperparameters, trial_id, kt_trial.TrialStatus.COMPLETED)
            trial.score = frozen.value if frozen.state == TrialState.COMPLETE else worst
            trial.best_step = 0
            self._oracle.trials[trial_id] = trial
            self._oracle.start_order.append(trial_id)
            self._oracle.end_order.append(trial_id)


def check_oracle(oracle: keras_tuner.Oracle, objective: keras_tuner.Objective | None = None) -> None:
    """Raise an `InitxError` for an oracle that no study can restore, or that has another objective."""
    for cls, alternative in _STATEFUL.items():
        if isinstance(oracle, cls):
            name = type(oracle).__name__
            problem = f"`tuner` {name} cannot be resumed, because it keeps its progress in private state"
            allowed = "an oracle that proposes values from the trials in its `trials`"
            raise InitxError("tuner", name, allowed, f"Use {alternative}.", problem)
    for name in _REPLACED:
        if getattr(type(oracle), name) is not getattr(keras_tuner.Oracle, name):
            problem = f"`tuner` {type(oracle).__name__} overrides {name}, which a search never calls"
            remedy = "Override only populate_space, which proposes the values of a trial."
            raise InitxError("tuner", type(oracle).__name__, f"an oracle without {name}", remedy, problem)
    own = getattr(oracle, "objective", None)
    if own is None or objective is None:
        return
    objectives = [(o.name, o.direction) for o in (own if isinstance(own, list) else [own])]
    if objectives != [(objective.name, objective.direction)]:
        received = ", ".join(f"{name!r} ({direction})" for name, direction in objectives)
        expected = f"keras_tuner.Objective({objective.name!r}, {objective.direction!r})"
        problem = f"`tuner` must be an oracle for the search's objective, got one for {received}"
        raise InitxError("tuner", received, f"an oracle for {expected}", f"Pass it {expected}.", problem)


def _is_same(values: dict[str, Any], params: dict[str, Any]) -> bool:
    # A waiting trial, or one beyond `max_trials`, has no parameters.
    return (
        bool(values)
        and bool(params)
        and all(params.get(name, value) == value for name, value in values.items())
    )
