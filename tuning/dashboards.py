"""TensorBoard files of a hyperparameter search: one HParams session per trial, one run per seed."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# tensorboard.plugins.hparams.api and EventFileWriter would do more of the work, but import tensorflow.
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import (
    Discrete,
    Domain,
    HParam,
    IntInterval,
    Metric,
    RealInterval,
    hparams_config_pb,
    hparams_pb,
)
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = [
    "INACTIVE",
    "STATUSES",
    "Dashboard",
    "Parameter",
    "Value",
    "curve_summaries",
    "experiment_summary",
    "objective_summaries",
    "session_end_summary",
    "session_start_summary",
]

Value = str | int | float | bool

INACTIVE = "-"
"""What a string hyperparameter shows in a trial that does not use it."""

STATUSES: Mapping[str, int] = {
    "completed": api_pb2.STATUS_SUCCESS,
    "stopped": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "invalid": api_pb2.STATUS_FAILURE,
    "screened": api_pb2.STATUS_FAILURE,
    "pruned": api_pb2.STATUS_FAILURE,
}
"""The values of the column `status`, with the state that TensorBoard gives the session for each."""

_MEAN, _STD, _N = "objective/mean", "objective/std", "objective/n"
_STATUS = "status"
_SUMMARY = "summary"


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter of the search: its name and either its values or its bounds.

    >>> Parameter("units", values=(32, 64)).domain()
    Discrete([32, 64])
    >>> Parameter("rate", low=1e-4, high=0.1).domain()
    RealInterval(0.0001, 0.1)
    """

    name: str
    values: tuple[Value, ...] | None = None
    low: float | None = None
    high: float | None = None
    integer: bool = False

    def domain(self) -> Domain:
        """The domain as the HParams page knows it; one of strings also holds `INACTIVE`."""
        if self.values:
            values: list[Any] = [_plain(value) for value in self.values]
            kinds = {_kind(value) for value in values}
            if len(kinds) > 1:
                raise ValueError(f"hyperparameter {self.name!r} mixes types: {self.values!r}")
            if kinds == {str}:
                values.append(INACTIVE)
            elif kinds == {float} and not all(isinstance(value, int) for value in values):
                values = [float(value) for value in values]
            return Discrete(set(values))
        if self.low is None or self.high is None:
            raise ValueError(f"hyperparameter {self.name!r} has neither values nor both bounds")
        if self.integer:
            return IntInterval(int(self.low), int(self.high))
        return RealInterval(float(self.low), float(self.high))


def experiment_summary(parameters: Sequence[Parameter], metrics: Sequence[tuple[str, str]]) -> Summary:
    """The columns of the HParams page: `parameters`, `status`, and `metrics` as (tag, display name)."""
    names = [parameter.name for parameter in parameters] + [_STATUS]
    if len(set(names)) < len(names):
        raise ValueError(f"hyperparameter names must differ from each other and from {_STATUS!r}: {names}")
    summary = hparams_config_pb(
        hparams=[HParam(parameter.name, parameter.domain()) for parameter in parameters]
        + [HParam(_STATUS, Discrete(STATUSES))],
        metrics=[Metric(tag, display_name=name) for tag, name in metrics],
    )
    # The page sorts by (differs, name) and opens with five columns: this keeps the status among them.
    plugin_data = summary.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin_data.content)
    data.experiment.hparam_infos[-1].differs = True
    plugin_data.content = data.SerializeToString()
    return summary


def session_start_summary(
    parameters: Sequence[Parameter], trial: str, values: Mapping[str, Value | None], status: str
) -> Summary:
    """The row of `trial`: its values, absent or None for a hyperparameter that it does not use."""
    if status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {status!r}")
    if unknown := sorted(values.keys() - {parameter.name for parameter in parameters}):
        raise ValueError(f"not in the experiment: {', '.join(unknown)}; write the experiment again first")
    row: dict[str, Value] = {_STATUS: status}
    for parameter in parameters:
        kind = _kind(parameter.domain())
        value = _plain(values.get(parameter.name))
        if value is not None:
            if _kind(value) is not kind:
                raise TypeError(
                    f"hyperparameter {parameter.name!r} takes a {kind.__name__}; {trial} has {value!r}"
                )
            row[parameter.name] = value
        elif kind is str:
            # A numeric column has no neutral value: TensorBoard's interval filter fails on a string.
            row[parameter.name] = INACTIVE
    return hparams_pb(row, trial_id=trial)


