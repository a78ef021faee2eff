"""What a layer shows before training, as the dashboards need it and as the study keeps it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_initx._event_files import Histogram

# A curve of more layers looks the same, and some databases take no attribute beyond 64 KiB.
LAYERS = 256


@dataclass(frozen=True)
class LayerStart:
    """A layer with a kernel, before training, on one batch.

    Attributes:
        name: Its path in the model.
        forward: The standard deviation of its pre-activations; not finite where they are not, and None
            where they are not known.
        backward: The root mean square of the gradient, likewise.
        histograms: Those of its values: "weights/" and "gradients/" with a kernel's name, "activations" (of
            what `forward` is of).
    """

    name: str
    forward: float | None = None
    backward: float | None = None
    histograms: Mapping[str, Histogram] = field(default_factory=dict, compare=False)


def as_record(layers: Sequence[LayerStart]) -> list[list[Any]]:
    """The curves of the layers as an attribute of the study; of more than `LAYERS` so many of them."""
    last = len(layers) - 1
    count = min(len(layers), LAYERS)
    kept = range(count) if count == len(layers) else (round(n * last / (count - 1)) for n in range(count))
    return [[n + 1, layers[n].name, _json(layers[n].forward), _json(layers[n].backward)] for n in kept]


def from_record(record: Sequence[Sequence[Any]]) -> dict[int, LayerStart]:
    """The layers of such an attribute, by their depth from 1."""
    return {depth: LayerStart(name, forward, backward) for depth, name, forward, backward in record}


def _json(value: float | None) -> float | None:
    # JSON has no other numbers, whatever Python writes.
    return value if value is not None and math.isfinite(value) else None
