"""The connection to the MLflow tracking store, and whether it is available.

The environment configures it: MLFLOW_TRACKING_URI (default: mlflow.db in the project's root) and, in
`emotion.tracking.experiments`, MLFLOW_EXPERIMENT_NAME.
"""

import logging
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from types import FrameType
from typing import TypeVar, get_args

import mlflow
import requests
from filelock import FileLock
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from emotion.runtime.errors import SYSTEM_ERRORS, UserError, causes, describe_os_error
from emotion.runtime.paths import OUTBOX, project_root
from emotion.tracking.experiments import Purpose, find_experiment, get_or_create_experiment
from emotion.tracking.outbox import Outbox
from emotion.tracking.sqlite import sqlite_advice, sqlite_lock
from emotion.tracking.uri import redact_credentials, tracking_uri

# A server counts as unavailable once this process has waited longer than this in total and per request on average.
MAX_TOTAL_WAIT, MAX_MEAN_LATENCY = 20.0, 1.0  # seconds
CONFLICT_ATTEMPTS = 5
Answer = TypeVar("Answer")
Assumed = TypeVar("Assumed")
HOW_TO_FIX = "Start the server, fix MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the project; then run again."


def latest_schema() -> str:
    """The version of the database schema that the installed MLflow needs."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


def _system_error(error: Exception) -> OSError | None:
    """The error of the disk or of permissions that an error was raised from."""
    found = (cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in SYSTEM_ERRORS)
    return next(found, None)


def _advice(error: Exception) -> str:
    """What to do about an error of the store."""
    for cause in causes(error):
        if isinstance(cause, sqlite3.Error):
            return sqlite_advice(cause) or HOW_TO_FIX
    if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
        return "It may have been deleted or renamed in MLflow."
    return HOW_TO_FIX


def retry_conflicts(write: Callable[[], Answer]) -> Answer:
    """Repeat a write that failed because another process inserted the same row at the same time."""
    for _ in range(CONFLICT_ATTEMPTS - 1):
        try:
            return write()
        except MlflowException as error:
            if "unique" not in str(error).lower():
                raise
            time.sleep(0.1)
    return write()


class ServerUnavailableError(UserError):
    """The tracking server does not respond, or does not respond in time.

    Attributes:
        reason: what happened, without the advice on what to do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. {HOW_TO_FIX}")
        self.reason = reason


