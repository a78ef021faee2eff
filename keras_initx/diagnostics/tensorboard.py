"""Write the figures of each layer for TensorBoard."""

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
    "sample cosine": lambda row: row.sample_cosine,
}
# The charts of Custom Scalars, each with a line for every layer.
_CHARTS = ("signal std", "gradient rms", "dead units", "effective rank", "sample cosine")


def tag_name(row: LayerSignal) -> str:
    """Return the layer's part of a tag. Its number keeps layers in order, since tags are sorted as text."""
    return f"{row.number:03d} {row.path}"


def scalars(row: LayerSignal) -> list[Summary]:
    """Return the finite figures of one layer.

    Dead units are left out: the caller counts them over one batch or over several.
    """
    values = {title: figure(row) for title, figure in _SCALARS.items()}
    return [scalar(f"{t}/{tag_name(row)}", value) for t, value in values.items() if is_finite(value)]


def charts() -> Summary:
    """Return the layout of Custom Scalars: one chart for each figure, with all layers."""
    return layout({"Signal by layer": {title: [f"^{title}/"] for title in _CHARTS}})


def event_file(argument: str, folder: str | Path, kind: str) -> EventFile:
    """Create an event file in a folder.

    Args:
        argument: The name of the caller's argument that holds the folder.
        folder: The folder of a TensorBoard run.
        kind: A word for the file's name.

    Raises:
        InitxError: If the folder cannot be written to.
    """
    try:
        return EventFile(folder, kind)
    except OSError as error:
        problem = f"`{argument}` {str(folder)!r} cannot be written to ({error.strerror})"
        remedy = "Choose another folder."
        raise InitxError(argument, str(folder), "a writable folder", remedy, problem) from error


def log(report: SignalReport, logdir: str | Path, step: int) -> None:
    """Write a report: see `Report.log`."""
    if not isinstance(logdir, str | Path):
        raise InitxError("logdir", logdir, "a folder for TensorBoard, as a string or a Path")
    if isinstance(step, bool) or not isinstance(step, int):
        raise InitxError("step", step, "an integer")
    summaries = [charts(), text_pb("diagnosis", report.summary().replace("\n", "\n\n"))]
    for row in report.rows:
        summaries += scalars(row)
        if is_finite(row.dead):
            summaries.append(scalar(f"dead units/{tag_name(row)}", row.dead))
    event_file("logdir", logdir, "report").write(step, summaries)
