"""The code of runs, from their commits and recorded changes."""

from emotion.registry.comparison.compare import Comparison
from emotion.runtime.errors import UserError
from emotion.tracking.git import code_difference
from emotion.tracking.queries import RunInfo, read_artifact


def code_differences(comparison: Comparison) -> dict[str, str]:
    """How the code of each other run differs from that of the first, as diffs by label.

    Raises:
        UserError: if the code of a run is not available.
    """
    first, *others = [_code(run) for run in comparison.runs]
    return {label: code_difference(first, code) for label, code in zip(comparison.labels[1:], others, strict=True)}


def _code(run: RunInfo) -> tuple[str, str]:
    """The commit and the uncommitted changes of a run."""
    commit = run.tags.get("mlflow.source.git.commit", "unknown")
    if commit == "unknown":
        raise UserError(f"the run {run.name} recorded no commit, so its code is unknown.")
    if run.tags.get("git.dirty") != "true":
        return commit, ""
    stage = "tune" if run.tags.get("stage") == "trial" else run.tags.get("stage", "train")
    parent = run.tags.get("mlflow.parentRunId", run.id)
    patch = read_artifact(parent, f"source/{stage}.patch")
    if patch is None:
        raise UserError(f"the uncommitted changes of the run {run.name} are not in MLflow.")
    return commit, patch.decode(errors="surrogateescape")
