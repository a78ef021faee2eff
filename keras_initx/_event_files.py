"""Write TensorBoard event files on any Keras backend: the tensorboard package is all they need."""

import math
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# tensorboard's EventFileWriter would do more of the work, but imports tensorflow.
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto


@dataclass(frozen=True)
class Histogram:
    """A histogram: n counts between n + 1 edges.

    Attributes:
        edges: The edges of the bins, in ascending order.
        counts: The number of values in each bin.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class EventFile:
    """An event file that TensorBoard can follow while it grows: every write ends with a complete record.

    The file is open only during a write, so a training run that raises leaves no open handle behind.

    Args:
        folder: The folder of the run; it is created if it is missing.
        kind: A word that becomes part of the file name.

    Example:

    >>> import tempfile
    >>> EventFile(tempfile.mkdtemp()).write(0, [scalar("loss", 2.3)])
    """

    def __init__(self, folder: str | Path, kind: str = "signal") -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / file_name(kind)
        self._append([first_event()])

    def write(self, step: int, summaries: Iterable[Summary]) -> None:
        """Append the summaries of one step; they are on disk when the call returns."""
        self._append(event(step, summary) for summary in summaries)

    def _append(self, events: Iterable[bytes]) -> None:
        with self.path.open("ab") as stream:
            records = RecordWriter(stream)
            for record in events:
                records.write(record)


def file_name(kind: str) -> str:
    """Return a file name that TensorBoard recognizes and that sorts after all earlier ones.

    A running TensorBoard skips a file that sorts before one it has read. The name contains nanoseconds,
    because two files of the same second would tie.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    stamp = f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
    return f"events.out.tfevents.{stamp}.{kind}.keras_initx"


def first_event() -> bytes:
    """Return the record that every event file begins with."""
    return Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()


def event(step: int, summary: Summary) -> bytes:
    """Return the record of one summary at one step."""
    return Event(wall_time=time.time(), step=step, summary=summary).SerializeToString()


def scalar(tag: str, value: float) -> Summary:
    """Return the summary of one value; a value that overflows 32 bits becomes infinite."""
    with np.errstate(over="ignore"):
        return scalar_pb(tag, value)


def histogram(tag: str, bins: Histogram) -> Summary:
    """Return the summary of a histogram, which TensorBoard shows under Histograms and Distributions."""
    # tensorboard's `histogram_pb` takes the raw values, and allocates values x bins numbers to count them.
    edges = np.asarray(bins.edges)
    rows = np.stack([edges[:-1], edges[1:], bins.counts], axis=1)
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=histogram_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto(rows, dtype=np.float64),
    )
    return summary


def layout(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Summary:
    """Return the layout of TensorBoard's Custom Scalars page.

    A chart draws one line for each run and each tag that matches one of its patterns.

    Args:
        charts: The tag patterns (regular expressions) by category and by title of the chart.
    """
    page = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=category,
                chart=[
                    layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
                    for title, tags in titles.items()
                ],
            )
            for category, titles in charts.items()
        ]
    )
    summary = Summary()
    summary.value.add(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=make_tensor_proto(page.SerializeToString(), dtype=np.object_),
    )
    return summary


def is_finite(value: float) -> bool:
    """Return whether TensorBoard can store `value` as a finite number."""
    # It stores scalars in 32 bits, where a larger number becomes infinite.
    return math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)
