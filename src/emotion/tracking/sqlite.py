"""Tracking stores in a SQLite file: creating them, and what to do about their errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock
from sqlalchemy import create_engine

from emotion.runtime.files import atomic_write

_DAMAGED = "It is damaged. Put back a copy, or move it away and run `emotion restore`, which logs the runs again."
_ADVICE = {  # by words in SQLite's messages
    "locked": "Another program is writing to it. Wait until it has finished, then run again.",
    "full": "Free some space and run again.",
    "readonly": "Make sure that you can write to it and to its folder.",
    "unable to open": "Make sure that it is a file that you can write to.",
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "no such table": _DAMAGED,
    "already exists": _DAMAGED,
}


def sqlite_advice(error: sqlite3.Error) -> str | None:
    """What to do about an error of SQLite; None if only the error itself says it."""
    return next((advice for words, advice in _ADVICE.items() if words in str(error)), None)


@contextmanager
def sqlite_lock(uri: str) -> Iterator[None]:
    """Allow only one process at a time to create a SQLite store, because MLflow's migrations race."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists() or not path.stat().st_size:
            _create(path)
        # Write-ahead logging lets the UI read while a run writes, and lets a run end properly after
        # an interrupted read.
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
        yield


def _create(path: Path) -> None:
    """Create the tables completely or not at all: MLflow cannot continue after a part of them."""
    from mlflow.store.db.utils import _initialize_tables

    for name in (f"tmp-{path.name}", path.name):  # of a killed process, and of a deleted store
        for log in ("-journal", "-wal", "-shm"):
            path.with_name(f"{name}{log}").unlink(missing_ok=True)
    with atomic_write(path) as tmp:
        engine = create_engine(f"sqlite:///{tmp}")
        try:
            _initialize_tables(engine)
        finally:
            engine.dispose()
