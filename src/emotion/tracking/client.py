"""Where MLflow keeps runs and versions, and whether it can be asked.

That is environment: MLFLOW_TRACKING_URI (default: mlflow.db in the project's root) and
MLFLOW_EXPERIMENT_NAME (default: emotion).
"""

import fcntl
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow's defaults keep trying a dead server for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# It would print the server's address with the password in it.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from emotion.runtime.errors import UserError
from emotion.runtime.paths import JOURNAL, project_root
from emotion.tracking.outbox import Journal

# A server is given up that had a stage wait for so many seconds in all, and for so many each time.
PATIENCE, SLOW = 20.0, 1.0


def store_uri() -> str:
    """Where the runs are. A relative SQLite path counts from the project's root."""
    root = project_root().resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    return f"sqlite:///{root / path}" if scheme == "sqlite" and separator else uri


@cache
def connect() -> mlflow.MlflowClient:
    """Point MLflow at the tracking store, creating it and the experiment where needed.

    Raises:
        AwayError: where a server cannot be reached.
        UserError: where the store refuses.
    """
    uri = store_uri()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "emotion")
    mlflow.set_tracking_uri(uri)
    with explained("cannot be used"), _one_at_a_time(uri):
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            # A server knows itself where artifacts go; a database does not.
            location = None if uri.startswith("http") else str(project_root().resolve() / "mlartifacts")
            # The tag lets the UI show what belongs to training and not to language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(name, artifact_location=location, tags=kind)
        elif experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"MLflow's experiment {name} was deleted. Bring it back with `mlflow experiments restore"
                f" -x {experiment.experiment_id}`, or choose another name in MLFLOW_EXPERIMENT_NAME."
            )
        mlflow.set_experiment(name)
    return client


def newest_schema() -> str:
    """The version of a database's tables that this MLflow works with."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time create a SQLite store: MLflow's own migrations race."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Write-ahead logging lets the UI read while a run writes, and a run end well whose
        # last reading was interrupted.
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
        yield


def without_password(text: str) -> str:
    """A text with URIs in it, as it may be shown."""
    return re.sub(r"://[^/\s]*@", "://", text)


class AwayError(UserError):
    """A tracking server that does not answer, or not in time."""


class _Server:
    """What this process has seen of it."""

    away = False  # does not answer: from now on everything waits in the journal
    journaling = True  # whether anything may wait
    waited = 0.0  # seconds, for its answers
    answers = 0
    asking = 0  # how many `explained` are around what is done just now


@contextmanager
def explained(what: str = "failed", patient: bool = False) -> Iterator[None]:
    """Turn a store that fails into one message.

    Args:
        what: it does then.
        patient: whether the time that it takes counts for nothing, as for large files.

    Raises:
        AwayError: where it is a server that does not answer.
        UserError: for all else.
    """
    start = time.monotonic()
    _Server.asking += 1
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, requests.RequestException) as error:
        reason = without_password((str(error).strip() or type(error).__name__).splitlines()[0])[:300]
        kind = AwayError if _is_no_answer(error) else UserError
        raise kind(
            f"the MLflow tracking store at {without_password(store_uri())} {what}: {reason}. Start the server,"
            " mend MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the project; then run again."
        ) from error
    finally:
        _Server.asking -= 1
        if not (_Server.asking or patient):
            _Server.waited += time.monotonic() - start
            _Server.answers += 1


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and TERM wait until something is written: a transaction that is cut keeps SQLite locked."""
    if store_uri().startswith("http") or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda *what: came.append(what)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for what, frame in came[:1]:
            handler = handlers[signal.Signals(what)]
            if callable(handler):
                handler(what, frame)


def _is_no_answer(error: Exception) -> bool:
    """Whether a server, or the database behind it, could not be asked; not, whether it refused."""
    if not store_uri().startswith("http"):
        return False
    return not isinstance(error, MlflowException) or error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


def waiting() -> Journal:
    """What waits for this store; each has a journal of its own."""
    name = re.sub(r"[^\w.]+", "-", without_password(store_uri()))
    return Journal(project_root().resolve() / JOURNAL / name)


def forget() -> None:
    """Know nothing of the store, as at the start; for where another one takes its place."""
    connect.cache_clear()
    _Server.away, _Server.waited, _Server.answers = False, 0.0, 0


def without_journal() -> None:
    """Fail where the server does not answer: for processes whose disk nobody looks at later."""
    _Server.journaling = False


def is_away() -> bool:
    """Whether what would be logged has to wait: the server does not answer, or takes ever so long.

    Raises:
        UserError: where the store refuses.
    """
    if not _Server.away:
        try:
            connect()
            slow = _Server.waited > max(PATIENCE, SLOW * _Server.answers)
            if slow and _Server.journaling and store_uri().startswith("http"):
                raise AwayError(
                    f"the MLflow tracking store at {without_password(store_uri())} is slow: {_Server.answers} answers"
                    f" took {_Server.waited:.0f} s"
                )
        except AwayError as error:
            leave(error)
    return _Server.away


def leave(error: AwayError) -> None:
    """Go on without the server, in this process.

    Raises:
        AwayError: where nothing may wait.
    """
    if not _Server.journaling:
        raise error
    _Server.away = True
    reason = without_password(str(error)).split(". Start the server")[0]
    print(
        f"{reason}. This goes on without it: what would be logged waits in {waiting().folder}, and"
        " `emotion sync` delivers it once the server is back.",
        file=sys.stderr,
        flush=True,
    )
