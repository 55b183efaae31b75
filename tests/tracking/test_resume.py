"""Resumable work of a killed stage."""

from pathlib import Path

import pytest

from emotion.params.sections import Params
from emotion.runtime.errors import UserError
from emotion.tracking.resume import ResumableWork, resumable_work, stage_code
from emotion.tracking.stage_runs import relevant_params
from support.project import ROOT


def test_the_same_training_cannot_run_concurrently(tmp_path: Path) -> None:
    first, second = ResumableWork(tmp_path / "key"), ResumableWork(tmp_path / "key")
    with first.lock(), pytest.raises(UserError, match="already running in another process"):
        second.lock().__enter__()
    with second.lock():
        pass


def test_resumable_work_stores_its_run_and_parameters(tmp_path: Path) -> None:
    work, other = ResumableWork(tmp_path / "one"), ResumableWork(tmp_path / "two")
    assert work.run_id is None
    work.begin("a run", {"tune.seed": 1})
    other.begin("another run", {"tune.seed": 2})
    assert work.params == {"tune.seed": 1}
    assert str(work.run_id) == "a run"
    assert work.unfinished_siblings() == [other]
    other.finish()
    assert work.unfinished_siblings() == []
    (work.folder / "run.json").write_text("{damaged")
    assert work.run_id is None


def test_resumable_work_is_keyed_by_parameters_and_the_code_in_dvc_yaml(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (ROOT / "dvc.yaml", *(ROOT / file for file in stage_files())):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for name in ("images.npy", "index.csv"):
        (tmp_path / "data/faces").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/faces" / name).write_text("faces")
    monkeypatch.chdir(tmp_path)
    relevant = relevant_params("train", params)
    work = resumable_work("train", relevant)
    assert resumable_work("train", relevant) == work
    assert resumable_work("train", {**relevant, "train.seed": 7}) != work
    with (tmp_path / "src/emotion/training/trainer.py").open("a") as file:
        file.write("# changed")
    assert resumable_work("train", relevant) != work


def test_a_damaged_dvc_yaml_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ("stages: [", "version: 99", ""):
        Path("dvc.yaml").write_text(content)
        with pytest.raises(UserError, match=r"dvc.yaml is damaged: .*`git checkout dvc.yaml`"):
            stage_code("train")


def stage_files() -> list[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return stage_code("train")
