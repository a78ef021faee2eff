"""Format numbers and tables for a terminal and for HTML."""

import html
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def html_table(columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Iterable[Any]) -> str:
    """Return an HTML table of `rows`; each column is a title and a function from a row to its cell."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in columns)
    lines = ("".join(f"<td>{html.escape(cell(row))}</td>" for _, cell in columns) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: tuples become lists, NaN and infinities become None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def width() -> int:
    """Return the width of the terminal; without one, 150 columns, enough for every column of a table."""
    return shutil.get_terminal_size((150, 24)).columns


def number(value: float) -> str:
    """Format a number to three digits; NaN becomes "-"."""
    # Adding 0.0 turns -0.0 into 0.0, whose sign may depend on the processor.
    return "-" if math.isnan(value) else f"{value + 0.0:.3g}"


def share(value: float) -> str:
    """Format a fraction as a whole percentage; NaN becomes "-"."""
    return "-" if math.isnan(value) else f"{100 * value + 0.0:.0f} %"
