"""What is read from dvc.yaml and dvc.lock."""

from pathlib import Path

from pydantic import BaseModel

from emotion.runtime.files import read_yaml


class Stage(BaseModel):
    """A stage in dvc.yaml."""

    deps: list[str] = []


class Pipeline(BaseModel):
    """The content of dvc.yaml."""

    stages: dict[str, Stage]


class LockedOutput(BaseModel):
    """An output of a stage in dvc.lock."""

    path: str
    md5: str


class LockedStage(BaseModel):
    """A stage in dvc.lock."""

    outs: list[LockedOutput] = []


class Lock(BaseModel):
    """The content of dvc.lock."""

    stages: dict[str, LockedStage]


def read_pipeline(project: Path) -> Pipeline:
    """Read dvc.yaml in a project.

    Raises:
        UserError: if it is missing or damaged.
    """
    return Pipeline.model_validate(read_yaml(project / "dvc.yaml", "Run `git checkout dvc.yaml`.", Pipeline))


def read_lock(project: Path) -> Lock:
    """Read dvc.lock in a project.

    Raises:
        UserError: if it is missing or damaged.
    """
    return Lock.model_validate(read_yaml(project / "dvc.lock", "Run `git checkout dvc.lock` or `dvc repro`.", Lock))