class Connection:
    """The connection of this process to a tracking store.

    Attributes:
        open_runs: ids of the runs that this process set to RUNNING, and whether ending them sets their end time.
    """

    def __init__(self) -> None:
        self.uri = tracking_uri()
        self.outbox = Outbox(project_root().resolve() / OUTBOX / re.sub(r"[^\w.]+", "-", redact_credentials(self.uri)))
        self.open_runs: dict[str, bool] = {}
        self._experiment_ids: dict[Purpose, str] = {}
        self._offline = False
        self._offline_mode_enabled = True
        self._waited, self._requests, self._depth = 0.0, 0, 0

    @cached_property
    def restore_lock(self) -> FileLock:
        """Held while a lost run is logged again, so that only one process of this project does so."""
        path = project_root().resolve() / ".dvc/tmp/restore.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    @property
    def is_remote(self) -> bool:
        """Whether the store is a server."""
        return self.uri.startswith("http")

    @property
    def has_store(self) -> bool:
        """Whether there is a store; a SQLite file is created by the first stage, not by a command that only reads."""
        return not self.uri.startswith("sqlite:///") or Path(self.uri.removeprefix("sqlite:///")).exists()

    @property
    def shown_uri(self) -> str:
        """The URI without credentials."""
        return redact_credentials(self.uri)

    @cached_property
    def client(self) -> mlflow.MlflowClient:
        """The MLflow client. Creates the store and the experiment of trainings if necessary.

        Raises:
            ServerUnavailableError: if the server cannot be reached.
            UserError: if the store cannot be used for any other reason.
        """
        mlflow.set_tracking_uri(self.uri)
        for name in ("mlflow.store.db.utils", "sqlalchemy.pool"):  # they print tracebacks, also after Ctrl-C
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with self.translate_errors("cannot be used"), sqlite_lock(self.uri):
            client = mlflow.MlflowClient()
            training = get_or_create_experiment(client, "training", self.artifact_location)
            mlflow.set_experiment(experiment_id=training)
        self._experiment_ids["training"] = training
        return client

    @property
    def artifact_location(self) -> str | None:
        """Where new experiments store artifacts; None if the server chooses."""
        return None if self.is_remote else str(project_root().resolve() / "mlartifacts")

    def experiment_id(self, purpose: Purpose = "training") -> str:
        """The id of an experiment of the project, which is created if necessary."""
        client = self.client
        if purpose not in self._experiment_ids:
            with self.translate_errors(), sqlite_lock(self.uri):
                found = get_or_create_experiment(client, purpose, self.artifact_location)
            self._experiment_ids[purpose] = found
        return self._experiment_ids[purpose]

    @property
    def experiment_ids(self) -> list[str]:
        """The ids of the project's experiments that exist."""
        client = self.client
        with self.translate_errors():
            found = [find_experiment(client, purpose) for purpose in get_args(Purpose)]
        return [experiment for experiment in found if experiment]

    @contextmanager
    def translate_errors(self, what: str = "failed", count_time: bool = True) -> Iterator[None]:
        """Turn errors of the store into one message.

        Args:
            what: what happened to the store, as a verb phrase for the message.
            count_time: whether the time spent here counts as waiting; False for large files.

        Raises:
            ServerUnavailableError: if the server does not respond.
            UserError: for all other errors of the store.
        """
        start = time.monotonic()
        self._depth += 1
        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, requests.RequestException) as error:
            store = f"the MLflow tracking store at {self.shown_uri} {what}"
            if system_error := _system_error(error):
                raise UserError(f"{store}: {redact_credentials(describe_os_error(system_error))}") from error
            text = redact_credentials((str(error).strip() or type(error).__name__).splitlines()[0])[:300]
            reason = f"{store}: {text.rstrip('.')}"
            if self._is_connection_error(error):
                raise ServerUnavailableError(reason) from error
            raise UserError(f"{reason}. {_advice(error)}") from error
        except ModuleNotFoundError as error:
            raise UserError(
                f"the MLflow tracking store at {self.shown_uri} needs the Python package {error.name}, which is not"
                f" installed. Run `pip install {error.name}`."
            ) from None
        finally:
            self._depth -= 1
            if count_time and not self._depth:
                self._waited += time.monotonic() - start
                self._requests += 1

    def _is_connection_error(self, error: Exception) -> bool:
        """Whether the server or its database was unreachable, as opposed to rejecting the request."""
        if not self.is_remote:
            return False
        unavailable = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
        return not isinstance(error, MlflowException) or error.error_code in unavailable

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Delay Ctrl-C and SIGTERM: an interrupted transaction would leave SQLite locked."""
        if self.is_remote or threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[tuple[int, FrameType | None]] = []
        handlers = {
            number: signal.signal(number, lambda number, frame: received.append((number, frame)))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for first, frame in received[:1]:
                handler = handlers[signal.Signals(first)]
                if callable(handler):
                    handler(first, frame)

    @property
    def is_offline(self) -> bool:
        """Whether logs are queued because the server does not respond or is too slow.

        Raises:
            UserError: if the store cannot be used for any other reason.
        """
        if not self._offline:
            try:
                _ = self.client
                too_slow = self._waited > max(MAX_TOTAL_WAIT, MAX_MEAN_LATENCY * self._requests)
                if too_slow and self._offline_mode_enabled and self.is_remote:
                    raise ServerUnavailableError(
                        f"the MLflow tracking store at {self.shown_uri} is too slow: {self._requests} requests"
                        f" took {self._waited:.0f} s"
                    )
            except ServerUnavailableError as error:
                self.go_offline(error)
        return self._offline

    def go_offline(self, error: ServerUnavailableError) -> None:
        """Queue everything that this process logs from now on.

        Raises:
            ServerUnavailableError: if offline mode is disabled.
        """
        if not self._offline_mode_enabled:
            raise error
        self._offline = True
        print(
            f"{error.reason[:1].upper()}{error.reason[1:]}. Continuing offline. Logs are queued in"
            f" {self.outbox.folder}; `emotion sync` delivers them later.",
            file=sys.stderr,
            flush=True,
        )

    def query(self, question: Callable[[], Answer], assumed: Assumed) -> Answer | Assumed:
        """The store's answer, or an assumed one if the store is unavailable."""
        if not self.is_offline:
            try:
                with self.translate_errors():
                    return question()
            except ServerUnavailableError as error:
                self.go_offline(error)
        return assumed

    def disable_offline_mode(self) -> None:
        """Raise an error if the server is unavailable. For commands that need its data, and for remote workers."""
        self._offline_mode_enabled = False


@cache
def connection() -> Connection:
    """The tracking connection of this process, created on first use."""
    return Connection()


def reset_connection() -> None:
    """Discard the connection. The next call to `connection` reads the environment again."""
    connection.cache_clear()
