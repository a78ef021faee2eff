"""Format numbers and tables for a terminal and for HTML."""

import html
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.markup import escape

from keras_initx.errors import printable


def html_table(columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Iterable[Any]) -> str:
    """Return an HTML table of `rows`; each column is a title and a function from a row to its cell."""
    head = "".join(f"<th>{html_text(name)}</th>" for name, _ in columns)
    lines = ("".join(f"<td>{html_text(cell(row))}</td>" for _, cell in columns) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def html_text(text: str) -> str:
    """Escape a text for HTML, and its control characters."""
    return html.escape(printable(text))


def cell_text(text: str) -> str:
    """Escape a text for a `rich` table: its markup and its control characters."""
    return escape(printable(text))


def lines_text(lines: Iterable[str]) -> str:
    """Join lines, and escape the control characters in each."""
    return "\n".join(map(printable, lines))


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


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
