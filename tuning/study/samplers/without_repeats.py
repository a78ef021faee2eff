"""Two samplers: one never repeats a combination of another sampler, the other returns known values."""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import keras_tuner
import optuna
from optuna.trial import FrozenTrial

from ...space import Parameter, count_points, filled
from ..attributes import VALUES_ATTRIBUTE
from ..trials import combination

# How often a combination is drawn again before a space counts as exhausted, for each of its points. A space
# of n points that lacks one is taken for exhausted with probability (1 - 1/n) ** (20 n), 2e-9.
_DRAWS = 20
_MOST_DRAWS = 2000


class GivenValues(optuna.samplers.BaseSampler):
    """A sampler that returns known values, to add parameters to a running trial.

    Args:
        values: The values by the names of the parameters.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return an empty space: every value is known by its name."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        """Return no values."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return the known value."""
        return self._values[param_name]


class WithoutRepeats(optuna.samplers.BaseSampler):
    """A sampler that replaces a combination which the study already has by a random one.

    It draws all values of a trial together. Another draw of the same sampler would often repeat
    itself, so further draws are uniform. Without a repetition, the values are the sampler's own.

    Args:
        sampler: The sampler of the search.
        space: The hyperparameters known so far.
        tried: The combinations (`combination`) of the other trials, by number.
        seed: The seed of the random draws.
        revise: Called with the number of a new trial and its values by hyperparameter, unless the user
            enqueued them. It returns the parameters to use instead, or None to end the search.

    Attributes:
        has_drawn: Whether the values of the trial are drawn.
        stopped: Whether every draw was a repetition: the space is exhausted.
    """

    def __init__(
        self,
        sampler: optuna.samplers.BaseSampler,
        space: keras_tuner.HyperParameters,
        tried: Mapping[int, str],
        seed: int,
        revise: Callable[[int, dict[str, Any]], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self._sampler, self._space, self._tried, self._revise = sampler, space, tried, revise
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._values: dict[str, Any] = {}
        self.has_drawn = self.stopped = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return the sampler's space."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        """Draw all values of the trial; return none, because `sample_independent` returns them."""
        self.has_drawn = True
        relative = self._sampler.sample_relative(study, trial, search_space)
        fixed = trial.system_attrs.get("fixed_params", {})
        tried = {values for number, values in self._tried.items() if number != trial.number}
        values = self._draw(study, trial, self._sampler, {**relative, **fixed})
        size = count_points(self._space)
        draws = _DRAWS if size is None else min(_DRAWS * size, _MOST_DRAWS)
        while combination(values) in tried and draws:
            values, draws = self._draw(study, trial, self._random, fixed), draws - 1
        # A candidate that the user enqueued runs all the same.
        self.stopped = combination(values) in tried and not fixed
        # A trial that another process began has its values already.
        if self._revise is not None and not (self.stopped or fixed or VALUES_ATTRIBUTE in trial.user_attrs):
            revised = self._revise(trial.number, values)
            self.stopped = revised is None
            self._values = {**self._values, **(revised or {})}
        return {}

    def _draw(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        sampler: optuna.samplers.BaseSampler,
        known: Mapping[str, Any],
    ) -> dict[str, Any]:
        drawn = copy(trial)
        drawn.params, drawn.distributions = {}, {}

        def choose(parameter: Parameter) -> Any:
            name, range_ = parameter.name, parameter.distribution
            if name not in drawn.params:
                value = known[name] if name in known else _single(range_)
                if value is None:
                    value = sampler.sample_independent(study, drawn, name, range_)
                drawn.params = {**drawn.params, name: value}
                drawn.distributions = {**drawn.distributions, name: range_}
            return drawn.params[name]

        values = filled(self._space.space, choose).values
        self._values = drawn.params
        return dict(values)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Return the value that was drawn with the others."""
        if param_name in self._values:
            return self._values[param_name]
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Call the sampler's own."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        """Call the sampler's own."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Reseed the sampler."""
        self._sampler.reseed_rng()


def _single(range_: Any) -> Any:
    """Return the only value of a distribution, for which Optuna asks no sampler; None if it has several."""
    if not range_.single():
        return None
    return range_.choices[0] if hasattr(range_, "choices") else range_.low
