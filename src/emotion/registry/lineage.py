"""From a version back to where it came from."""

import json
from typing import Any

from emotion.registry import versions as registry
from emotion.runtime.errors import UserError
from emotion.tracking import runs as tracking

PATCH, LOCK = "source/train.patch", "source/dvc.lock"  # among the artifacts of the run of `train`


def trace(name: str, number: str) -> dict[str, dict[str, Any]]:
    """All that is on record of a version, by subject.

    Raises:
        UserError: where there is no such version, or its run was deleted.
    """
    version = registry.version(name, number)
    run = tracking.get(version.run_id)
    if run is None:
        raise UserError(
            f"the run {version.run_id} of version {number} is not in MLflow. `emotion restore` may bring it."
        )
    tags, parameters = {**run.tags, **version.tags}, json.loads(version.tags.get("parameters", "{}")) or run.params
    aliases = [alias for alias, holder in registry.aliases(name).items() if holder == number]
    libraries = json.loads(tags.get("libraries", "{}"))
    search = tracking.get(tags["tune.run_id"]) if "tune.run_id" in tags else None
    return {
        "version": {
            "name": name,
            "version": number,
            "aliases": ", ".join(aliases) or "none",
            "registered": registry.when(version.created),
            "registered by": tags.get("registered_by"),
            "SavedModel, SHA-256": tags.get("saved_model.sha256"),
        },
        "code": {
            "commit": tags.get("mlflow.source.git.commit"),
            "uncommitted changes": f"yes, in {PATCH} of the run" if tags.get("git.dirty") == "true" else "none",
            "DVC experiment": tags.get("dvc.experiment") or "none",
            "dvc.lock, SHA-256": tags.get("dvc.lock.sha256"),
        },
        "data": {
            "faces": tags.get("data"),
            "source": parameters.get("fetch.source"),
            "archive, SHA-256": tags.get("data.sha256"),
            "dataset, DVC's hash": tags.get("data.dvc_hash"),
        },
        "search": {
            "run": tags.get("tune.run_id"),
            "oracle": search.params.get("tune.oracle") if search else None,
            "trial": tags.get("tune.trial", "none: no search"),
            "trial's run": tags.get("tune.trial_run_id"),
            "trial's score": tags.get("tune.score"),
        },
        "training": {
            "run": run.id,
            "seed": parameters.get("train.seed"),
            "precision": tags.get("precision"),
            "temperature": tags.get("temperature"),
            "machine": tags.get("machine"),
            "libraries": ", ".join(f"{library} {number}" for library, number in libraries.items()),
        },
        "parameters": dict(sorted(parameters.items())),
        "metrics": {
            key: round(value, 4)
            for key, value in sorted(run.metrics.items())
            if key.startswith(("validation.", "test.", "test_unseen.", "speed."))
        },
        "decision": {key.removeprefix("gate."): value for key, value in tags.items() if key.startswith("gate.")},
        "reproduction": {"last": tags.get("reproduced", "never tried")},
    }
