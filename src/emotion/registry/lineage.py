"""Trace a version back to its code, data, search and training run."""

from typing import Any

from pydantic import Field

from emotion.params.validation import Section
from emotion.registry.promotion.reconcile import trusted_aliases
from emotion.registry.signing.envelope import SignatureError
from emotion.registry.signing.versions import UNSIGNED, verify_version
from emotion.registry.versions import LOCK_TAG, format_timestamp, get_version, parse_json_tag
from emotion.runtime.errors import UserError
from emotion.tracking.queries import RunInfo, get_run

PATCH, LOCK = "source/train.patch", "source/dvc.lock"  # artifacts of the run of `train`


class VersionLineage(Section):
    """The version."""

    name: str
    number: str = Field(title="version")
    aliases: tuple[str, ...]
    registered: str
    registered_by: str | None = Field(title="registered by")
    signed: str
    saved_model_sha256: str | None = Field(title="SavedModel, SHA-256")


class CodeLineage(Section):
    """The code that trained it."""

    commit: str | None
    is_dirty: bool = Field(title="uncommitted changes")
    dvc_experiment: str | None = Field(title="DVC experiment")
    dvc_lock_sha256: str | None = Field(title="dvc.lock, SHA-256")


class DataLineage(Section):
    """The data that it was trained on."""

    description: str | None
    source: str | None
    archive_sha256: str | None = Field(title="archive, SHA-256")
    dvc_hash: str | None = Field(title="dataset, DVC's hash")


class SearchLineage(Section):
    """The search that its hyperparameters come from."""

    run_id: str | None = Field(title="run")
    oracle: str | None
    trial: str | None
    trial_run_id: str | None = Field(title="run of the trial")
    trial_score: str | None = Field(title="score of the trial")


class TrainingLineage(Section):
    """The training run."""

    run_id: str = Field(title="run")
    seed: str | None
    precision: str | None
    temperature: str | None
    machine: str | None
    libraries: dict[str, str]


class Lineage(Section):
    """The lineage of a version."""

    version: VersionLineage
    code: CodeLineage
    data: DataLineage
    search: SearchLineage
    training: TrainingLineage
    parameters: dict[str, Any]
    metrics: dict[str, float]
    decision: dict[str, str]  # the gate's latest decision about each alias
    reproduction: str | None  # the latest result of `emotion reproduce`


def trace_version(name: str, number: str) -> Lineage:
    """Collect the lineage of a version from the registry and from MLflow runs.

    Raises:
        UserError: if there is no such version, or its run was deleted.
    """
    version = get_version(name, number)
    run = run_of_version(number, version.run_id)
    statement, signed = None, UNSIGNED
    try:
        if verified := verify_version(name, version):
            statement, signed = verified[0], f"by {verified[1]}"
    except SignatureError as error:
        signed = f"NO: {error}"
    tags = {**run.tags, **version.tags}
    parameters = statement.facts.parameters if statement else run.params
    metrics = statement.metrics if statement else run.metrics
    search = get_run(tags["tune.run_id"]) if "tune.run_id" in tags else None
    return Lineage(
        version=VersionLineage(
            name=name,
            number=number,
            aliases=tuple(alias for alias, holder in trusted_aliases(name).items() if holder == number),
            registered=format_timestamp(version.created),
            registered_by=tags.get("registered_by"),
            signed=signed,
            saved_model_sha256=tags.get("saved_model.sha256"),
        ),
        code=CodeLineage(
            commit=version.tags.get("git.commit") or tags.get("mlflow.source.git.commit"),
            is_dirty=tags.get("git.dirty") == "true",
            dvc_experiment=tags.get("dvc.experiment"),
            dvc_lock_sha256=tags.get(LOCK_TAG),
        ),
        data=DataLineage(
            description=tags.get("data"),
            source=parameters.get("fetch.source"),
            archive_sha256=tags.get("data.sha256"),
            dvc_hash=tags.get("data.dvc_hash"),
        ),
        search=SearchLineage(
            run_id=tags.get("tune.run_id"),
            oracle=search.params.get("tune.oracle") if search else None,
            trial=tags.get("tune.trial"),
            trial_run_id=tags.get("tune.trial_run_id"),
            trial_score=tags.get("tune.score"),
        ),
        training=TrainingLineage(
            run_id=run.id,
            seed=parameters.get("train.seed"),
            precision=tags.get("precision"),
            temperature=tags.get("temperature"),
            machine=tags.get("machine"),
            libraries=parse_json_tag(tags, "libraries"),
        ),
        parameters=dict(sorted(parameters.items())),
        metrics={
            key: round(value, 4)
            for key, value in sorted(metrics.items())
            if key.startswith(("validation/", "test/", "test_unseen/", "speed/"))
        },
        decision={key.removeprefix("gate."): value for key, value in version.tags.items() if key.startswith("gate.")},
        reproduction=tags.get("reproduced"),
    )


def run_of_version(number: str, run_id: str) -> RunInfo:
    """The run that a version was trained in.

    Raises:
        UserError: if it was deleted.
    """
    run = get_run(run_id)
    if run is None:
        raise UserError(f"the run {run_id} of version {number} is not in MLflow. Log it again with `emotion restore`.")
    return run
