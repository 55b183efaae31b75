"""Delete old trials, runs and versions with their files; nothing that a champion or the history leads to."""

import re
import sys
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow.entities import FileInfo
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from emotion.params.objective import Objective
from emotion.registry.promotion.ledger import read_entries
from emotion.registry.promotion.reconcile import trusted_aliases
from emotion.registry.versions import Version, find_aliases, get_aliases, list_versions
from emotion.runtime.files import folder_size, read_json
from emotion.runtime.paths import REGISTERED
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG, resolve_run_id
from emotion.tracking.metric_names import FERPLUS_ACCURACY, TEST_ACCURACY
from emotion.tracking.queries import RunInfo, search_runs
from emotion.tracking.records import RECORDED_STAGES, Registered, read_record, record_path
from emotion.tracking.runs import PARENT_TAG

Kind = Literal["trial", "run", "version"]
DAY = 24 * 3600
LINKS = ("tune.run_id", "tune.trial_run_id")  # tags of a run: the search and the trial that it leads to
MODEL_URI = "models:/m-[^/]+"


@dataclass(frozen=True)
class Item:
    """Something that can be deleted."""

    kind: Kind
    id: str  # of a run, or the number of a version
    name: str
    created: int  # milliseconds since 1970
    score: float | None
    locations: tuple[str, ...]  # URIs of its files
    models: tuple[str, ...] = ()  # ids of its logged models
    size: int = field(default=0, compare=False)  # bytes


def find_old(name: str, older_than_days: float, keep_best: int) -> list[Item]:
    """What can be deleted: old, not among the best of its kind, and nothing that is kept leads to it.

    Kept are: versions with an alias, those that the history names, and the one that the pipeline registered last; the
    runs of these and of the pipeline's current outputs; the searches and trials that these runs lead to; and runs that
    have not ended. Trials are ranked within their search; trainings and versions by test accuracy.

    Args:
        name: the name of the registered model.
        older_than_days: the least age.
        keep_best: how many of each kind to keep, however old they are.
    """
    versions = list_versions(name) if find_aliases(name) is not None else {}
    kept_versions = _kept_versions(name, versions, keep_best)
    runs = {run.id: run for run in search_runs()}
    before = 1000 * (time.time() - older_than_days * DAY)
    old_versions = [
        version for number, version in versions.items() if number not in kept_versions and version.created < before
    ]
    kept_runs = _runs_of_versions(name, {version.number for version in old_versions}) | _current_runs()
    trainings = [run for run in runs.values() if run.tags.get("stage") == "train"]
    for metric in (TEST_ACCURACY, FERPLUS_ACCURACY):
        kept_runs |= {run.id for run in _best(trainings, keep_best, metric)}
    kept_runs |= {run.id for run in runs.values() if run.tags.get(RESTORED_FROM_TAG) in kept_runs}
    linked = {runs[run_id].tags.get(key, "") for run_id in kept_runs & runs.keys() for key in LINKS}
    kept_runs |= linked | {run.id for run in runs.values() if run.tags.get(RESTORED_FROM_TAG, " ") in linked}
    unended = {run.id for run in runs.values() if run.status == "RUNNING"}
    deletable = {
        run.id for run in runs.values()
        if run.start < before and run.id not in kept_runs and not {run.id, run.tags.get(PARENT_TAG)} & unended
        and (run.tags.get("stage") in ("train", "tune") or PARENT_TAG in run.tags)
    }  # fmt: skip
    for search in [run for run in runs.values() if run.tags.get("stage") == "tune"]:
        trials = [run for run in runs.values() if run.tags.get(PARENT_TAG) == search.id]
        is_loss = search.params.get("tune.objective") == Objective.VAL_LOSS
        best = {run.id for run in _best(trials, keep_best, "score", -1 if is_loss else 1)}
        if search.id not in deletable or any(trial.id not in deletable for trial in trials):
            deletable -= {search.id, *best}  # a search that is kept keeps its best trials
    shared = _models_of_versions(name, {version.number for version in old_versions})
    found = [_version_item(version, shared) for version in old_versions]
    found += [_run_item(run) for run in runs.values() if run.id in deletable]
    return [_with_size(item) for item in found]


def _versions_of_all_models(name: str, without: set[str]) -> list[ModelVersion]:
    """The versions of all registered models, without some of one of them."""
    with connection().translate_errors():
        found = list(connection().client.search_model_versions())
    return [version for version in found if version.name != name or str(version.version) not in without]


def _runs_of_versions(name: str, without: set[str]) -> set[str]:
    return {version.run_id for version in _versions_of_all_models(name, without) if version.run_id}


def _models_of_versions(name: str, without: set[str]) -> set[str]:
    return {str(version.source) for version in _versions_of_all_models(name, without)}


