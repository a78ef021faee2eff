"""Run one forward and one backward pass over a model, and reduce every tensor to a few numbers."""

from keras_initx.diagnostics.probe import reductions
from keras_initx.diagnostics.probe.attention import AttentionStep, attention_steps
from keras_initx.diagnostics.probe.build import build_probe
from keras_initx.diagnostics.probe.model import Probe
from keras_initx.diagnostics.probe.points import ProbePoint, normalized_moments
from keras_initx.diagnostics.probe.single_entries import SingleEntries, single_entries

__all__ = [
    "AttentionStep",
    "Probe",
    "ProbePoint",
    "SingleEntries",
    "attention_steps",
    "build_probe",
    "normalized_moments",
    "reductions",
    "single_entries",
]
