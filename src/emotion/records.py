"""What every stage puts on record: a run in MLflow, filled from the files it wrote.

Because a run is filled from files, it can be filled again where DVC restored the files and
MLflow has no such run: see `restoring`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from emotion import provenance, tracking
from emotion.faces import caption
from emotion.params import Params
from emotion.paths import (
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
    write_json,
)  # fmt: skip

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
UNUSED = {"tune": ("train.epochs", "train.budget_minutes", "train.views", "train.tensorboard")}


def parameters(stage: str, settings: Params) -> dict[str, Any]:
    """Every parameter that decides what the stage makes, as section.key: value."""
    dumped = settings.model_dump(by_alias=True)
    flat = _flatten({section: dumped[section] for section in SECTIONS[stage]})
    return {key: value for key, value in flat.items() if key not in UNUSED.get(stage, ())}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
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
    tracking.log_metrics({key: value for key, value in _flatten(counts).items() if value is not None})
    tracking.log_files(DATA_REPORT, "data")
    _describe()


def _log_tune() -> None:
    record = json.loads(HYPERPARAMETERS.read_text())
    if record["score"] is not None:
        tracking.log_metrics({"best_score": record["score"]})
    for path in (TRIALS, HYPERPARAMETERS):
        tracking.log_files(path)
    _log_dataset()


@contextmanager
def trial_run(name: str, search: Mapping[str, Any], parent: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A trial's run below its search.

    Args:
        name: of the trial.
        search: the record of `tune`.
        parent: the id of the search's run.
        values: the trial's hyperparameters, by their names under `train`.

    Yields:
        The id of the trial's run.
    """
    params = {key: value for key, value in search["params"].items() if key.startswith("train.")}
    params |= {f"train.{key}": value for key, value in values.items()}
    params["train.epochs"] = search["params"]["tune.epochs"]
    with tracking.run(name, {**search["tags"], "stage": "trial"}, params, parent=parent) as run_id:
        _log_dataset()
        yield run_id


def epoch_logger() -> Callable[[Mapping[str, float]], None]:
    """What logs an epoch's row to the active run, unless an earlier attempt did."""
    logged = tracking.logged_steps("loss")

    def log(row: Mapping[str, float]) -> None:
        if row["epoch"] not in logged:
            tracking.log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))

    return log


def _log_train() -> None:
    for path in (HISTORY, CURVES):
        tracking.log_files(path)
    _log_dataset()


def _log_evaluate() -> None:
    metrics = json.loads(METRICS.read_text())
    tracking.log_metrics({k: v for k, v in _flatten(metrics).items() if isinstance(v, int | float)})
    if SPEED.exists():
        speed = json.loads(SPEED.read_text())
        tracking.log_metrics({f"speed.{key}": value for key, value in speed.items()})
    tracking.log_files(METRICS)
    tracking.log_files(EVALUATION, "evaluation")


def _log_dataset() -> None:
    about = _describe()
    digest = provenance.data_hash()
    if digest == "unknown":
        digest = about["source"]["sha256"]
    tracking.log_dataset(about["source"]["origin"], str(FACES.resolve()), digest)


def _describe() -> dict[str, Any]:
    """Say of the active run which faces it is about; return dataset.json."""
    about: dict[str, Any] = json.loads((FACES / "dataset.json").read_text())
    tracking.describe(f"Faces: {caption(about)}")
    tracking.set_tag("data.sha256", about["source"]["sha256"])
    return about


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
