"""What every stage puts on record: a run in MLflow, filled from the files it wrote.

Because a run is filled from files, it can be filled again where DVC restored the files and
MLflow has no such run: see `restoring`.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from emotion.data.dataset import caption
from emotion.evaluation import predictions
from emotion.params import Params
from emotion.runtime.paths import (
    CURVES,
    DATA_REPORT,
    EVALUATION,
    FACES,
    FETCH_RUN,
    HISTORY,
    HYPERPARAMETERS,
    METRICS,
    PREPROCESS_RUN,
    SOURCE,
    SPEED,
    TRAIN_RUN,
    TRIALS,
    TUNING,
    write_json,
)  # fmt: skip
from emotion.tracking import provenance
from emotion.tracking import runs as tracking

RUN_FILES = {"fetch": FETCH_RUN, "preprocess": PREPROCESS_RUN, "tune": HYPERPARAMETERS, "train": TRAIN_RUN}
# The sections of params.yaml that decide what a stage makes.
SECTIONS = {
    "fetch": ("fetch",),
    "preprocess": ("fetch", "preprocess"),
    "tune": ("fetch", "preprocess", "tune", "train"),
    "train": ("fetch", "preprocess", "tune", "train"),
    "evaluate": ("evaluate",),
    "register": ("register",),
}
# What is in these sections and yet decides nothing.
UNUSED = {
    "tune": ("train.epochs", "train.budget_minutes", "train.select", "train.views", "train.tensorboard"),
    "register": ("register.gate",),
}


def parameters(stage: str, settings: Params) -> dict[str, Any]:
    """Every parameter that decides what the stage makes, as section.key: value."""
    dumped = settings.model_dump(by_alias=True)
    flat = flatten({section: dumped[section] for section in SECTIONS[stage]})
    unused = tuple(f"{name}." for name in UNUSED.get(stage, ()))
    return {key: value for key, value in flat.items() if not f"{key}.".startswith(unused)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Of nested mappings, values by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@contextmanager
def stage_run(
    stage: str, settings: Params, links: Mapping[str, str] | None = None, unfinished: str | None = None
) -> Iterator[dict[str, Any]]:
    """Run a stage under an MLflow run of its name, then log what it wrote.

    Args:
        stage: its name.
        settings: the parameters as the stage uses them.
        links: further tags, which name the runs that this one builds on.
        unfinished: the run of an earlier attempt, to go on with.

    Yields:
        The stage's record, which holds `run_id`, `tags`, `params` and `patch`. What the stage
        adds to it is kept in the stage's run file (see RUN_FILES).
    """
    patch = provenance.uncommitted_patch()
    tags = provenance.tags(stage, patch) | dict(links or {})
    params = parameters(stage, settings)
    with tracking.run(stage, tags, params, unfinished=unfinished) as run_id:
        record = {"run_id": run_id, "tags": tags, "params": params, "patch": patch}
        log_patch(stage, patch)
        yield record
        write_json(RUN_FILES[stage], record)
        log_outputs(stage)


def log_patch(stage: str, patch: str) -> None:
    """What was not committed, as an artifact of the active run."""
    if patch:
        tracking.log_text(patch, f"source/{stage}.patch")


def _log_fetch() -> None:
    source = json.loads(SOURCE.read_text())
    tracking.log_metrics({key: source[key] for key in ("images", "ignored", "bytes")})
    tracking.log_files(SOURCE)
    tracking.set_tag("data.sha256", source["sha256"])


def _log_preprocess() -> None:
    counts = json.loads((DATA_REPORT / "counts.json").read_text())
    tracking.log_metrics({key: value for key, value in flatten(counts).items() if value is not None})
    tracking.log_files(DATA_REPORT, "data")
    _describe(dataset_facts())


def _log_tune() -> None:
    record = json.loads(HYPERPARAMETERS.read_text())
    if record["score"] is not None:
        tracking.log_metrics({"best_score": record["score"]})
        tracking.set_tag("best_trial", record["trial"])
        tracking.set_tag("best_trial_run_id", record["trial_run_id"])
    for path in (TRIALS, HYPERPARAMETERS, TUNING):
        tracking.log_files(path)
    _log_dataset()


def begin_trial(name: str, search: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The id of a trial's run below its search, made where there is none yet.

    Args:
        name: of the trial.
        search: the record of `tune`.
        values: the trial's own, by their names under `train`.
    """
    params = {key: value for key, value in search["params"].items() if key.startswith("train.")}
    params |= {f"train.{key}": value for key, value in values.items()}
    return tracking.child(name, {**search["tags"], "stage": "trial"}, params, search["run_id"])


def epoch_logger(suffix: str = "") -> Callable[[Mapping[str, float]], None]:
    """What logs an epoch's row to the active run, unless an earlier attempt did.

    Args:
        suffix: of the metrics' names.
    """
    logged = tracking.logged_steps(f"loss{suffix}")

    def log(row: Mapping[str, float]) -> None:
        if row["epoch"] not in logged:
            tracking.log_metrics({f"{k}{suffix}": v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))

    return log


def _log_train() -> None:
    for path in (HISTORY, CURVES):
        tracking.log_files(path)
    _log_dataset()


def _log_evaluate() -> None:
    metrics = json.loads(METRICS.read_text())
    tracking.log_metrics({k: v for k, v in flatten(metrics).items() if isinstance(v, int | float)})
    if SPEED.exists():
        speed = json.loads(SPEED.read_text())
        tracking.log_metrics({f"speed.{key}": value for key, value in speed.items()})
    tracking.log_files(METRICS)
    tracking.log_files(EVALUATION)


def _log_dataset() -> None:
    log_dataset(dataset_facts())


def dataset_facts() -> dict[str, str]:
    """What a run says of the faces that it used."""
    about: dict[str, Any] = json.loads((FACES / "dataset.json").read_text())
    source = about["source"]
    digest = provenance.data_hash()
    return {
        "origin": source["origin"],
        "location": str(FACES.resolve()),
        "digest": source["sha256"] if digest == "unknown" else digest,
        "sha256": source["sha256"],
        "caption": caption(about),
    }


def log_dataset(facts: Mapping[str, str]) -> None:
    """Say of the active run which faces it used."""
    _describe(facts)
    tracking.log_dataset(facts["origin"], facts["location"], facts["digest"])


def _describe(facts: Mapping[str, str]) -> None:
    tracking.describe(f"Faces: {facts['caption']}")
    tracking.set_tag("data.sha256", facts["sha256"])


def log_predictions(table: pd.DataFrame) -> None:
    """What the active run answers to the validation images, where `evaluate` has it as well."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / predictions.FILE
        predictions.write(table, path)
        tracking.log_files(path, predictions.FOLDER)


def log_outputs(stage: str) -> None:
    """Fill the active run from the files that a stage wrote."""
    _OUTPUTS[stage]()


_OUTPUTS: dict[str, Callable[[], None]] = {
    "fetch": _log_fetch,
    "preprocess": _log_preprocess,
    "tune": _log_tune,
    "train": _log_train,
    "evaluate": _log_evaluate,
}
