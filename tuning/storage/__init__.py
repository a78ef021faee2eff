"""Where a search is stored: database, journal file, results folder."""

from .databases import (
    JOURNAL_SUFFIX,
    STUDY_FILE,
    STUDY_NAME,
    file_of,
    open_storage,
    quiet_optuna,
    redacted,
    storage_label,
    storage_session,
)
from .failures import StorageFailure, atomic_write, disk_errors, reserve, storage_errors
from .json_files import finite_or_none, write_json
from .results_folder import (
    SETTINGS,
    WEIGHT_FILES,
    Mode,
    SearchFolders,
    check_no_keras_tuner,
    keep_keras_tuner_out,
    settings_in,
)
from .retry import no_retry, retry
from .settings import check_same

__all__ = [
    "JOURNAL_SUFFIX",
    "SETTINGS",
    "STUDY_FILE",
    "STUDY_NAME",
    "WEIGHT_FILES",
    "Mode",
    "SearchFolders",
    "StorageFailure",
    "atomic_write",
    "check_no_keras_tuner",
    "check_same",
    "disk_errors",
    "file_of",
    "finite_or_none",
    "keep_keras_tuner_out",
    "no_retry",
    "open_storage",
    "quiet_optuna",
    "redacted",
    "reserve",
    "retry",
    "settings_in",
    "storage_errors",
    "storage_label",
    "storage_session",
    "write_json",
]
