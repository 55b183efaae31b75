"""The MLflow run of a stage, logged from the files that the stage wrote.

Because a run is logged from files, it can be logged again if MLflow loses it and DVC restores the
files: see `emotion.tracking.restore`.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from emotion.data.dataset import DatasetMetadata, SourceMetadata, Split, caption
from emotion.data.sources.download import is_url, url_shown
from emotion.evaluation import predictions
from emotion.params.sections import Params
from emotion.runtime.files import read_json
from emotion.runtime.paths import (
    DATA_REPORT,
    DATASET,
    EVALUATION,
    HISTORY,
    HYPERPARAMETERS,
    NETWORK,
    SCORES,
    SEARCH_FIGURES,
    SOURCE,
    SPEED,
    TRAINING_CURVES,
    TRIALS,
)
from emotion.tracking import provenance
from emotion.tracking.git import uncommitted_patch
from emotion.tracking.metric_names import epoch_metrics, evaluation_metrics
from emotion.tracking.operations import current_milliseconds
from emotion.tracking.queries import close_abandoned_runs
from emotion.tracking.records import RunRecord, Scores, SearchRecord, read_record, write_record
from emotion.tracking.report_figures import draw_report_figures
from emotion.tracking.run import Run
from emotion.tracking.run_names import PURPOSES, stage_run_name
from emotion.tracking.runs import fail_open_runs, start_run

VALIDATION_FOLDER = "evaluation/validation"  # among a run's artifacts: predictions for validation images
# The sections of params.yaml that determine the outputs of a stage.
SECTIONS = {
    "fetch": ("fetch",),
    "preprocess": ("fetch", "preprocess"),
    "tune": ("fetch", "preprocess", "tune", "train"),
    "train": ("fetch", "preprocess", "tune", "train"),
    "evaluate": ("evaluate",),
    "register": ("register",),
}
# Parameters in these sections that do not affect the stage.
IRRELEVANT_PARAMS = {
    "tune": ("train.epochs", "train.budget_minutes", "train.tta", "train.tensorboard"),
    "register": ("register.gate",),
}


def relevant_params(stage: str, params: Params) -> dict[str, Any]:
    """All parameters that determine the outputs of a stage, as section.key: value."""
    content = params.model_dump(mode="json", by_alias=True)
    if isinstance(content["fetch"]["labels"], dict):  # of any characters, which MLflow does not accept as names
        content["fetch"]["labels"] = json.dumps(content["fetch"]["labels"], ensure_ascii=False, sort_keys=True)
    if is_url(content["fetch"]["path"]):
        content["fetch"]["path"] = url_shown(content["fetch"]["path"])
    flat = flatten({section: content[section] for section in SECTIONS[stage]})
    irrelevant = tuple(f"{name}." for name in IRRELEVANT_PARAMS.get(stage, ()))
    return {key: value for key, value in flat.items() if not f"{key}.".startswith(irrelevant)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@dataclass
class StageRun:
    """The run of a stage that is being executed."""

    run: Run
    tags: dict[str, str]
    params: dict[str, Any]
    search: SearchRecord | None = None  # set by `tune`

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run and of its record."""
        self.tags |= tags
        self.run.set_tags(tags)


@contextmanager
def stage_run(
    stage: str,
    params: Params,
    exit_callbacks: ExitStack,
    tags: Mapping[str, str] | None = None,
    unfinished: str | None = None,
) -> Iterator[StageRun]:
    """Execute a stage in an MLflow run, then write its record and log its outputs.

    Args:
        stage: the name of the stage.
        params: all parameters, with the values that the stage uses.
        exit_callbacks: callbacks that run whenever and however the process ends.
        tags: additional tags, such as the ids of the runs that this run builds on.
        unfinished: the id of the run to continue, from an earlier attempt.
    """
    exit_callbacks.callback(fail_open_runs)
    close_abandoned_runs()
    patch, started = uncommitted_patch(), current_milliseconds()
    all_tags = provenance.run_tags(stage, patch) | dict(tags or {})
    relevant = relevant_params(stage, params)
    name = run_name(stage, all_tags, relevant)
    with start_run(name, all_tags, relevant, unfinished, PURPOSES.get(stage, "training")) as run:
        log_patch(run, stage, patch)
        run_of_stage = StageRun(run, all_tags, relevant)
        yield run_of_stage
        values = {key: str(value) for key, value in relevant.items()}
        write_record(stage, RunRecord(
            run_id=run.id, tags=run_of_stage.tags, params=values, patch=patch, search=run_of_stage.search,
            start=started, end=current_milliseconds(),
        ))  # fmt: skip
        draw_report_figures(stage, params)
        log_outputs(run, stage)


def log_patch(run: Run, stage: str, patch: str) -> None:
    """Log the uncommitted changes as an artifact."""
    if patch:
        run.log_text(patch, f"source/{stage}.patch")


