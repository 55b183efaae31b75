"""Train a version again, from its commit, patch and data, in a temporary worktree, and compare the metrics."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emotion.data.dataset import SourceMetadata
from emotion.registry import lineage
from emotion.registry.promotion.history import current_time, current_user
from emotion.registry.signing.versions import verify_version
from emotion.registry.versions import LOCK_TAG, get_version, tag_version
from emotion.runtime.errors import UserError
from emotion.runtime.files import bytes_digest, read_json
from emotion.runtime.paths import ARCHIVE, EVALUATION, METRICS, SCORES, SOURCE, project_root
from emotion.tracking import provenance
from emotion.tracking.dvc_files import read_pipeline
from emotion.tracking.queries import RunInfo, read_artifact
from emotion.tracking.stage_runs import flatten

TOLERANCE = 1e-9  # metrics that differ by at most this much count as equal


@dataclass(frozen=True)
class Reproduction:
    """The result of training a version again."""

    metrics: dict[str, tuple[float, float]]  # by name: recorded, reproduced
    libraries: dict[str, tuple[str, str]]  # those whose versions differ: recorded, installed
    data_from: str  # DVC's cache, a DVC remote, or the source

    @property
    def max_difference(self) -> tuple[str, float]:
        """The metric that differs most, and by how much."""
        differences = {name: abs(reproduced - recorded) for name, (recorded, reproduced) in self.metrics.items()}
        name = max(differences, key=lambda key: differences[key])
        return name, differences[name]

    @property
    def is_equal(self) -> bool:
        """Whether all metrics are equal."""
        return self.max_difference[1] <= TOLERANCE


def reproduce(name: str, number: str) -> Reproduction:
    """Run the stages from `preprocess` to `evaluate` again, and compare the metrics with the recorded ones.

    The runs go to a store in the temporary folder; a tag of the version records the result.

    Raises:
        UserError: if the commit, the patch or the data are not available, or a stage fails.
    """
    version = get_version(name, number)
    recorded = lineage.trace_version(name, number)
    run = lineage.run_of_version(number, version.run_id)
    commit, archive = recorded.code.commit, recorded.data.archive_sha256
    if commit is None or archive is None:
        raise UserError(f"version {number} of {name} has no recorded commit or data. Choose another version.")
    before = recorded_scores(run, number)
    with worktree(commit) as tree:
        signed = verify_version(name, version)
        _apply_patch(run, tree, signed[0].source("train.patch") if signed else None)
        lock = read_artifact(run.id, lineage.LOCK)
        if signed and lock is not None and bytes_digest(lock) != signed[0].source("dvc.lock"):
            raise UserError(f"{lineage.LOCK} of run {run.id} was changed after version {number} was signed.")
        if lock is None and version.tags.get(LOCK_TAG, "unknown") != "unknown":
            raise UserError(f"{lineage.LOCK} of run {run.id} cannot be downloaded. Check the artifact store.")
        if lock is not None:
            (tree / "dvc.lock").write_bytes(lock)
        share_dvc_cache(tree)
        stages = list(read_pipeline(tree).stages)
        data_from = restore_data(tree, stages[0], archive)
        for stage in stages[1 : stages.index("evaluate") + 1]:
            print(f"{stage} ...", file=sys.stderr, flush=True)
            _dvc(tree, "repro", "--force", "--single-item", "--no-commit", stage)
        after = _scores((tree / SCORES).read_bytes() if (tree / SCORES).exists() else (tree / METRICS).read_bytes())
    both = {key: (before[key], after[key]) for key in sorted(before.keys() & after.keys())}
    installed = provenance.libraries()
    libraries = {
        key: (value, installed[key])
        for key, value in recorded.training.libraries.items()
        if key in installed and value != installed[key]
    }
    result = Reproduction(both, libraries, data_from)
    metric, difference = result.max_difference
    summary = "equal metrics" if result.is_equal else f"{metric} differs by {difference:.3g}, all others by less"
    tag_version(name, number, {"reproduced": f"{current_time()} by {current_user()}: {summary}"})
    return result


def recorded_scores(run: RunInfo, number: str) -> dict[str, float]:
    """The scores that a version's run recorded, by dotted name.

    Raises:
        UserError: if it has none.
    """
    path = f"{EVALUATION.name}/{SCORES.name}"
    content = read_artifact(run.id, path) or read_artifact(run.id, METRICS.name)  # of earlier releases
    if content is None:
        raise UserError(
            f"the run {run.id} of version {number} has no scores of `evaluate` to compare with. If its logs are still"
            " queued, run `emotion sync`."
        )
    return _scores(content)


def _scores(content: bytes) -> dict[str, float]:
    return {key: float(value) for key, value in flatten(json.loads(content)).items() if isinstance(value, int | float)}


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary folder with a commit checked out.

    Raises:
        UserError: if the repository lacks the commit.
    """
    root = project_root()
    with tempfile.TemporaryDirectory(prefix="emotion-reproduce-") as scratch:
        tree = Path(scratch) / "tree"
        done = _run(["git", "worktree", "add", "--detach", str(tree), commit], root)
        if done.returncode:
            raise UserError(
                f"the commit {commit} is not in this repository: {_error_line(done)}. Try `git fetch --all`."
            )
        try:
            yield tree
        finally:
            _run(["git", "worktree", "remove", "--force", str(tree)], root)


