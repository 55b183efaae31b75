"""What is logged to a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emotion.tracking.client import connection
from emotion.tracking.delivery import log_or_enqueue
from emotion.tracking.operations import (
    MAX_DIGEST,
    LogDataset,
    LogFiles,
    LogMetrics,
    LogParams,
    LogText,
    SetTags,
    current_milliseconds,
)


@dataclass(frozen=True)
class Run:
    """A run to write to."""

    id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters. MLflow does not allow changing them later."""
        log_or_enqueue(self.id, LogParams(params={key: str(value) for key, value in params.items()}))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0, at: int | None = None) -> None:
        """Log metrics at a step (an epoch, from 1), and at a time (in milliseconds since 1970; None for now)."""
        values = tuple((key, float(value), step) for key, value in metrics.items())
        log_or_enqueue(self.id, LogMetrics(metrics=values, at=at or current_milliseconds()))

    def log_files(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or all files of a folder, as artifacts."""
        log_or_enqueue(self.id, LogFiles(folder=(folder or path.name) if path.is_dir() else folder), path)

    def log_text(self, text: str, path: str) -> None:
        """Log a text as an artifact."""
        log_or_enqueue(self.id, LogText(text=text, path=path))

    def log_dataset(self, name: str, location: str, digest: str) -> None:
        """Log which data the run used, with a custom digest, because MLflow's covers only a few images."""
        log_or_enqueue(self.id, LogDataset(name=name, location=location, digest=digest[:MAX_DIGEST]))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        log_or_enqueue(self.id, SetTags(tags=dict(tags)))

    def rename(self, name: str) -> None:
        """Set the name that the UI shows."""
        self.set_tags({"mlflow.runName": name})

    def set_description(self, text: str) -> None:
        """Set the description that the UI shows."""
        self.set_tags({"mlflow.note.content": text})

    def logged_steps(self, metric: str) -> set[int]:
        """The steps at which a metric is logged; empty if the store cannot be queried."""
        store = connection()
        if store.outbox.has_pending(self.id):
            return set()
        history = store.query(lambda: store.client.get_metric_history(self.id, metric), ())
        return {value.step for value in history}
