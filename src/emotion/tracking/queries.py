"""Queries about the runs in the tracking store."""

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import mlflow
from mlflow.entities import LoggedModelStatus

from emotion.runtime.processes import has_exited
from emotion.runtime.text import printable
from emotion.tracking import delivery
from emotion.tracking.client import connection
from emotion.tracking.runs import PARENT_TAG, PROCESS_TAG, end_run

MAX_RUNS_PER_PAGE = 1000  # that MLflow returns


@dataclass(frozen=True)
class RunInfo:
    """A run as recorded in the tracking store."""

    id: str
    name: str
    status: str  # RUNNING, FINISHED, FAILED, KILLED
    params: dict[str, str]
    metrics: dict[str, float]  # the last value of each
    tags: dict[str, str]
    start: int  # milliseconds since 1970


def search_runs(stage: str | None = None, parent: str | None = None, status: str | None = None) -> list[RunInfo]:
    """The project's runs, the newest first.

    Args:
        stage: return only runs of this stage; `trial` for the trials of searches, `promote` for verdicts.
        parent: return only child runs of the run with this id.
        status: return only runs with this status.
    """
    store = connection()
    if not store.has_store:
        return []
    conditions = [f"tags.stage = '{stage}'"] if stage else []
    conditions += [f"tags.`{PARENT_TAG}` = '{parent}'"] if parent else []
    conditions += [f"attributes.status = '{status}'"] if status else []
    runs: list[RunInfo] = []
    token = None
    with store.translate_errors():
        experiments = store.experiment_ids
        while True:
            page = store.client.search_runs(
                experiments, " and ".join(conditions), max_results=MAX_RUNS_PER_PAGE, page_token=token
            )
            runs += map(_run_info, page)
            token = page.token
            if not token:
                return runs


def get_run(run_id: str) -> RunInfo | None:
    """One run of any experiment, or its replacement; None if there is neither."""
    with connection().translate_errors():
        known = delivery.resolve_run_id(run_id)
        return _run_info(connection().client.get_run(known)) if known else None


def _run_info(run: mlflow.entities.Run) -> RunInfo:
    return RunInfo(
        run.info.run_id,
        run.info.run_name,
        run.info.status,
        run.data.params,
        run.data.metrics,
        run.data.tags,
        run.info.start_time,
    )


def metric_steps(run_id: str, metric: str) -> int:
    """The last step at which a run logged a metric; 0 if it did not."""
    with connection().translate_errors():
        return max((value.step for value in connection().client.get_metric_history(run_id, metric)), default=0)


def read_artifact(run_id: str, path: str) -> bytes | None:
    """The content of a run's artifact; None if it does not exist.

    Raises:
        UserError: if it cannot be downloaded.
    """
    store = connection()
    with store.translate_errors(count_time=False):
        folder = PurePosixPath(path).parent.as_posix()
        siblings = store.client.list_artifacts(run_id, None if folder == "." else folder)
        if path not in {artifact.path for artifact in siblings}:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            downloaded = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=scratch)
            return Path(downloaded).read_bytes()


def kill_runs(run_id: str) -> None:
    """Set an abandoned run and its child runs to KILLED, if they are still RUNNING."""
    for run in connection().query(search_runs, ()):  # without a server, `emotion cleanup-runs` finds them later
        if run.status == "RUNNING" and run_id in (run.id, run.tags.get(PARENT_TAG)):
            end_run(run.id, "KILLED")


def cleanup_runs() -> tuple[list[RunInfo], list[RunInfo]]:
    """Set RUNNING runs whose process has exited to KILLED.

    Returns:
        The killed runs, and the RUNNING runs left alone because their process is alive or on another machine.
    """
    running = search_runs(status="RUNNING")
    dead = [run for run in running if has_exited(run.tags.get(PROCESS_TAG, ""))]
    for run in dead:
        end_run(run.id, "KILLED")
    return dead, [run for run in running if run not in dead]


def delete_incomplete_models() -> list[str]:
    """Delete the logged models that killed processes were still writing; return their ids.

    A model whose run is RUNNING may still be completed and is left alone.
    """
    store = connection()
    deleted = []
    with store.translate_errors():
        running = {run.id for run in search_runs(status="RUNNING")}
        token = None
        while True:
            page = store.client.search_logged_models([store.experiment_id()], page_token=token)
            for model in page:
                if model.status == LoggedModelStatus.PENDING and model.source_run_id not in running:
                    store.client.delete_logged_model(model.model_id)
                    deleted.append(model.model_id)
            token = page.token
            if not token:
                return deleted


def close_abandoned_runs() -> None:
    """Set runs that killed stages left RUNNING to KILLED, if the store is available."""
    killed, _ = connection().query(cleanup_runs, ((), ()))
    for run in killed:
        print(printable(f"The run {run.name} {run.id} was left RUNNING by a process that was killed: set to KILLED."))
