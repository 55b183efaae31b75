"""Runs one trial in a process of its own, and logs it to MLflow."""

import json
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path

from emotion.data.dataset import Split, open_dataset
from emotion.runtime.errors import UserError
from emotion.runtime.files import write_json
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking.provenance import machine
from emotion.tracking.runs import resume_run
from emotion.tracking.stage_runs import DatasetInfo, dataset_info, epoch_logger, log_dataset, log_val_predictions
from emotion.tuning.protocol import TrialRequest, TrialResult

REQUEST, RESULT = "request.json", "result.json"
TRIAL_METRICS = ("score", "score_spread", "duration", "training_seconds", "epochs", "parameters")


def run_in_process(folder: Path) -> None:
    """The main function of a trial's process: reads request.json from a folder and writes result.json.

    The states of the trainings are saved in the folder, too: started again, the trial resumes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the search, which ends its trials
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    load_tensorflow()
    request = TrialRequest.model_validate(json.loads((folder / REQUEST).read_text()))
    dataset = open_dataset()
    result = run_trial_safely(request, dataset.split("train"), dataset.split("validation"), dataset_info(), folder)
    write_json(folder / RESULT, result.model_dump(mode="json"))


def _exit_with_parent() -> None:
    """Never outlive a search that was killed."""
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
    """Run a trial and log it to its run; a failure is a result, too.

    Args:
        request: what to do.
        train: all training images.
        validation: the images that the trial is scored on.
        dataset: what the run says about the data.
        folder: where the states of the trainings are saved, or None.
        tags: further tags of the run.
    """
    try:
        return _run_logged_trial(request, train, validation, dataset, folder, tags or {})
    except UserError as error:
        return TrialResult(outcome="failed", reason=str(error))
    except Exception as error:  # noqa: BLE001  whatever it is, it costs one trial
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
        run.log_metrics({key: finished.result.metrics[key] for key in TRIAL_METRICS})
        run.set_tags({"outcome": finished.result.outcome})
        log_val_predictions(run, validation.index, finished.val_probabilities)
    return finished.result
