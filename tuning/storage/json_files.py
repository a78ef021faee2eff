"""Write JSON files that any reader accepts."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .failures import atomic_write


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; NaN, which JSON lacks, becomes null."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _finite(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(v) for v in content]
    if isinstance(content, float):
        return finite_or_none(content)
    return content
