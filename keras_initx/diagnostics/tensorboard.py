"""The figures of a layer as TensorBoard shows them."""

from collections.abc import Callable
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb

from keras_initx._event_files import EventFile, is_finite, layout, scalar
from keras_initx.diagnostics.records import LayerSignal, SignalReport
from keras_initx.errors import InitxError

_SCALARS: dict[str, Callable[[LayerSignal], float]] = {
    "signal std": lambda row: row.std,
    "signal mean": lambda row: row.mean,
    "gradient rms": lambda row: row.gradient_rms,
    "kernel gradient rms": lambda row: row.kernel_gradient,
    "saturated": lambda row: row.saturated,
    "effective rank": lambda row: row.effective_rank,
    "samples alike": lambda row: row.alike,
}
# What Custom Scalars shows, a line for each layer.
_CHARTS = ("signal std", "gradient rms", "dead units", "effective rank", "samples alike")


def name_of(row: LayerSignal) -> str:
    """The layer in a tag. Tags are sorted as text: the number keeps the layers in their order."""
    return f"{row.number:03d} {row.path}"


def scalars(row: LayerSignal) -> list[Summary]:
    """The figures of one layer, but for dead units, which are of one batch or of several."""
    values = {title: figure(row) for title, figure in _SCALARS.items()}
    return [scalar(f"{t}/{name_of(row)}", value) for t, value in values.items() if is_finite(value)]


def charts() -> Summary:
    """The page of Custom Scalars: all layers in one chart for each figure."""
    return layout({"Signal by layer": {title: [f"^{title}/"] for title in _CHARTS}})


def event_file(argument: str, folder: str | Path, kind: str) -> EventFile:
    """A file of events in a folder.

    Raises:
        InitxError: A folder that cannot be written to; `argument` is what the caller passed it as.
    """
    try:
        return EventFile(folder, kind)
    except OSError as error:
        allowed = f"a folder that can be written to ({error.strerror})"
        raise InitxError(argument, str(folder), allowed) from error


def log(report: SignalReport, logdir: str | Path, step: int) -> None:
    """Writes a report: see `Report.log`."""
    if not isinstance(logdir, str | Path):
        raise InitxError("logdir", logdir, "a folder for TensorBoard, as a string or a Path")
    if isinstance(step, bool) or not isinstance(step, int):
        raise InitxError("step", step, "a whole number")
    found = [charts(), text_pb("diagnosis", report.summary().replace("\n", "\n\n"))]
    for row in report.rows:
        found += scalars(row)
        if is_finite(row.dead):
            found.append(scalar(f"dead units/{name_of(row)}", row.dead))
    event_file("logdir", logdir, "report").write(step, found)
