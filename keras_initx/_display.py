"""Format numbers and tables for a terminal and for HTML."""

import html
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def html_table(columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Iterable[Any]) -> str:
    """Rows as HTML, by the name of each column and what it shows of a row."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in columns)
    lines = ("".join(f"<td>{html.escape(cell(row))}</td>" for _, cell in columns) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def plain(value: Any) -> Any:
    """A structure of numbers as JSON has it: lists for tuples, null for NaN and infinities."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def width() -> int:
    """That of the terminal; where there is none, what a table of all columns needs."""
    return shutil.get_terminal_size((150, 24)).columns


def number(value: float) -> str:
    """Three digits; "-" for what does not exist."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def share(value: float) -> str:
    """A share in percent; "-" for what does not exist."""
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"
