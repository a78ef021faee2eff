"""Where a search is stored: database, journal file, results folder."""

from .databases import JOURNAL, STUDY_FILE, STUDY_NAME, open_storage, opened, place_of, quiet_optuna, redacted
from .failures import Fault, atomic_write, disk_errors, reserve, storage_errors
from .json_files import finite_or_none, write_json
from .results_folder import FILES, SETTINGS, Folders
from .retry import no_retry, retry
from .settings import check_same

__all__ = [
    "FILES",
    "JOURNAL",
    "SETTINGS",
    "STUDY_FILE",
    "STUDY_NAME",
    "Fault",
    "Folders",
    "atomic_write",
    "check_same",
    "disk_errors",
    "finite_or_none",
    "no_retry",
    "open_storage",
    "opened",
    "place_of",
    "quiet_optuna",
    "redacted",
    "reserve",
    "retry",
    "storage_errors",
    "write_json",
]
