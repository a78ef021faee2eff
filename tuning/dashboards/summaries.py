"""What TensorBoard's other pages show: scalars, histograms and images."""

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
# How a PNG file begins: its signature, then the length and the type of the chunk with its size.
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def objective_summaries(scores: Mapping[int, float], status: str) -> list[Summary]:
    """The number of finite scores, and their mean and standard deviation where these are honest.

    A failed trial has no mean, nor one with a diverged seed: the rest would flatter it. One seed has
    no deviation.
    """
    finite = [float(score) for score in scores.values() if is_finite(score)]
    summaries = [scalar(N, len(finite))]
    if finite and len(finite) == len(scores) and STATUSES[status] == api_pb2.STATUS_SUCCESS:
        summaries.append(scalar(MEAN, statistics.fmean(finite)))
        if len(finite) > 1:
            summaries.append(scalar(STD, statistics.stdev(finite)))
    return summaries


def curve_summaries(curves: Mapping[str, Sequence[float]]) -> list[tuple[int, Summary]]:
    """Each epoch from 0 with the value of one metric, NaN included: a diverged seed should show it."""
    return [
        (epoch, scalar(f"epoch/{name}", value))
        for name, curve in curves.items()
        for epoch, value in enumerate(curve)
    ]


def start_summaries(layers: Sequence[LayerStart]) -> list[tuple[int, Summary]]:
    """The signal of a trial before training: curves over the depth, which is their step, and histograms."""
    summaries = []
    for depth, layer in enumerate(layers, 1):
        for tag, value in ((FORWARD, layer.forward), (BACKWARD, layer.backward)):
            if value is not None and is_finite(value):
                summaries.append((depth, scalar(tag, value)))
        for name, found in layer.histograms.items():
            kind, _, kernel = name.partition("/")
            # Tags are sorted as text: the number keeps the layers in their order.
            tag = "/".join(part for part in (kind, f"{depth:03d} {layer.name}", kernel) if part)
            summaries.append((0, histogram(tag, found)))
    return summaries


def image_summary(tag: str, png: bytes) -> Summary:
    """A picture, as the bytes of a PNG file.

    Raises:
        ValueError: Other bytes.
    """
    if not png.startswith(_PNG):
        raise ValueError(f"an image must be the bytes of a PNG file; got {png[:8]!r} ...")
    start = len(_PNG)
    size = (str(int.from_bytes(png[at : at + 4], "big")).encode() for at in (start, start + 4))
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=make_tensor_proto([*size, png], dtype=np.object_),
    )
    return summary
