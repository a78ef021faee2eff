"""`search`, its options and its result."""

from .objective import Objective, objective
from .options import Execution, Results, Stopping
from .result import SearchResult, has_search
from .scheme_comparison import (
    ALL_SCHEMES,
    SCHEMES,
    accuracy_table,
    compare_schemes,
    scheme_differences,
    scheme_table,
    scheme_verdict,
    schemes_in,
)
from .search import search

__all__ = [
    "ALL_SCHEMES",
    "SCHEMES",
    "Execution",
    "Objective",
    "Results",
    "SearchResult",
    "Stopping",
    "accuracy_table",
    "compare_schemes",
    "has_search",
    "objective",
    "scheme_differences",
    "scheme_table",
    "scheme_verdict",
    "schemes_in",
    "search",
]
