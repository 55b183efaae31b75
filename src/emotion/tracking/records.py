"""The record that each stage keeps of its MLflow run, in a separate file that no stage depends on.

If MLflow loses the run, it can be logged again from the record and the stage's outputs.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from emotion.params.objective import Objective
from emotion.params.space import Scalar
from emotion.runtime.errors import UserError
from emotion.runtime.files import write_json
from emotion.runtime.paths import RUN_RECORDS

RECORDED_STAGES = ("fetch", "preprocess", "tune", "train")  # `evaluate` and `register` add to the run of `train`


class TrialRecord(BaseModel):
    """A trial of a search."""

    model_config = ConfigDict(frozen=True)

    trial: str
    run_id: str
    score: float
    values: dict[str, Scalar]


class SearchRecord(BaseModel):
    """What a search found."""

    model_config = ConfigDict(frozen=True)

    objective: Objective
    best: TrialRecord | None = None  # None if nothing was searched
    runners_up: tuple[TrialRecord, ...] = ()


class RunRecord(BaseModel):
    """The MLflow run of a stage."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    tags: dict[str, str]
    params: dict[str, str]
    patch: str  # the uncommitted changes
    start: int | None = None  # when the run started and ended, in milliseconds since 1970
    end: int | None = None
    search: SearchRecord | None = None  # of `tune`


class Scores(BaseModel):
    """The content of reports/evaluation/scores.json; other subsets of the images have the keys of `test`."""

    data: str
    annotation: str = ""  # who labelled the images, if they also exist with other labels
    validation: dict[str, float]
    test: dict[str, float]
    test_answered: dict[str, float]
    test_fast: dict[str, float] | None = None  # missing in older files
    familiarity: dict[str, dict[str, float]]  # by kind of input
    test_per_class: dict[str, dict[str, float]]
    test_groups: dict[str, dict[str, dict[str, float]]]  # by attribute and group


class Registered(BaseModel):
    """The content of models/registered.json."""

    name: str
    version: str
    run_id: str
    saved_model_sha256: str


def record_path(stage: str) -> Path:
    """Where the record of a stage is kept."""
    return RUN_RECORDS / f"{stage}.json"


def write_record(stage: str, record: RunRecord) -> None:
    """Write the record of a stage atomically."""
    write_json(record_path(stage), record.model_dump(mode="json"))


def read_record(stage: str) -> RunRecord:
    """Read the record of a stage.

    Raises:
        UserError: if the record is missing or damaged.
    """
    path = record_path(stage)
    try:
        return RunRecord.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run `dvc repro {stage}` or `dvc pull`.") from None
    except (ValueError, ValidationError):
        raise UserError(f"{path} is damaged. Run `dvc checkout` or `dvc repro --force {stage}`.") from None