def session_end_summary(status: str) -> Summary:
    """The end of a trial's session, a success or a failure as `STATUSES` says of `status`."""
    end = plugin_data_pb2.SessionEndInfo(status=STATUSES[status], end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def objective_summaries(scores: Mapping[int, float], status: str) -> list[Summary]:
    """The number of finite scores, and their mean and standard deviation where these are honest.

    A failed trial has no mean, nor one with a diverged seed: the rest would flatter it. One seed has
    no deviation.
    """
    finite = [float(score) for score in scores.values() if _is_finite(score)]
    summaries = [_scalar(_N, len(finite))]
    if finite and len(finite) == len(scores) and STATUSES[status] == api_pb2.STATUS_SUCCESS:
        summaries.append(_scalar(_MEAN, statistics.fmean(finite)))
        if len(finite) > 1:
            summaries.append(_scalar(_STD, statistics.stdev(finite)))
    return summaries


def curve_summaries(curves: Mapping[str, Sequence[float]]) -> list[tuple[int, Summary]]:
    """Each epoch from 0 with the value of one metric, NaN included: a diverged seed should show it."""
    return [
        (epoch, _scalar(f"epoch/{name}", value))
        for name, curve in curves.items()
        for epoch, value in enumerate(curve)
    ]


class Dashboard:
    """Writes the TensorBoard files of one search under `logdir`; `objective` names its columns.

    Every write leaves whole, closed files and replaces what the same call wrote before, so that a
    search may be killed at any time and resumed. Other files in the folders are left alone.

        dashboard = Dashboard("logs", objective="val_accuracy")
        dashboard.write_experiment([Parameter("init", values=("he_normal", "orthogonal"))])
        dashboard.write_trial("trial_0000", {"init": "orthogonal"}, {0: 0.91, 1: 0.93}, "completed")
    """

    def __init__(self, logdir: str | Path, objective: str = "objective") -> None:
        self.logdir = Path(logdir)
        self.objective = objective
        self._parameters: tuple[Parameter, ...] | None = None

    def write_experiment(self, parameters: Sequence[Parameter]) -> None:
        """Write the columns, before any trial: TensorBoard shows no other.

        A TensorBoard that is open keeps the columns it read first, until it is restarted.
        """
        columns = [
            (_MEAN, f"{self.objective} mean"),
            (_STD, f"{self.objective} std"),
            (_N, "seeds"),
        ]
        self._write(self.logdir, "experiment", [(0, experiment_summary(parameters, columns))])
        self._parameters = tuple(parameters)

    def write_seed(self, trial: str, seed: int, curves: Mapping[str, Sequence[float]]) -> None:
        """Write the learning curves of one seed, a value per epoch, as the run `trial`/seed_`seed`."""
        self._write(self._folder(trial) / f"seed_{seed}", "seed", curve_summaries(curves))

    def write_trial(
        self,
        trial: str,
        values: Mapping[str, Value | None],
        scores: Mapping[int, float],
        status: str,
        extra: Mapping[str, float] | None = None,
    ) -> None:
        """Write the row of one trial: hyperparameters, the score of each seed, and `extra` scalars."""
        if self._parameters is None:
            raise RuntimeError("write_experiment comes before write_trial: it declares the columns")
        extra = extra or {}
        if taken := extra.keys() & {_MEAN, _STD, _N}:
            raise ValueError(f"extra scalars under the objective's tags: {', '.join(sorted(taken))}")
        summaries = [
            session_start_summary(self._parameters, trial, values, status),
            *objective_summaries(scores, status),
            *(_scalar(tag, value) for tag, value in extra.items() if _is_finite(value)),
            session_end_summary(status),
        ]
        self._write(self._folder(trial), "trial", [(0, summary) for summary in summaries])

    def write_text(self, tag: str, markdown: str) -> None:
        """Write a page of the Text tab, such as the ranking, in the run `summary`."""
        # One file per tag: a page is replaced without a look into the files of the others.
        kind = f"text-{hashlib.sha256(tag.encode()).hexdigest()[:12]}"
        self._write(self.logdir / _SUMMARY, kind, [(0, text_pb(tag, markdown))])

    def _folder(self, trial: str) -> Path:
        if trial in {"", ".", "..", _SUMMARY} or "/" in trial or "\\" in trial:
            raise ValueError(f"not a name for a trial's folder: {trial!r}")
        return self.logdir / trial

    @staticmethod
    def _write(folder: Path, kind: str, summaries: Iterable[tuple[int, Summary]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        suffix = f".{kind}.keras_initx"
        # TensorBoard reads every file with "tfevents" in its name: this one has it only once complete.
        partial = folder / f"partial.{os.getpid()}{suffix}"
        try:
            with partial.open("wb") as stream:
                records = RecordWriter(stream)
                records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
                for step, summary in summaries:
                    event = Event(wall_time=time.time(), step=step, summary=summary)
                    records.write(event.SerializeToString())
        except OSError:
            # On a full disk it would only be in the way.
            partial.unlink(missing_ok=True)
            raise
        earlier = list(folder.glob(f"events.out.tfevents.*{suffix}"))
        # An open TensorBoard skips a file that sorts before one it has read; seconds would tie.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        stamp = f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
        partial.replace(folder / f"events.out.tfevents.{stamp}{suffix}")
        for path in earlier:
            path.unlink(missing_ok=True)


def _plain(value: Value | None) -> Value | None:
    return value.item() if isinstance(value, np.generic) else value


def _kind(value: Domain | Value | None) -> type:
    dtype = value.dtype if isinstance(value, Domain) else type(value)
    # TensorBoard has one type for numbers.
    return float if dtype is int else dtype


def _is_finite(value: float) -> bool:
    # Scalars are stored in 32 bits, where a larger number becomes infinite.
    return math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)


def _scalar(tag: str, value: float) -> Summary:
    with np.errstate(over="ignore"):
        return scalar_pb(tag, value)
