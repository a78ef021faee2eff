"""Build the summaries of TensorBoard's HParams page: its columns, and a row for each trial."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# The simpler tensorboard.plugins.hparams.api imports TensorFlow.
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

__all__ = [
    "INACTIVE",
    "STATUSES",
    "Parameter",
    "Value",
    "experiment_summary",
    "session_end_summary",
    "session_start_summary",
]

Value = str | int | float | bool

INACTIVE = "-"
"""The value of a string hyperparameter in a trial that does not use it."""

STATUSES: Mapping[str, int] = {
    "completed": api_pb2.STATUS_SUCCESS,
    "stopped": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "invalid": api_pb2.STATUS_FAILURE,
    "screened": api_pb2.STATUS_FAILURE,
    "pruned": api_pb2.STATUS_FAILURE,
}
"""The values of the column `status`, each with TensorBoard's state of the session."""

_STATUS = "status"


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter of the search: its name, and either its values or its bounds.

    Example:

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
        """Return the domain for the HParams page; a domain of strings also contains `INACTIVE`."""
        if self.values:
            values: list[Any] = [_plain(value) for value in self.values]
            kinds = {_kind(value) for value in values}
            if len(kinds) > 1:
                raise ValueError(
                    f"Hyperparameter {self.name!r} must have values of one type, got {self.values!r}."
                )
            if kinds == {str}:
                values.append(INACTIVE)
            elif kinds == {float} and not all(isinstance(value, int) for value in values):
                values = [float(value) for value in values]
            return Discrete(set(values))
        if self.low is None or self.high is None:
            raise ValueError(f"Hyperparameter {self.name!r} needs values, or both low and high.")
        if self.integer:
            return IntInterval(int(self.low), int(self.high))
        return RealInterval(float(self.low), float(self.high))


def experiment_summary(parameters: Sequence[Parameter], metrics: Sequence[tuple[str, str]]) -> Summary:
    """Declare the columns of the HParams page.

    Args:
        parameters: The hyperparameters; a column `status` follows them.
        metrics: The metrics, as (tag, display name).
    """
    names = [parameter.name for parameter in parameters] + [_STATUS]
    if len(set(names)) < len(names):
        raise ValueError(f"Hyperparameter names must be unique and differ from {_STATUS!r}, got {names}.")
    summary = hparams_config_pb(
        hparams=[HParam(parameter.name, parameter.domain()) for parameter in parameters]
        + [HParam(_STATUS, Discrete(STATUSES))],
        metrics=[Metric(tag, display_name=name) for tag, name in metrics],
    )
    # The page sorts columns by (differs, name) and shows the first five: this makes the status one of them.
    plugin_data = summary.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin_data.content)
    data.experiment.hparam_infos[-1].differs = True
    plugin_data.content = data.SerializeToString()
    return summary


def session_start_summary(
    parameters: Sequence[Parameter], trial: str, values: Mapping[str, Value | None], status: str
) -> Summary:
    """Begin the session of a trial, which is its row.

    Args:
        parameters: The hyperparameters of the experiment.
        trial: The name of the trial.
        values: Its values; missing or None for a hyperparameter that the trial does not use.
        status: One of `STATUSES`.
    """
    if status not in STATUSES:
        raise ValueError(f"`status` must be one of {', '.join(STATUSES)}, got {status!r}.")
    if unknown := sorted(values.keys() - {parameter.name for parameter in parameters}):
        raise ValueError(
            f"The experiment has no column {', '.join(unknown)}. Call write_experiment again first."
        )
    row: dict[str, Value] = {_STATUS: status}
    for parameter in parameters:
        kind = _kind(parameter.domain())
        value = _plain(values.get(parameter.name))
        if value is not None:
            if _kind(value) is not kind:
                raise TypeError(
                    f"Hyperparameter {parameter.name!r} must be a {kind.__name__}, got {value!r} in {trial}."
                )
            row[parameter.name] = value
        elif kind is str:
            # Only a string column has a neutral value: TensorBoard's interval filter fails on strings.
            row[parameter.name] = INACTIVE
    return hparams_pb(row, trial_id=trial)


def session_end_summary(status: str) -> Summary:
    """End the session of a trial, as a success or a failure according to `STATUSES`."""
    end = plugin_data_pb2.SessionEndInfo(status=STATUSES[status], end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    summary = Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def _plain(value: Value | None) -> Value | None:
    return value.item() if isinstance(value, np.generic) else value


def _kind(value: Domain | Value | None) -> type:
    dtype = value.dtype if isinstance(value, Domain) else type(value)
    # TensorBoard has a single type for numbers.
    return float if dtype is int else dtype