def _kept_versions(name: str, versions: dict[str, Version], keep_best: int) -> set[str]:
    if not versions:
        return set()
    entries = read_entries(name)
    kept = {number for entry in entries for number in (entry.version, entry.before, entry.challenger) if number}
    kept |= {*get_aliases(name).values(), *trusted_aliases(name).values()}
    if REGISTERED.exists():
        kept.add(str(read_json(REGISTERED, "Run `dvc repro`.", Registered)["version"]))
    ranked = sorted(versions.values(), key=lambda version: -_number(version.test_accuracy))
    return kept | {version.number for version in ranked[:keep_best]}


def _current_runs() -> set[str]:
    """The runs of the pipeline's current outputs."""
    recorded = [read_record(stage).run_id for stage in RECORDED_STAGES if record_path(stage).exists()]
    return {known for run_id in recorded if (known := resolve_run_id(run_id))}


def _best(runs: Iterable[RunInfo], count: int, metric: str, sign: int = 1) -> list[RunInfo]:
    measured = [run for run in runs if metric in run.metrics]
    return sorted(measured, key=lambda run: -sign * run.metrics[metric])[:count]


def _number(text: str | None) -> float:
    try:
        return float(text or "-inf")
    except ValueError:
        return float("-inf")


def _version_item(version: Version, shared: Set[str]) -> Item:
    """A version with its logged model, unless another version needs that; other files are left where they are."""
    models: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    if re.fullmatch(MODEL_URI, version.source) and version.source not in shared:
        model = version.source.removeprefix("models:/")
        with connection().translate_errors():
            try:
                location = str(connection().client.get_logged_model(model).artifact_location)
                models, locations = (model,), (location,)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    score = _number(version.test_accuracy)
    title = f"version {version.number}"
    return Item("version", version.number, title, version.created, score if score >= 0 else None, locations, models)


def _run_item(run: RunInfo) -> Item:
    kind: Kind = "trial" if PARENT_TAG in run.tags else "run"
    with connection().translate_errors():
        location = str(connection().client.get_run(run.id).info.artifact_uri)
    score = run.metrics.get("score" if kind == "trial" else TEST_ACCURACY, run.metrics.get(FERPLUS_ACCURACY))
    return Item(kind, run.id, run.name, run.start, score, (location,))


def _with_size(item: Item) -> Item:
    size = sum(_size(location) for location in item.locations)
    return Item(item.kind, item.id, item.name, item.created, item.score, item.locations, item.models, size)


def _size(location: str) -> int:
    """The bytes of all files at a URI; 0 if they cannot be listed."""
    local = _local_path(location)
    if local is not None:
        return folder_size(local) if local.exists() else 0
    try:
        repository = get_artifact_repository(location)
        return sum(file.file_size or 0 for file in _list(repository, None))
    except (MlflowException, OSError):
        return 0


def _local_path(location: str) -> Path | None:
    parsed = urlparse(location)
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return Path(location) if not parsed.scheme else None


def _list(repository: ArtifactRepository, path: str | None) -> Iterable[FileInfo]:
    for file in repository.list_artifacts(path):
        if file.is_dir:
            yield from _list(repository, file.path)
        else:
            yield file


def delete(name: str, items: Sequence[Item]) -> None:
    """Delete items and their files. MLflow keeps the entries, marked as deleted, until somebody runs `mlflow gc`.

    Versions go first, so that no version names a run that is gone.

    Args:
        name: the name of the registered model.
        items: from `find_old`.

    Raises:
        UserError: if MLflow fails; what was deleted so far is deleted.
    """
    client = connection().client
    for item in sorted(items, key=lambda item: item.kind != "version"):
        if item.kind == "version" and item.id in _kept_versions(name, list_versions(name), keep_best=0):
            print(f"Version {item.id} was promoted in the meantime, and is kept.", file=sys.stderr, flush=True)
            continue
        with connection().translate_errors("cannot delete", count_time=False):
            if item.kind == "version":
                client.delete_model_version(name, item.id)
            for model in item.models:
                client.delete_logged_model(model)
            if item.kind != "version":
                client.delete_run(item.id)
        for location in item.locations:
            _delete_files(location)


def _delete_files(location: str) -> None:
    local, root = _local_path(location), connection().artifact_location
    if local is not None and not (root and local.resolve().is_relative_to(Path(root).resolve())):
        print(f"The files at {location} are outside {root or 'the server'}, and are kept.", file=sys.stderr, flush=True)
        return
    try:
        get_artifact_repository(location).delete_artifacts()
    except (MlflowException, NotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        print(f"The files at {location} could not be deleted: {reason}", file=sys.stderr, flush=True)
