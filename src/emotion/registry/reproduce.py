"""Train a version again, from its commit, patch and data, in a temporary worktree, and compare."""

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

import yaml

from emotion.registry import lineage
from emotion.registry import versions as registry
from emotion.registry.promotion.history import now, person
from emotion.runtime.errors import UserError
from emotion.runtime.paths import ARCHIVE, METRICS, SOURCE, project_root
from emotion.tracking import provenance
from emotion.tracking import runs as tracking
from emotion.tracking.stage_runs import flatten

EXACT = 1e-9  # difference of a metric up to which it is the same
MEASURED_HERE = ("speed.",)  # metrics of the machine, not of the model


@dataclass(frozen=True)
class Reproduction:
    """What came of it."""

    metrics: dict[str, tuple[float, float]]  # by name: on record, and again
    libraries: dict[str, tuple[str, str]]  # those whose versions differ: then, now
    data_from: str  # DVC's cache, a remote, or the source

    @property
    def largest(self) -> tuple[str, float]:
        """The metric that differs most, and by how much."""
        differences = {name: abs(again - then) for name, (then, again) in self.metrics.items()}
        name = max(differences, key=lambda key: differences[key])
        return name, differences[name]

    @property
    def is_the_same(self) -> bool:
        """Whether all metrics are those on record."""
        return self.largest[1] <= EXACT


def reproduce(name: str, number: str) -> Reproduction:
    """Run the stages from `preprocess` to `evaluate` again, and compare the metrics with those on record.

    The runs go to a store in the temporary folder; the version gets a tag that says what came of it.

    Raises:
        UserError: where the commit, the patch or the data cannot be had, or a stage fails.
    """
    version = registry.version(name, number)
    facts = lineage.trace(name, number)
    run = tracking.get(version.run_id)
    assert run is not None  # or `trace` had failed
    with worktree(str(facts["code"]["commit"])) as tree:
        _apply_patch(run, tree)
        lock = tracking.artifact(run.id, lineage.LOCK)
        if lock is None and version.tags.get(registry.LOCK, "unknown") != "unknown":
            raise UserError(
                f"run {run.id} has no {lineage.LOCK}, or it cannot be brought. Is the artifact store there?"
            )
        if lock is not None:
            shutil.copy(lock, tree / "dvc.lock")
        _share_the_cache(tree)
        stages = list(yaml.safe_load((tree / "dvc.yaml").read_text())["stages"])
        data_from = _bring_data(tree, stages[0], str(facts["data"]["archive, SHA-256"]))
        for stage in stages[1 : stages.index("evaluate") + 1]:
            print(f"{stage} ...", flush=True)
            _dvc(tree, "repro", "--force", "--single-item", "--no-commit", stage)
        again = flatten(json.loads((tree / METRICS).read_text()))
    recorded = {key: value for key, value in run.metrics.items() if not key.startswith(MEASURED_HERE)}
    both = {key: (recorded[key], float(again[key])) for key in sorted(recorded.keys() & again.keys())}
    if not both:
        raise UserError(f"the run {version.run_id} of version {number} has no metrics of `evaluate` to compare with.")
    then = json.loads(version.tags.get("libraries", "{}"))
    here = provenance.libraries()
    others = {key: (then[key], here[key]) for key in then if key in here and then[key] != here[key]}
    result = Reproduction(both, others, data_from)
    metric, difference = result.largest
    found = "the same metrics" if result.is_the_same else f"{metric} differs by {difference:.4f}, the others by less"
    registry.tag_version(name, number, {"reproduced": f"{now()} by {person()}: {found}"})
    return result


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary folder with a commit checked out.

    Raises:
        UserError: where the repository lacks the commit.
    """
    root = project_root()
    with tempfile.TemporaryDirectory(prefix="emotion-reproduce-") as scratch:
        tree = Path(scratch) / "tree"
        done = _run(["git", "worktree", "add", "--detach", str(tree), commit], root)
        if done.returncode:
            raise UserError(
                f"the commit {commit} is not in this repository: {_last_line(done)}. `git fetch --all` may bring it."
            )
        try:
            yield tree
        finally:
            _run(["git", "worktree", "remove", "--force", str(tree)], root)


def _apply_patch(run: tracking.Run, tree: Path) -> None:
    if run.tags.get("git.dirty") != "true":
        return
    patch = tracking.artifact(run.id, lineage.PATCH)
    if patch is None:
        raise UserError(f"run {run.id} has no {lineage.PATCH}, or its artifact store does not answer.")
    done = _run(["git", "apply", str(patch)], tree)
    if done.returncode:
        raise UserError(f"the patch of run {run.id} does not apply to its commit: {_last_line(done)}.")


def _share_the_cache(tree: Path) -> None:
    """The worktree has the project's DVC cache and its remotes, credentials included."""
    configuration = project_root() / ".dvc" / "config.local"
    if configuration.exists():
        shutil.copy(configuration, tree / ".dvc")
    done = _run(["dvc", "cache", "dir"], project_root())
    cache = (project_root() / done.stdout.strip()).resolve()
    _dvc(tree, "cache", "dir", "--local", str(cache))


def _bring_data(tree: Path, stage: str, sha256: str) -> str:
    """The archive by its hash in dvc.lock, or else from its source; says which."""
    for way, command in (("DVC's cache", "checkout"), ("a DVC remote", "pull")):
        if not _run(["dvc", command, stage], tree, _environment(tree)).returncode and (tree / ARCHIVE).exists():
            came = way
            break
    else:
        print(f"{stage} ...", flush=True)
        _dvc(tree, "repro", "--force", "--single-item", "--no-commit", stage)
        came = "its source"
    found = json.loads((tree / SOURCE).read_text())["sha256"]
    if found != sha256:
        raise UserError(f"{came} gave another archive: its SHA-256 is {found}, on record is {sha256}.")
    return came


def _environment(tree: Path) -> dict[str, str]:
    """A store of its own, and this Python's programs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return kept | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{tree / 'mlflow.db'}", "DVC_NO_ANALYTICS": "1"}


def _dvc(tree: Path, *arguments: str) -> None:
    done = _run(["dvc", *arguments], tree, _environment(tree))
    if done.returncode:
        raise UserError(f"`dvc {' '.join(arguments)}` failed in a copy of the version's commit: {_last_line(done)}")


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    environment = _environment(folder) if environment is None else environment
    return subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True)


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    ours = [line for line in lines if ": " in line and not line.startswith(("ERROR: failed to reproduce", "Traceback"))]
    return (ours or lines or ["no message"])[-1]
