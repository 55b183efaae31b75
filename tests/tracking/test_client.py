"""The connection to the tracking store."""

import os
import signal
import time
from pathlib import Path

import pytest

from emotion.tracking.client import connection, redact_credentials


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


def test_credentials_are_redacted() -> None:
    assert redact_credentials("at http://user:secret@host/x and s3://key@bucket") == "at http://host/x and s3://bucket"
