"""Ask the study for new trials: candidates first, then the sampler, until nothing is left."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import keras_tuner
import numpy as np
import optuna
from keras_tuner.engine import trial as kt_trial
from optuna.trial import TrialState

from keras_initx.errors import InitxError

from ..space import check_known, grid_of, grid_size, parameters_of
from ..storage import retry
from .attributes import EXHAUSTED_ATTRIBUTE, SURPLUS_ATTRIBUTE, values_of
from .samplers import OracleSampler, WithoutRepeats, make_sampler
from .shared_study import SharedStudy
from .trials import combination, trial_id_of

# The names of the hyperparameters of the first grid.
_GRID_ATTRIBUTE = "grid"
_SEED_ATTRIBUTE = "sampler_seed"


class Asking(Protocol):
    """The oracle that proposals are for: its space, its limit, its seed and its study."""

    hyperparameters: keras_tuner.HyperParameters
    max_trials: int | None
    seed: int | None
    shared: SharedStudy

    def populate_space(self, trial_id: str) -> dict[str, Any]: ...

    def hold(self, name: str) -> AbstractContextManager[None]: ...


class Proposals:
    """Proposes the trials of an oracle.

    Args:
        oracle: The oracle.
        sampler, repeats: As in `OptunaOracle`, with a KerasTuner oracle wrapped into an `OracleSampler`.
        revises: Whether the oracle's `populate_space` decides on the values that the sampler has drawn.

    Attributes:
        exhausted: Whether the sampler has no more values for the space.
    """

    def __init__(
        self, oracle: Asking, sampler: str | optuna.samplers.BaseSampler, repeats: bool, revises: bool = False
    ) -> None:
        self._oracle, self._sampler = oracle, sampler
        self._revise = self._revised if revises else None
        self._drawn: dict[str, dict[str, Any]] = {}
        # A grid has no repetitions, and an `OracleSampler` has a rule of its own.
        self._may_repeat = repeats or sampler == "grid" or isinstance(sampler, OracleSampler)
        self._reseeded, self.exhausted = False, False
        self._candidates: tuple[dict[str, Any], ...] = ()

    def enqueue(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Add candidates to try first."""
        if self._sampler == "grid" and candidates:
            remedy = "Leave it out: a grid tries every combination anyway."
            raise InitxError("enqueue", candidates, "empty for a grid", remedy)
        if isinstance(candidates, Mapping) or not all(isinstance(v, Mapping) for v in candidates):
            allowed = "a list of dictionaries that map names of hyperparameters to values"
            raise InitxError("enqueue", candidates, allowed)
        self._candidates = (*self._candidates, *(dict(values) for values in candidates))

    @property
    def limit(self) -> int | None:
        """The largest number of trials: `max_trials` or the size of a smaller grid; None if unlimited."""
        limit = self._oracle.max_trials
        if self._sampler != "grid":
            return limit
        size = grid_size(self._oracle.hyperparameters)
        return size if limit is None else min(limit, size)

    def begin(self) -> None:
        """Create the study, and enqueue the candidates unless a trial has started."""
        if self._oracle.shared.frozen_trials():
            return
        for values in self._candidates:
            check_known(self._oracle.hyperparameters, values)
        if self._candidates:
            with self._alone("begin"):
                for values in self._candidates:
                    retry(self._oracle.shared.study.enqueue_trial, self._stored(values), skip_if_exists=True)

    def ask(self) -> optuna.trial.Trial | None:
        """Return a new trial, owned by this process, or None if none is left."""
        shared, limit = self._oracle.shared, self.limit
        number = len(shared.frozen_trials())
        if self.exhausted or (limit is not None and number >= limit):
            return None
        if not number:
            self.begin()
        self.use_sampler(number)
        trial = retry(shared.study.ask)
        shared.sign(trial)
        if trial.number != number:
            # Another process asked at the same time. The values depend on the trial's actual number.
            self.use_sampler(trial.number)
        sampler = shared.study.sampler
        if isinstance(sampler, WithoutRepeats):
            try:
                # Optuna 5 calls `sample_relative`, which draws the values, when it needs the first of them.
                _ = trial.relative_params
                if not sampler.has_drawn:
                    sampler.sample_relative(shared.study, shared.frozen(trial.number), {})
            except Exception:
                self._end_as_surplus(trial)
                raise
        rank = sum(t.number <= trial.number for t in shared.frozen_trials())
        if getattr(sampler, "stopped", False):
            self.exhausted = True
            shared.set_attribute(EXHAUSTED_ATTRIBUTE, True)
        if self.exhausted or (limit is not None and rank > limit):
            self._end_as_surplus(trial)
            return None
        return trial

    def _end_as_surplus(self, trial: optuna.trial.Trial) -> None:
        """End a trial that does not count, because it has no values or comes after the last one."""
        retry(trial.set_user_attr, SURPLUS_ATTRIBUTE, True)
        retry(self._oracle.shared.tell, trial, None, TrialState.FAIL)

    def use_sampler(self, number: int) -> None:
        """Give the study the sampler of the trial with that number."""
        study = self._oracle.shared.study
        if self._sampler == "grid":
            # The grid has the same order in every process.
            grid = grid_of(self._oracle.hyperparameters)
            self._check_grid(grid)
            study.sampler = make_sampler("grid", self._seed(), grid)
        elif isinstance(self._sampler, str):
            # A resumed search must not repeat the random numbers of its first process. Nor may a search
            # of the next seed repeat the numbers of the next trial, as with the sum of seed and number.
            study.sampler = make_sampler(self._sampler, _mixed(self._seed(), number))
        else:
            if not self._reseeded and (self._oracle.shared.is_shared or self._oracle.shared.frozen_trials()):
                # Otherwise it would repeat the random numbers of another process.
                self._sampler.reseed_rng()
            self._reseeded = True
            study.sampler = self._sampler
        if not self._may_repeat or self._revise:
            trials = [] if self._may_repeat else self._oracle.shared.frozen_trials()
            tried = {t.number: combination(values_of(t)) for t in trials}
            seed = _mixed(self._oracle.seed or 0, number, 1)
            space = self._oracle.hyperparameters
            study.sampler = WithoutRepeats(study.sampler, space, tried, seed, self._revise)

    def _revised(self, number: int, drawn: dict[str, Any]) -> dict[str, Any] | None:
        """Return the parameters that the oracle chooses for a new trial; None if it ends the search."""
        trial_id = trial_id_of(number)
        self._drawn = {trial_id: drawn}
        answer = self._oracle.populate_space(trial_id)
        status = answer.get("status")
        if status == kt_trial.TrialStatus.STOPPED:
            return None
        if status != kt_trial.TrialStatus.RUNNING:
            problem = f"`populate_space` must return the status RUNNING or STOPPED, got {status!r}"
            raise InitxError("populate_space", status, "RUNNING or STOPPED", problem=problem)
        values = answer.get("values") or {}
        check_known(self._oracle.hyperparameters, values, "populate_space")
        return self._stored(values)

    def drawn(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the hyperparameters that the sampler has drawn for the trial that begins.

        Raises:
            InitxError: No trial with that id begins.
        """
        if trial_id not in self._drawn:
            remedy = "Call create_trial, which calls populate_space."
            raise InitxError("trial_id", trial_id, "the id of the trial that begins", remedy)
        return dict(self._drawn[trial_id])

    def _check_grid(self, grid: Mapping[str, Any]) -> None:
        """Raise an `InitxError` if the grid has grown since its first trial, which leaves gaps."""
        shared = self._oracle.shared
        first = shared.attributes().get(_GRID_ATTRIBUTE)
        if first is None:
            shared.set_attribute(_GRID_ATTRIBUTE, sorted(grid))
        elif late := sorted(grid.keys() - set(first)):
            allowed = f"another sampler, since the space has grown by {', '.join(late)} after its first trial"
            remedy = "Declare it in `declare_hyperparameters`, or pass it in hyperparameters=."
            raise InitxError("tuner", "grid", allowed, remedy)

    def _stored(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a candidate under the names that its parameters have in the study."""
        parameters = parameters_of(self._oracle.hyperparameters.space)
        return {
            p.name: p.stored(values[p.hyperparameter.name])
            for p in parameters
            if p.hyperparameter.name in values
        }

    def _seed(self) -> int:
        """Return the seed; without one, draw it once for all processes of the search."""
        oracle = self._oracle
        if oracle.seed is None:
            with self._alone("seed"):
                drawn = oracle.shared.attributes().get(_SEED_ATTRIBUTE)
                if drawn is None:
                    drawn = int(np.random.SeedSequence().generate_state(1)[0])
                    oracle.shared.set_attribute(_SEED_ATTRIBUTE, drawn)
                oracle.seed = int(drawn)
        return int(oracle.seed)

    def _alone(self, lock: str) -> Any:
        return self._oracle.hold(lock) if self._oracle.shared.is_shared else nullcontext()


def _mixed(seed: int, *numbers: int) -> int:
    return int(np.random.SeedSequence([seed % 2**32, *numbers]).generate_state(1)[0])
