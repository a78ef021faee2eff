"""TensorBoard's event files, written with the tensorboard package alone: whatever the backend of Keras is."""

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
    """Counts between edges, of which there is one more.

    Attributes:
        edges: In ascending order.
        counts: How many values lie between each two.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class EventFile:
    """A file of events that TensorBoard follows while it grows: every write ends with a whole record.

    It is open only while it is written to: a training that raises leaves nothing behind.

    Args:
        folder: The run; it is made where it is not there.
        kind: A word for the file's name.

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
        """Adds values of one step; on disk when it returns."""
        self._append(event(step, summary) for summary in summaries)

    def _append(self, events: Iterable[bytes]) -> None:
        with self.path.open("ab") as stream:
            records = RecordWriter(stream)
            for one in events:
                records.write(one)


def file_name(kind: str) -> str:
    """A name that TensorBoard reads, and that sorts after all earlier ones.

    An open TensorBoard skips a file that sorts before one it has read; seconds would tie.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    stamp = f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}"
    return f"events.out.tfevents.{stamp}.{kind}.keras_initx"


def first_event() -> bytes:
    """The record that each file begins with."""
    return Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()


def event(step: int, summary: Summary) -> bytes:
    """A record of one step."""
    return Event(wall_time=time.time(), step=step, summary=summary).SerializeToString()


def scalar(tag: str, value: float) -> Summary:
    """One value; what is too large for 32 bits is infinite."""
    with np.errstate(over="ignore"):
        return scalar_pb(tag, value)


def histogram(tag: str, found: Histogram) -> Summary:
    """The bins of a histogram as a page of Histograms and Distributions shows them."""
    # Not by `histogram_pb`: it takes the values, and as many numbers for each as there are bins.
    edges = np.asarray(found.edges)
    bins = np.stack([edges[:-1], edges[1:], found.counts], axis=1)
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=histogram_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto(bins, dtype=np.float64),
    )
    return summary


def layout(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Summary:
    """The page of Custom Scalars: the patterns of tags that each chart of each category draws.

    A chart has a line for each run and tag that match.
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
    """Whether TensorBoard has the number."""
    # Scalars are stored in 32 bits, where a larger number becomes infinite.
    return math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)
