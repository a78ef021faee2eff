"""Where a study is kept: a SQLite file by default, a journal file, or any database that Optuna can use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from keras_initx.errors import InitxError

from .failures import reason_of, remedy_for, storage_errors
from .journal import Journal

STUDY_FILE, STUDY_NAME = "study.db", "keras-initx"
JOURNAL_SUFFIX = ".journal"
# Seconds for which a process waits for another one that writes; SQLAlchemy gives up after five.
_WAIT = 100
# How often, and after how many seconds, tables are looked for again that another process was making.
_TRIES, _PAUSE = 5, 0.2
_HERE = Path()
# By default a connection that was cut is waited for a quarter of an hour.
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Parts of the names of query arguments that are for nobody's eyes.
_HIDDEN = ("pass", "pwd", "secret", "token", "key")


def open_storage(storage: str | Path | BaseStorage | None, folder: Path) -> BaseStorage:
    """The storage of a study.

    Args:
        storage: None for `study.db` in `folder`; the path of a file that ends in ".journal" (for network
            file systems, on which SQLite may not be used by several machines); a URL as SQLAlchemy knows it
            ("postgresql://user:password@host/database"); or an Optuna storage.
        folder: The results folder.

    Raises:
        InitxError: A storage that cannot be opened: no server, no right to write, no database in the file.
            A password is not repeated.
    """
    if isinstance(storage, BaseStorage):
        return storage
    text = f"sqlite:///{folder.resolve() / STUDY_FILE}" if storage is None else str(storage)
    try:
        if text.endswith(JOURNAL_SUFFIX):
            return JournalStorage(Journal(text))
        return _create(text, _options(text))
    except ImportError as error:
        remedy = f"Install the driver of that database: {error}."
        raise InitxError("storage", redacted(text), "a database whose driver is installed", remedy) from None
    except Exception as error:
        reason = reason_of(error)
        allowed = "a study's file or database that can be opened and written to"
        remedy = f"{_without_password(text, reason)}. {remedy_for(reason, begun=False)}".strip()
        raise InitxError("storage", redacted(text), allowed, remedy) from None


def _options(url: str) -> dict[str, Any]:
    """How SQLAlchemy opens a database: with patience for a file, without any for a server that is gone."""
    made = sqlalchemy.make_url(url)
    if made.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _WAIT}}
    # A connection may have died since it was used last.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if made.get_driver_name() in ("psycopg2", "psycopg"):
        # What the URL says itself SQLAlchemy hands on.
        options["connect_args"] = {name: v for name, v in _LIBPQ.items() if name not in made.query}
    return options


def _create(url: str, options: dict[str, Any]) -> RDBStorage:
    """The database, whose tables another process may be making in the same moment."""
    for _ in range(_TRIES):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except sqlalchemy.exc.DBAPIError as error:
            # Optuna looks which tables there are, and only then makes the missing ones.
            if not (isinstance(error, sqlalchemy.exc.IntegrityError) or "already exists" in str(error.orig)):
                raise
            time.sleep(_PAUSE)
    return RDBStorage(url, engine_kwargs=options)


@contextmanager
def storage_session(storage: str | Path | BaseStorage | None, folder: Path = _HERE) -> Iterator[BaseStorage]:
    """A storage for a moment, as `open_storage`; its connections are given back afterwards."""
    found = open_storage(storage, folder)
    try:
        with storage_errors(storage_label(storage, folder)):
            yield found
    finally:
        if isinstance(found, RDBStorage) and found is not storage:
            found.remove_session()
            found.engine.dispose()


def storage_label(storage: str | Path | BaseStorage | None, folder: Path) -> str:
    """The storage, or the file in the results folder, as an error may name it."""
    return redacted(storage) or str(folder / STUDY_FILE)


def redacted(storage: str | Path | BaseStorage | None) -> str | None:
    """A storage as it may be written down: without a password, and without what an object prints."""
    if storage is None or isinstance(storage, BaseStorage):
        return None if storage is None else type(storage).__name__
    text = str(storage)
    for secret in _secrets(text):
        text = text.replace(f":{secret}@", ":***@").replace(f"={secret}", "=***")
    return text


def _without_password(url: str, reason: str) -> str:
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    return reason


def _secrets(url: str) -> list[str]:
    """What of a URL nobody is to read, as it stands there and as it is meant; the longest first."""
    if "://" not in url:
        return []
    user = url.split("://", 1)[1].rpartition("@")[0]
    query = [part.partition("=") for part in url.partition("?")[2].split("&")]
    hidden = [value for name, _, value in query if any(mark in name.lower() for mark in _HIDDEN)]
    password = user.partition(":")[2]
    # Drivers take what follows an @ that is not escaped for the host, and say so.
    found = {s for s in (password, *password.split("@")[1:], *hidden) if s}
    return sorted(found | {unquote(s) for s in found}, key=len, reverse=True)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without what Optuna says of each study that it makes."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
