"""Describe a finished search: report page, tables, plots, importances."""

from .find_study import is_storage
from .importance import importances
from .page import write_report
from .tables import cross_table, describe_lead, ranking

__all__ = [
    "cross_table",
    "describe_lead",
    "importances",
    "is_storage",
    "ranking",
    "write_report",
]
