"""MLflow stores for this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emotion.tracking.client import reset_connection


@contextmanager
def connected_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect this process to the MLflow store of a project."""
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # MLflow sets it; restore it with the others
    reset_connection()
    yield
    reset_connection()