def log_outputs(run: Run, stage: str) -> None:
    """Log the files that a stage wrote, and the metrics in them."""
    match stage:
        case "fetch":
            source = read_json(SOURCE, "Run `dvc repro --force fetch`.", SourceMetadata)
            run.log_metrics({key: source[key] for key in ("images", "other_files", "bytes")})
            run.log_files(SOURCE)
            run.set_tags({"data.sha256": source["sha256"]})
            run.rename(f"fetch {_data(stage)}")
        case "preprocess":
            counts = read_json(DATA_REPORT / "counts.json", "Run `dvc repro --force preprocess`.")
            figures = {key.replace(".", "/"): value for key, value in flatten(counts).items() if value is not None}
            run.log_metrics(figures)
            run.log_files(DATA_REPORT, "data")
            _describe_dataset(run, dataset_info())
        case "tune":
            record = read_record("tune")
            if record.search and (best := record.search.best):
                run.log_metrics({"best_score": best.score})
                run.set_tags({"best_trial": best.trial, "best_trial_run_id": best.run_id})
                score = f"{record.search.objective} {best.score:.3f}"
                run.rename(run_name("tune", record.tags, record.params, score))
            for path in (TRIALS, HYPERPARAMETERS, SEARCH_FIGURES):
                run.log_files(path)
            log_dataset(run, dataset_info())
        case "train":
            for path in (HISTORY, TRAINING_CURVES, NETWORK):
                run.log_files(path)
            log_dataset(run, dataset_info())
        case "evaluate":
            record = read_record("train")
            scores = read_json(SCORES, "Run `dvc repro --force evaluate`.", Scores)
            run.log_metrics(evaluation_metrics(scores))
            if SPEED.exists():
                speed = read_json(SPEED, "Run `dvc repro --force evaluate`.", dict[str, float])
                run.log_metrics({f"speed/{key}": value for key, value in speed.items()})
            run.log_files(EVALUATION)
            run.rename(run_name("train", record.tags, record.params, f"{scores['test']['accuracy']:.1%}"))


def run_name(stage: str, tags: Mapping[str, str], params: Mapping[str, object], score: str = "") -> str:
    """The name of a stage's run, see `stage_run_name`; the data is that of the outputs in this folder."""
    return stage_run_name(stage, tags, params, "" if stage == "fetch" else _data(stage), score)


def _data(stage: str) -> str:
    """Where the faces come from, in a few words."""
    if stage in ("fetch", "preprocess"):
        source = read_json(SOURCE, "Run `dvc repro --force fetch`.", SourceMetadata)
    else:
        source = read_json(DATASET / "dataset.json", "Run `dvc repro --force preprocess`.", DatasetMetadata)["source"]
    return "drawn faces" if source["source"] == "synthetic" else str(source["origin"])


def epoch_logger(run: Run, suffix: str = "") -> Callable[[dict[str, float]], None]:
    """A callback that logs an epoch's metrics, unless an earlier attempt already did.

    Args:
        run: the run to log to.
        suffix: appended to the names of the metrics.
    """
    logged = run.logged_steps(f"train/loss{suffix}")

    def log(row: dict[str, float]) -> None:
        if row["epoch"] not in logged:
            run.log_metrics(epoch_metrics(row, suffix), step=int(row["epoch"]))

    return log


class DatasetInfo(BaseModel):
    """The description of the dataset that a run used."""

    model_config = ConfigDict(frozen=True)

    origin: str
    location: str
    digest: str  # DVC's hash of data/faces, or the archive's SHA-256
    sha256: str  # of the archive
    caption: str


def dataset_info() -> DatasetInfo:
    """The description of data/faces."""
    metadata = read_json(DATASET / "dataset.json", "Run `dvc repro --force preprocess`.", DatasetMetadata)
    source, digest = metadata["source"], provenance.data_hash()
    return DatasetInfo(
        origin=source["origin"],
        location=str(DATASET.resolve()),
        digest=source["sha256"] if digest == "unknown" else digest,
        sha256=source["sha256"],
        caption=caption(metadata),
    )


def log_dataset(run: Run, dataset: DatasetInfo) -> None:
    """Log which data a run used."""
    _describe_dataset(run, dataset)
    run.log_dataset(dataset.origin, dataset.location, dataset.digest)


def _describe_dataset(run: Run, dataset: DatasetInfo) -> None:
    run.set_description(f"Faces: {dataset.caption}")
    run.set_tags({"data.sha256": dataset.sha256})


def log_val_predictions(run: Run, validation: Split, probabilities: NDArray[np.float32]) -> None:
    """Log predictions for the validation images, to the same path as `evaluate`.

    Args:
        run: the run to log to.
        validation: the n validation images.
        probabilities: (n, classes).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / predictions.FILE_NAME
        predictions.write(predictions.predictions_table(validation.index, probabilities, validation.emotions), path)
        run.log_files(path, VALIDATION_FOLDER)
