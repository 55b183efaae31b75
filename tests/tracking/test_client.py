"""The connection to the tracking store."""

import errno
import os
import signal
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, QueuePool, create_engine, event, text

from emotion.runtime.errors import UserError
from emotion.tracking.client import Connection, connection
from emotion.tracking.runs import start_run
from emotion.tracking.uri import redact_credentials


def test_an_interrupt_is_deferred_until_the_transaction_is_written(mlflow_store: Path) -> None:
    steps: list[str] = []

    def write() -> None:
        with connection().defer_signals():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            steps.append("written")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
        assert steps == ["written"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_the_database_is_released_logs_no_traceback(
    mlflow_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert connection().client
    engine = create_engine(f"sqlite:///{mlflow_store / 'other.db'}", poolclass=QueuePool)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    event.listen(engine, "reset", interrupt)
    with pytest.raises(KeyboardInterrupt), engine.connect() as database:
        database.execute(text("select 1"))
    assert not caplog.records


def test_an_experiment_that_another_process_creates_at_the_same_time_is_used(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    existing = Connection().experiment_id()
    find, answers = MlflowClient.get_experiment_by_name, [None]
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda self, name: answers.pop() if answers else find(self, name)
    )
    assert Connection().experiment_id() == existing
    assert not answers


PASSWORDS = [
    "pass/word", "p@ss@word", "with blank", "question?mark", "hash#mark", "[bracket", "bracket]", "back\\slash",
    "50%2F50", "colon:colon", "ünï-côde", "quote'quote", "new\nline", "tab\ttab", "//word", "@word", "word@", "word/",
    "user:word@host",
]  # fmt: skip


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["http", "postgresql"])
@pytest.mark.parametrize("is_encoded", [False, True])
def test_a_password_is_neither_shown_nor_used_in_a_name(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, password: str, is_encoded: bool
) -> None:
    uri = f"{scheme}://user:{quote(password, safe='') if is_encoded else password}@127.0.0.1:9/db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    try:
        store = Connection()
    except UserError as error:
        assert not is_encoded
        shown = str(error)
    else:
        with pytest.raises(UserError) as raised, store.translate_errors():
            raise MlflowException(f"API request to {uri} failed: password {password!r}, {password}", error_code=1)
        shown = f"{store.shown_uri} {store.outbox.folder} {raised.value}"
    for secret in {password, quote(password, safe=""), quote(password)}:
        assert secret not in shown


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (
            sqlite3.OperationalError("database is locked"),
            "Another program is writing to it. Wait until it has finished",
        ),
        (
            sqlite3.DatabaseError("database disk image is malformed"),
            "It is damaged. Put back a copy, or move it away and run `emotion restore`",
        ),
        (sqlite3.OperationalError("database or disk is full"), "Free some space and run again."),
        (
            OSError(errno.ENOSPC, "No space left on device", "/tmp/a"),
            "failed: the disk is full while writing /tmp/a. Free",
        ),
    ],
)
def test_the_innermost_cause_of_an_error_decides_the_advice(mlflow_store: Path, cause: Exception, message: str) -> None:
    def fail() -> None:
        try:
            try:
                raise cause
            except Exception as error:
                raise RuntimeError("rolled back") from error
        except RuntimeError:
            raise MlflowException("[SQL: INSERT INTO params]", error_code=1)  # noqa: B904  MLflow does so, too

    with pytest.raises(UserError) as raised, connection().translate_errors():
        fail()
    assert message in str(raised.value)
    assert "Start the server" not in str(raised.value)


def test_a_missing_database_driver_is_named(mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+pg8000://user:secret@127.0.0.1:9/runs")
    with pytest.raises(UserError, match=r"needs the Python package pg8000, which is not installed") as raised:
        _ = Connection().client
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("uri", ["user:secret@127.0.0.1", "ftp//user:secret@127.0.0.1"])
def test_a_uri_without_a_scheme_is_rejected_without_showing_it(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="is not of the form SCHEME://USER:PASSWORD@HOST") as raised:
        Connection()
    assert "secret" not in str(raised.value)


def test_credentials_are_redacted() -> None:
    assert redact_credentials("at http://user:secret@host/x and s3://key@bucket") == "at http://host/x and s3://bucket"


def test_a_store_whose_creation_was_killed_is_created_again(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mlflow_store / "mlflow.db").unlink()

    def create_a_part(engine: Engine) -> None:
        with engine.begin() as database:
            database.execute(text("CREATE TABLE experiments (name TEXT)"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._initialize_tables", create_a_part)
        with pytest.raises(KeyboardInterrupt):
            _ = Connection().client
    assert not (mlflow_store / "mlflow.db").exists()
    for name in ("tmp-mlflow.db", "tmp-mlflow.db-journal", "mlflow.db-backup"):
        (mlflow_store / name).write_text("of a killed process, or of the user")
    assert Connection().client.get_experiment_by_name("emotion")
    assert (mlflow_store / "mlflow.db-backup").exists()
    assert not list(mlflow_store.glob("tmp-*"))


def test_the_cause_of_a_failed_run_is_reported_if_the_store_fails_as_well(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MlflowException("database or disk is full")

    def run_in_failing_store() -> None:
        with start_run("train", {}, {}):
            monkeypatch.setattr(MlflowClient, "set_terminated", fail)
            monkeypatch.setattr(MlflowClient, "update_run", fail)
            raise UserError("the cause")

    with pytest.raises(UserError, match="the cause"):
        run_in_failing_store()
