"""The runs that earlier stages left: found in MLflow, or logged again from their files.

DVC brings outputs back without running anything (`dvc pull`, its run cache), and a tracking
store may be new: then the files are there and their runs are not.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd

from emotion.params import Params
from emotion.runtime.errors import UserError
from emotion.runtime.paths import HISTORY, HYPERPARAMETERS, METRICS, TRIALS
from emotion.tracking import operations as delivery
from emotion.tracking import provenance
from emotion.tracking import runs as tracking
from emotion.tracking.stage_runs import RUN_FILES, begin_trial, log_outputs, log_patch, parameters


def tuned() -> dict[str, Any]:
    """The best hyperparameters.

    Returns:
        values: names under `train` and their values; trial: the name of the best, or None;
        tags: which search and trial it was, under the ids that MLflow knows them by.
    """
    search = restore("tune")
    record = json.loads(HYPERPARAMETERS.read_text())
    tags = {"tune.run_id": search}
    if record["trial"]:
        trial = tracking.find(record["trial_run_id"]) or record["trial_run_id"]
        tags |= {"tune.trial": record["trial"], "tune.trial_run_id": trial, "tune.score": str(record["score"])}
    return {"values": record["values"], "trial": record["trial"], "tags": tags}


@contextmanager
def train_run(stage: str, settings: Params) -> Iterator[str]:
    """Let a later stage go on with the run of `train`, restoring it where it is lost.

    Yields:
        The id of the run.
    """
    run_id = restore("train")
    patch = provenance.uncommitted_patch()
    about = {**provenance.tags(stage, patch), **parameters(stage, settings)}
    del about["stage"]
    # Tags, because a stage may run again with other parameters and MLflow's never change.
    tags = {key if key.startswith(f"{stage}.") else f"{stage}.{key}": str(value) for key, value in about.items()}
    with tracking.resumed(run_id, tags):
        log_patch(stage, patch)
        yield run_id
        if stage == "evaluate":
            log_outputs(stage)


def restore(stage: str) -> str:
    """The id of the stage's run in the store, logging it again from the files where it is missing.

    Raises:
        UserError: where the stage has not run and was not pulled.
    """
    path = RUN_FILES[stage]
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. `dvc repro {stage}` or `dvc pull` brings it.") from None
    found = tracking.find(record["run_id"])
    if found:
        return found
    links = {key: tracking.find(value) or value for key, value in record["tags"].items() if key.endswith("run_id")}
    tags = {**record["tags"], **links, "restored": "true"}
    with tracking.run(stage, tags, record["params"]) as run_id:
        log_patch(stage, record["patch"])
        if stage == "tune":
            _log_trials_again({**record, "run_id": run_id})
        if stage == "train":
            tracking.log_history(pd.read_csv(HISTORY))
            if METRICS.exists():
                log_outputs("evaluate")
        log_outputs(stage)
        # Last, so that a twin that was cut short is not taken for the run.
        tracking.set_tag(delivery.RESTORED_FROM, record["run_id"])
    print(f"The run of {stage} was not in MLflow and was logged again from its files.")
    return run_id


def _log_trials_again(search: Mapping[str, Any]) -> None:
    for row in pd.read_csv(TRIALS).to_dict("records"):
        trial = {str(key): value for key, value in row.items() if value == value}
        name, lost, outcome = trial.pop("trial"), trial.pop("run_id"), trial.pop("outcome")
        tags = {"outcome": outcome, "reason": trial.pop("reason", ""), "restored": "true"}
        values = {key: trial.pop(key) for key in list(trial) if key.startswith("train.")}
        values = {key.removeprefix("train."): value for key, value in values.items()}
        run_id = begin_trial(name, search, values)
        with tracking.within(run_id):
            tracking.log_metrics(trial)
        tags[delivery.RESTORED_FROM] = lost
        tracking.end(run_id, "FAILED" if outcome == "failed" else "FINISHED", tags)
