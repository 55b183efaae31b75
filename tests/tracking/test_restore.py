"""`emotion restore`: runs lost in MLflow are logged again from files."""

import shutil
from pathlib import Path

from support.project import MODEL, Project


def test_an_empty_store_is_restored_from_the_files_once(copied_project: Project) -> None:
    copied_project.run("emotion", "restore")
    again = copied_project.run("emotion", "restore")
    assert "logged again" not in again.stdout
    found = copied_project.runs()
    of_stages = [run for run in found if "stage" in run.data.tags]
    assert [run.info.run_name for run in found if run not in of_stages] == [f"history of {MODEL}"]
    names = [run.info.run_name for run in of_stages if run.data.tags["stage"] != "trial"]
    assert names == ["fetch", "preprocess", "tune", "train"]
    for run in of_stages:
        assert run.data.tags["restored"] == "true"
        assert run.info.status == "FINISHED"
    train = copied_project.run_of("train")
    lost = copied_project.read_json("reports/runs/train.json")
    assert train.data.tags["restored_from"] == lost["run_id"] != train.info.run_id
    assert train.data.tags["mlflow.source.git.commit"] == lost["tags"]["mlflow.source.git.commit"]
    assert train.data.metrics["test.accuracy"] == copied_project.read_json("reports/metrics.json")["test"]["accuracy"]
    assert len(copied_project.client.get_metric_history(train.info.run_id, "val_loss")) == 3
    trials = copied_project.runs("tags.stage = 'trial'")
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {copied_project.run_of("tune").info.run_id}
    assert len(trials) == 2
    assert copied_project.client.get_model_version(MODEL, "1").run_id == train.info.run_id


def test_a_stage_restores_its_lost_run_first(copied_project: Project) -> None:
    copied_project.set_params(evaluate__calibration_bins=5)
    copied_project.run("dvc", "repro", "evaluate")
    train = copied_project.run_of("train")
    assert train.data.tags["restored"] == "true"
    assert train.data.tags["tune.run_id"] == copied_project.run_of("tune").info.run_id
    assert train.data.tags["evaluate.calibration_bins"] == "5"
    assert "test.accuracy" in train.data.metrics


def test_a_fresh_clone_is_restored_from_pulled_outputs(copied_project: Project, tmp_path: Path) -> None:
    copied_project.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    copied_project.commit()
    copied_project.run("dvc", "push")
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    copied_project.run("git", "clone", "--quiet", str(copied_project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull")
    clone.run("emotion", "restore")
    assert {run.info.run_name for run in clone.runs()} >= {"fetch", "preprocess", "tune", "train"}
    assert "Running stage" not in clone.run("dvc", "repro").stdout
