"""End hopeless trials: screen them before training, prune them during it."""

from .layer_signal import LayerStart, as_record, from_record
from .pruners import Pruner, Pruning
from .screening import Screen
from .signal_probe import layers_at_start

__all__ = [
    "LayerStart",
    "Pruner",
    "Pruning",
    "Screen",
    "as_record",
    "from_record",
    "layers_at_start",
]
