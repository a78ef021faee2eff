"""Run one forward and backward pass over a model, and reduce what it shows to figures."""

from keras_initx.diagnostics.probe.attention import Heads, heads
from keras_initx.diagnostics.probe.model import Probe
from keras_initx.diagnostics.probe.points import ProbePoint, normalized_moments, probe_points

__all__ = ["Heads", "Probe", "ProbePoint", "heads", "normalized_moments", "probe_points"]
