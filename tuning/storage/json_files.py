"""Write JSON files that any parser accepts."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .failures import atomic_write


def write_json(path: Path, content: Any, keep: bool = False) -> None:
    """Write a JSON file atomically; NaN and infinity, which JSON lacks, become null.

    Args:
        path: The file.
        content: What to write.
        keep: Whether an earlier file stays as it is.
    """
    with atomic_write(path, keep=keep) as partial:
        partial.write_text(json.dumps(_with_finite_numbers(content), indent=2) + "\n", encoding="utf-8")


def finite_or_none(value: float) -> float | None:
    """Return `value`, or None if it is NaN or infinite."""
    return value if np.isfinite(value) else None


def _with_finite_numbers(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _with_finite_numbers(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_with_finite_numbers(v) for v in content]
    if isinstance(content, float):
        return finite_or_none(content)
    return content
