"""Open the storage of a study: a SQLite file, a journal file, or any database that Optuna supports."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from keras_initx.errors import InitxError

from .failures import reason_of, remedy_for, storage_errors
from .journal import Journal

STUDY_FILE, STUDY_NAME = "study.db", "keras-initx"
JOURNAL_SUFFIX = ".journal"
# Seconds that a process waits for another one's write to SQLite. SQLAlchemy's default is five.
_LOCK_TIMEOUT = 100
# Attempts, and seconds between them, to create tables that another process is creating as well.
_ATTEMPTS, _PAUSE = 5, 0.2
_CURRENT_FOLDER = Path()
# PostgreSQL's client waits a quarter of an hour by default for a connection that was cut.
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_LIBPQ_READ_ONLY = {"options": "-c default_transaction_read_only=on"}
# A query argument is secret if its name contains one of these.
_SECRET_MARKS = ("pass", "pwd", "secret", "token", "key")


def open_storage(
    storage: str | Path | BaseStorage | None, folder: Path, read_only: bool = False
) -> BaseStorage:
    """Return the storage of a study.

    Args:
        storage: None for `study.db` in `folder`; the path of a file that ends in ".journal" (for network
            file systems, on which several machines must not share a SQLite file); a URL in SQLAlchemy's
            form ("postgresql+psycopg2://user:password@host/database"); or an Optuna storage.
        folder: The results folder.
        read_only: Create no file and no table, and let SQLite and PostgreSQL refuse every change.

    Raises:
        InitxError: The storage cannot be opened: the server does not answer, the file is not a database
            or cannot be written to, or, with `read_only`, it has no tables of Optuna. The message leaves out
            the password.
    """
    if isinstance(storage, BaseStorage):
        return storage
    text = f"sqlite:///{folder.resolve() / STUDY_FILE}" if storage is None else str(storage)
    label = redacted(text)
    allowed = f"a file or database that can be opened{'' if read_only else ' and written to'}"
    try:
        if text.endswith(JOURNAL_SUFFIX):
            return JournalStorage(Journal(text))
        if read_only:
            location = _read_only(text)
            options = _engine_options(location, read_only)
            return RDBStorage(location, engine_kwargs=options, skip_table_creation=True)
        return _create(text, _engine_options(text))
    except ImportError:
        url = sqlalchemy.make_url(text)
        problem = (
            f"`storage` {label!r} needs a database driver, {url.get_driver_name()}, that is not installed"
        )
        remedy = f"Install the package of {url.get_driver_name()}."
        if url.drivername in ("postgresql", "postgresql+psycopg2"):
            # SQLAlchemy 2.1 takes postgresql:// for psycopg, but the extra installs psycopg2.
            remedy = (
                'Run pip install "keras-initx[postgresql]", and begin the URL with postgresql+psycopg2://.'
            )
        raise InitxError("storage", label, allowed, remedy, problem) from None
    except Exception as error:
        reason = reason_of(error)
        problem = f"`storage` {label!r} cannot be opened: {_without_secrets(text, reason)}"
        raise InitxError("storage", label, allowed, remedy_for(reason, started=False), problem) from None


def _read_only(url: str) -> str:
    """Return the URL by which SQLite opens a file for reading only; any other URL as it is."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite" or (parsed.database or ":memory:") == ":memory:":
        return url
    name = str(parsed.database)
    # SQLite itself interprets a path that starts with "file:".
    name = name if name.startswith("file:") else f"file:{quote(str(Path(name).resolve()))}"
    return f"{parsed.drivername}:///{name}{'&' if '?' in name else '?'}mode=ro&uri=true"


def _engine_options(url: str, read_only: bool = False) -> dict[str, Any]:
    """Return SQLAlchemy's options: wait long for a locked file, but not for a server that is gone."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _LOCK_TIMEOUT}}
    # A pooled connection may have died since its last use.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_driver_name() in ("psycopg2", "psycopg"):
        # SQLAlchemy passes on the options in the URL itself: they win.
        arguments = {**_LIBPQ, **(_LIBPQ_READ_ONLY if read_only else {})}
        options["connect_args"] = {name: v for name, v in arguments.items() if name not in parsed.query}
    return options


def _create(url: str, options: dict[str, Any]) -> RDBStorage:
    """Return the database; try again if another process is creating its tables at the same moment."""
    for _ in range(_ATTEMPTS):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except sqlalchemy.exc.DBAPIError as error:
            # Optuna lists the tables first and creates the missing ones later, which is a race.
            if not (isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error.orig)):
                raise
            time.sleep(_PAUSE)
    return RDBStorage(url, engine_kwargs=options)


@contextmanager
def storage_session(
    storage: str | Path | BaseStorage | None, folder: Path = _CURRENT_FOLDER, read_only: bool = False
) -> Iterator[BaseStorage]:
    """Open a storage as `open_storage` does, and close its connections at the end of the block."""
    with ExitStack() as stack:
        try:
            session = open_storage(storage, folder, read_only)
        except InitxError as error:
            path = file_of(str(storage)) if storage else str(folder / STUDY_FILE)
            if not (read_only and path and "readonly database" in error.problem):
                raise
            # A process was killed while it wrote. SQLite undoes the half-written change when it opens the
            # file, which it may do only to a copy.
            copy = stack.enter_context(tempfile.TemporaryDirectory())
            for part in (path, f"{path}-journal"):
                shutil.copy(part, copy)
            session = open_storage(f"sqlite:///{Path(copy) / Path(path).name}", folder)
        if isinstance(session, RDBStorage) and session is not storage:
            stack.callback(session.engine.dispose)
            stack.callback(session.remove_session)
        stack.enter_context(storage_errors(storage_label(storage, folder)))
        yield session


def file_of(storage: str) -> str | None:
    """Return the path of a journal or of a SQLite database; None for any other storage."""
    if storage.endswith(JOURNAL_SUFFIX):
        return storage
    try:
        url = sqlalchemy.make_url(storage)
    except sqlalchemy.exc.ArgumentError:
        # `open_storage` reports text that is not a URL.
        return None
    return url.database if url.get_backend_name() == "sqlite" else None


def storage_label(storage: str | Path | BaseStorage | None, folder: Path) -> str:
    """Return the storage, or the path of the file in the results folder, as errors may name it."""
    return redacted(storage) or str(folder / STUDY_FILE)


def redacted(storage: str | Path | BaseStorage | None) -> str | None:
    """Return a storage as text without its secrets; an Optuna storage as the name of its class."""
    if storage is None or isinstance(storage, BaseStorage):
        return None if storage is None else type(storage).__name__
    text = str(storage)
    for secret in _secrets(text):
        text = text.replace(f":{secret}@", ":***@").replace(f"={secret}", "=***")
    return text


def _without_secrets(url: str, reason: str) -> str:
    """Return `reason`, the text of a driver's error, without the secrets in `url`."""
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    return reason


def _secrets(url: str) -> list[str]:
    """Return the secret parts of a URL, quoted and unquoted, the longest first."""
    if "://" not in url:
        return []
    user = url.split("://", 1)[1].rpartition("@")[0]
    query = [part.partition("=") for part in url.partition("?")[2].split("&")]
    arguments = [value for name, _, value in query if any(mark in name.lower() for mark in _SECRET_MARKS)]
    password = user.partition(":")[2]
    # If an @ in the password is not escaped, drivers take the rest for the host and print it.
    secrets = {s for s in (password, *password.split("@")[1:], *arguments) if s}
    return sorted(secrets | {unquote(s) for s in secrets}, key=len, reverse=True)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence the line that Optuna logs for each study that it creates."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