def _apply_patch(run: RunInfo, tree: Path, signed: str | None) -> None:
    """Apply the uncommitted changes, whose SHA-256 must be `signed`, if it is not None."""
    if run.tags.get("git.dirty") != "true" and not signed:
        return
    patch = read_artifact(run.id, lineage.PATCH)
    if patch is not None and signed is not None and bytes_digest(patch) != signed:
        raise UserError(f"{lineage.PATCH} of run {run.id} was changed after the version was signed.")
    if patch is None:
        raise UserError(f"{lineage.PATCH} of run {run.id} cannot be downloaded. Check the artifact store.")
    file = tree.with_name("uncommitted.patch")
    file.write_bytes(patch)
    done = _run(["git", "apply", str(file)], tree)
    if done.returncode:
        raise UserError(
            f"the patch of run {run.id} does not apply to its commit, so the version cannot be reproduced:"
            f" {_error_line(done)}."
        )


def share_dvc_cache(tree: Path) -> None:
    """Let a worktree use the project's DVC cache and remotes, including credentials."""
    configuration = project_root() / ".dvc" / "config.local"
    if configuration.exists():
        shutil.copy(configuration, tree / ".dvc")
    done = _run(["dvc", "cache", "dir"], project_root())
    cache = (project_root() / done.stdout.strip()).resolve()
    _dvc(tree, "cache", "dir", "--local", str(cache))


def restore_data(tree: Path, stage: str, sha256: str) -> str:
    """Fetch the archive by its hash in dvc.lock, or from its source; return where it came from.

    Raises:
        UserError: if the archive is not available, or has a different digest.
    """
    origin = _fetch_data(tree, stage)
    found = read_json(tree / SOURCE, "Run `dvc repro --force fetch`.", SourceMetadata)["sha256"]
    if found != sha256:
        raise UserError(
            f"{origin} has a different archive: its SHA-256 is {found}, but {sha256} was recorded."
            " Provide the recorded archive there, or in a DVC remote."
        )
    return origin


def _fetch_data(tree: Path, stage: str) -> str:
    for origin, command in (("DVC's cache", "checkout"), ("a DVC remote", "pull")):
        done = _run(["dvc", command, stage], tree, _environment(tree))
        if not done.returncode and (tree / ARCHIVE).exists():
            return origin
    print(f"{stage} ...", file=sys.stderr, flush=True)
    _dvc(tree, "repro", "--force", "--single-item", "--no-commit", stage)
    return "the original source"


def _environment(tree: Path) -> dict[str, str]:
    """An environment with a tracking store in the worktree and this Python's programs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return kept | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{tree / 'mlflow.db'}", "DVC_NO_ANALYTICS": "1"}


def _dvc(tree: Path, *arguments: str) -> None:
    done = _run(["dvc", *arguments], tree, _environment(tree))
    if done.returncode:
        raise UserError(f"`dvc {' '.join(arguments)}` failed in a copy of the version's commit: {_error_line(done)}")


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    environment = _environment(folder) if environment is None else environment
    return subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True)


def _error_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    ours = [line for line in lines if ": " in line and not line.startswith(("ERROR: failed to reproduce", "Traceback"))]
    return (ours or lines or ["no message"])[-1]
