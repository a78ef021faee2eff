"""Write the TensorBoard files of a search: one HParams session per trial, one run per trial and seed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_initx._event_files import event, file_name, first_event, is_finite, layout, scalar

from ..pruning import LayerStart
from .hparams import Parameter, Value, experiment_summary, session_end_summary, session_start_summary
from .summaries import (
    BACKWARD,
    FORWARD,
    MEAN,
    STD,
    N,
    curve_summaries,
    image_summary,
    objective_summaries,
    start_summaries,
)

__all__ = ["DashboardWriter"]

# The run of the pages on the whole search.
_SEARCH_RUN = "summary"
_CHARTS = {
    "Signal by depth, before training": {
        "forward: std of the pre-activations": [f"^{FORWARD}$"],
        "backward: rms of the kernels' gradients": [f"^{BACKWARD}$"],
    }
}


class DashboardWriter:
    """Writes the TensorBoard files of one search.

    Each call writes a complete, closed file and replaces the file of the same call before, so that a search
    can be killed at any time and resumed. Other files in the folders stay.

        writer = DashboardWriter("logs", objective="val_accuracy")
        writer.write_experiment([Parameter("init", values=("he_normal", "orthogonal"))])
        writer.write_trial("trial_0000", {"init": "orthogonal"}, {0: 0.91, 1: 0.93}, "completed")

    Args:
        logdir: The folder to open with TensorBoard.
        objective: The name of the metric, for the titles of the columns.
    """

    def __init__(self, logdir: str | Path, objective: str = "objective") -> None:
        self.logdir = Path(logdir)
        self.objective = objective
        self._parameters: tuple[Parameter, ...] | None = None

    def write_experiment(self, parameters: Sequence[Parameter]) -> None:
        """Write the columns of HParams and the charts of Custom Scalars, before any trial.

        TensorBoard shows no other columns; while it is open, it keeps the columns that it read first.
        """
        columns = [
            (MEAN, f"{self.objective} mean"),
            (STD, f"{self.objective} std"),
            (N, "seeds"),
        ]
        summaries = [experiment_summary(parameters, columns), layout(_CHARTS)]
        self._write(self.logdir, "experiment", [(0, summary) for summary in summaries])
        self._parameters = tuple(parameters)

    def write_seed(self, trial: str, seed: int, curves: Mapping[str, Sequence[float]]) -> None:
        """Write the learning curves of one seed, one value per epoch, as the run "{trial}/seed_{seed}"."""
        self._write(self._folder(trial) / f"seed_{seed}", "seed", curve_summaries(curves))

    def write_start(self, trial: str, layers: Sequence[LayerStart]) -> None:
        """Write the signal of a trial's layers before training: curves by depth, and histograms."""
        self._write(self._folder(trial), "start", start_summaries(layers))

    def write_trial(
        self,
        trial: str,
        values: Mapping[str, Value | None],
        scores: Mapping[int, float],
        status: str,
        extra: Mapping[str, float] | None = None,
    ) -> None:
        """Write the row of one trial: its hyperparameters, the score of each seed, and `extra` scalars."""
        if self._parameters is None:
            raise RuntimeError("Call write_experiment before write_trial: it declares the columns.")
        extra = extra or {}
        if taken := extra.keys() & {MEAN, STD, N}:
            raise ValueError(
                f"`extra` must not contain the tags of the objective, got {', '.join(sorted(taken))}."
            )
        summaries = [
            session_start_summary(self._parameters, trial, values, status),
            *objective_summaries(scores, status),
            *(scalar(tag, value) for tag, value in extra.items() if is_finite(value)),
            session_end_summary(status),
        ]
        self._write(self._folder(trial), "trial", [(0, summary) for summary in summaries])

    def write_text(self, tag: str, markdown: str) -> None:
        """Write a page of the Text tab, such as the ranking, in the run "summary"."""
        self._write_page("text", tag, text_pb(tag, markdown))

    def write_image(self, tag: str, png: bytes) -> None:
        """Write an image of the Images tab, the bytes of a PNG file, in the run "summary"."""
        self._write_page("image", tag, image_summary(tag, png))

    def _write_page(self, kind: str, tag: str, summary: Summary) -> None:
        # One file per tag, so that a page can be replaced without reading the other pages.
        name = f"{kind}-{hashlib.sha256(tag.encode()).hexdigest()[:12]}"
        self._write(self.logdir / _SEARCH_RUN, name, [(0, summary)])

    def _folder(self, trial: str) -> Path:
        if trial in {"", ".", "..", _SEARCH_RUN} or "/" in trial or "\\" in trial:
            raise ValueError(f"`trial` must be the name of a new folder, got {trial!r}.")
        return self.logdir / trial

    @staticmethod
    def _write(folder: Path, kind: str, summaries: Iterable[tuple[int, Summary]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads every file with "tfevents" in its name, so the file gets that name when complete.
        partial = folder / f"partial.{os.getpid()}.{kind}.keras_initx"
        try:
            with partial.open("wb") as stream:
                records = RecordWriter(stream)
                records.write(first_event())
                for step, summary in summaries:
                    records.write(event(step, summary))
        except OSError:
            # Free the space again if the disk is full.
            partial.unlink(missing_ok=True)
            raise
        earlier = list(folder.glob(f"events.out.tfevents.*.{kind}.keras_initx"))
        partial.replace(folder / file_name(kind))
        for path in earlier:
            path.unlink(missing_ok=True)
