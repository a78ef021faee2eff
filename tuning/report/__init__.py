"""Describe a search, finished or running: report page, tables, plots, importances."""

from ..stats import score_format
from .find_study import contains_study
from .importance import importances
from .lead import describe_lead, describe_lead_by
from .page import write_report
from .tables import bounds_of, cross_table, ranking, values_text

__all__ = [
    "bounds_of",
    "contains_study",
    "cross_table",
    "describe_lead",
    "describe_lead_by",
    "importances",
    "ranking",
    "score_format",
    "values_text",
    "write_report",
]
