"""Diagnose a model from one forward and one backward pass, before or during training."""

from keras_initx.diagnostics.batch import check_classes
from keras_initx.diagnostics.compare import Comparison, compare
from keras_initx.diagnostics.diagnose import diagnose
from keras_initx.diagnostics.monitor import SignalMonitor
from keras_initx.diagnostics.plot import plot_signals
from keras_initx.diagnostics.records import USUAL_STD, VERDICTS, Finding, HeadSignal, LayerSignal
from keras_initx.diagnostics.report import Report

__all__ = [
    "USUAL_STD",
    "VERDICTS",
    "Comparison",
    "Finding",
    "HeadSignal",
    "LayerSignal",
    "Report",
    "SignalMonitor",
    "check_classes",
    "compare",
    "diagnose",
    "plot_signals",
]
