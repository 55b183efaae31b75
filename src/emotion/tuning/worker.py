"""Run one trial in a separate process, here or on a Ray node, and log it to MLflow."""

import json
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.data.dataset import Split, open_dataset
from emotion.runtime.errors import UserError, describe_os_error
from emotion.runtime.files import write_json
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking.client import connection
from emotion.tracking.metric_names import trial_metrics
from emotion.tracking.provenance import machine
from emotion.tracking.runs import resume_run
from emotion.tracking.stage_runs import DatasetInfo, dataset_info, epoch_logger, log_dataset, log_val_predictions
from emotion.tuning.protocol import TrialRequest, TrialResult

REQUEST, RESULT = "request.json", "result.json"


def run_in_process(folder: Path) -> None:
    """Run a trial as the main function of its process: read request.json in a folder and write result.json.

    Training states are saved in the same folder, so a restarted trial resumes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the search, which ends its trials
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    load_tensorflow(trains=True)
    request = TrialRequest.model_validate(json.loads((folder / REQUEST).read_text()))
    dataset = open_dataset()
    result = run_trial_safely(request, dataset.split("train"), dataset.split("validation"), dataset_info(), folder)
    write_json(folder / RESULT, result.model_dump(mode="json"))


@dataclass(frozen=True)
class NodeTracking:
    """What a trial on another node needs to log its run."""

    environment: dict[str, str]  # for MLflow; an argument, because Ray's dashboard shows a runtime environment
    is_shared: bool  # whether other machines can reach the tracking store
    dataset: DatasetInfo  # what is logged of the data

    @classmethod
    def here(cls) -> "NodeTracking":
        """The tracking store of this process."""
        variables = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
        store = connection()
        return cls({**variables, "MLFLOW_TRACKING_URI": store.uri}, store.is_remote, dataset_info())


def run_on_node(request: dict[str, Any], tracking: NodeTracking, train: Split, validation: Split) -> dict[str, Any]:
    """Run a trial as a Ray task.

    Args:
        request: a `TrialRequest` as JSON.
        tracking: where to log its run.
        train: all training images.
        validation: the images that the trial is scored on.

    Returns:
        a `TrialResult` as JSON.
    """
    os.environ.update(tracking.environment)
    connection().disable_offline_mode()  # an outbox on a node's disk would never be delivered
    cpus = int(os.environ.get("OMP_NUM_THREADS") or 1)  # Ray sets it to the task's CPUs
    os.environ["TF_NUM_INTEROP_THREADS"] = str(min(2, cpus))
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(max(1, cpus // 2))
    load_tensorflow()
    import ray

    tags = {"ray.node_id": ray.get_runtime_context().get_node_id()}
    result = run_trial_safely(TrialRequest.model_validate(request), train, validation, tracking.dataset, tags=tags)
    return result.model_dump(mode="json")


def _exit_with_parent() -> None:
    """Exit when the process of the search ends, even if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def run_trial_safely(
    request: TrialRequest,
    train: Split,
    validation: Split,
    dataset: DatasetInfo,
    folder: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> TrialResult:
    """Run a trial and log it to its run. A failure is returned as a result, not raised.

    Args:
        request: the settings of the trial.
        train: all training images.
        validation: the images that the trial is scored on.
        dataset: the description of the data to log.
        folder: the folder for saved training states; None saves nothing.
        tags: additional tags of the run.
    """
    try:
        return _run_logged_trial(request, train, validation, dataset, folder, tags or {})
    except UserError as error:
        return TrialResult(outcome="failed", reason=str(error))
    except OSError as error:  # for example a full disk
        return TrialResult(outcome="failed", reason=describe_os_error(error))
    except Exception as error:  # noqa: BLE001  any error fails only this trial
        traceback.print_exc()
        return TrialResult(outcome="failed", reason=f"{type(error).__name__}: {error}".splitlines()[0][:500])


def _run_logged_trial(
    request: TrialRequest,
    train: Split,
    validation: Split,
    dataset: DatasetInfo,
    folder: Path | None,
    tags: Mapping[str, str],
) -> TrialResult:
    from emotion.tuning.trial import run_trial  # TensorFlow

    with resume_run(request.run_id) as run:
        log_dataset(run, dataset)
        run.set_tags({"machine": machine(), **tags})
        finished = run_trial(
            request, train, validation, folder,
            lambda execution: [epoch_logger(run, f"_{execution + 1}" if execution else "")],
        )  # fmt: skip
        run.log_metrics(trial_metrics(finished.result.metrics))
        run.set_tags({"outcome": finished.result.outcome})
        log_val_predictions(run, validation, finished.val_probabilities)
    return finished.result
