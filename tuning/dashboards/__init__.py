"""Follow a search while it runs: TensorBoard dashboards and a progress bar."""

from .observer import DashboardObserver
from .progress_bar import ProgressObserver
from .reproduce import CommandLine

__all__ = [
    "CommandLine",
    "DashboardObserver",
    "ProgressObserver",
]
