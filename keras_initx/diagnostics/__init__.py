"""What one batch shows of a model before it is trained."""

from keras_initx.diagnostics.diagnose import diagnose
from keras_initx.diagnostics.report import VERDICTS, Finding, HeadSignal, LayerSignal, Report

__all__ = ["VERDICTS", "Finding", "HeadSignal", "LayerSignal", "Report", "diagnose"]
