"""Build the summaries of TensorBoard's other pages: scalars, histograms and images."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from keras_initx._event_files import histogram, is_finite, scalar

from ..pruning import LayerStart
from .hparams import STATUSES

__all__ = [
    "BACKWARD",
    "FORWARD",
    "MEAN",
    "STD",
    "N",
    "curve_summaries",
    "image_summary",
    "objective_summaries",
    "start_summaries",
]

MEAN, STD, N = "objective/mean", "objective/std", "objective/n"
FORWARD, BACKWARD = "signal/forward", "signal/backward"
# The first bytes of a PNG file: the signature, then length and type of the chunk that contains its size.
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def objective_summaries(scores: Mapping[int, float], status: str) -> list[Summary]:
    """Return the number of finite scores, their mean and their standard deviation.

    The mean is missing for a failed trial and for a trial with a diverged seed, which the remaining seeds
    would flatter. A single seed has no standard deviation.
    """
    finite = [float(score) for score in scores.values() if is_finite(score)]
    summaries = [scalar(N, len(finite))]
    if finite and len(finite) == len(scores) and STATUSES[status] == api_pb2.STATUS_SUCCESS:
        summaries.append(scalar(MEAN, statistics.fmean(finite)))
        if len(finite) > 1:
            summaries.append(scalar(STD, statistics.stdev(finite)))
    return summaries


def curve_summaries(curves: Mapping[str, Sequence[float]]) -> list[tuple[int, Summary]]:
    """Return (epoch, summary) for each metric and epoch from 0; NaN is kept, to show that a seed diverged."""
    return [
        (epoch, scalar(f"epoch/{name}", value))
        for name, curve in curves.items()
        for epoch, value in enumerate(curve)
    ]


def start_summaries(layers: Sequence[LayerStart]) -> list[tuple[int, Summary]]:
    """Return (step, summary) for the signal of a trial before training: curves by depth, and histograms.

    The step of a curve is the depth of the layer, from 1. Values that are not finite are left out.
    """
    summaries = []
    for depth, layer in enumerate(layers, 1):
        for tag, value in ((FORWARD, layer.forward), (BACKWARD, layer.backward)):
            if value is not None and is_finite(value):
                summaries.append((depth, scalar(tag, value)))
        for name, counts in layer.histograms.items():
            kind, _, kernel = name.partition("/")
            # TensorBoard sorts tags as text: the number keeps the layers in order.
            tag = "/".join(part for part in (kind, f"{depth:03d} {layer.name}", kernel) if part)
            summaries.append((0, histogram(tag, counts)))
    return summaries


def image_summary(tag: str, png: bytes) -> Summary:
    """Return the summary of an image.

    Args:
        tag: The tag.
        png: The bytes of a PNG file.

    Raises:
        ValueError: If `png` is not a PNG file.
    """
    if not png.startswith(_PNG):
        raise ValueError(f"`png` must be the bytes of a PNG file, got {png[:8]!r} ...")
    start = len(_PNG)
    size = (str(int.from_bytes(png[at : at + 4], "big")).encode() for at in (start, start + 4))
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto([*size, png], dtype=np.object_),
    )
    return summary
