"""What a search shows while it runs: TensorBoard logs and a progress bar."""

from .observer import BoardObserver
from .progress_bar import ProgressObserver

__all__ = [
    "BoardObserver",
    "ProgressObserver",
]
