"""`emotion restore`: runs lost in MLflow are logged again from files."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow import MlflowClient

from support.project import MODEL, Project, kind_of
from support.servers import Server


def test_an_empty_store_is_restored_from_the_files_once(copied_project: Project) -> None:
    copied_project.run("emotion", "restore")
    again = copied_project.run("emotion", "restore")
    assert "logged again" not in again.stdout
    found = copied_project.runs()
    of_stages = [run for run in found if "stage" in run.data.tags]
    assert [run.info.run_name for run in found if run not in of_stages] == [f"history of {MODEL}"]
    names = [kind_of(run) for run in of_stages if run.data.tags["stage"] != "trial"]
    assert names == ["fetch", "preprocess", "tune", "train"]
    for run in of_stages:
        assert run.data.tags["restored"] == "true"
        assert run.info.status == "FINISHED"
    train = copied_project.run_of("train")
    lost = copied_project.read_json("reports/runs/train.json")
    assert train.data.tags["restored_from"] == lost["run_id"] != train.info.run_id
    assert train.data.tags["mlflow.source.git.commit"] == lost["tags"]["mlflow.source.git.commit"]
    for stage in ("fetch", "preprocess", "tune", "train"):
        record, info = copied_project.read_json(f"reports/runs/{stage}.json"), copied_project.run_of(stage).info
        assert (info.start_time, info.end_time) == (record["start"], record["end"]), stage
    trials = copied_project.runs("tags.stage = 'trial'")
    assert [kind_of(run) for run in trials] == ["trial-000", "trial-001"], "in their order"
    assert all(run.info.end_time <= copied_project.run_of("tune").info.end_time for run in trials)
    assert train.data.metrics["test/accuracy"] == copied_project.read_json("reports/metrics.json")["test"]["accuracy"]
    assert len(copied_project.client.get_metric_history(train.info.run_id, "train/val_loss")) == 3
    trials = copied_project.runs("tags.stage = 'trial'")
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {copied_project.run_of("tune").info.run_id}
    assert len(trials) == 2
    assert copied_project.client.get_model_version(MODEL, "1").run_id == train.info.run_id


def restore_all(*projects: Project, uri: str) -> None:
    """Run `emotion restore` in all projects at once, and check that all name the same version."""
    with ThreadPoolExecutor() as threads:
        command = ("emotion", "restore")
        done = list(threads.map(lambda project: project.run(*command, MLFLOW_TRACKING_URI=uri), projects))
    assert {each.stdout.splitlines()[-1] for each in done} == {f"register: {MODEL} version 1"}


def test_two_concurrent_restores_log_every_run_and_the_version_once(copied_project: Project) -> None:
    restore_all(copied_project, copied_project, uri=copied_project.store)
    names = [kind_of(run) for run in copied_project.runs()]
    assert sorted(names) == sorted(
        [f"history of {MODEL}", "fetch", "preprocess", "tune", "trial-000", "trial-001", "train"]
    )
    assert [version.version for version in copied_project.client.search_model_versions()] == [1]
    assert len(copied_project.client.search_logged_models(["1"])) == 1


def test_concurrent_restores_from_two_clones_register_one_version_on_a_server(
    copied_project: Project, server: Server, tmp_path: Path
) -> None:
    clone = copied_project.copy_to(tmp_path / "clone", with_store=False)
    restore_all(copied_project, clone, uri=server.uri)
    client = MlflowClient(server.uri)
    assert len(client.search_model_versions()) == 1
    assert len(client.search_logged_models(["1"])) == 1


def test_restoring_a_version_whose_files_are_lost_is_an_error(logged_project: Project) -> None:
    artifacts = logged_project.folder / "mlartifacts"
    artifacts.rename(logged_project.folder / "moved")
    done = logged_project.run("emotion", "restore", check=False)
    assert done.returncode == 1
    assert f"the files of {MODEL} version 1 are no longer in MLflow's artifact store" in done.stderr
    shutil.rmtree(artifacts, ignore_errors=True)
    (logged_project.folder / "moved").rename(artifacts)
    logged_project.run("emotion", "restore")


def test_a_stage_restores_its_lost_run_first(copied_project: Project) -> None:
    copied_project.set_params(evaluate__calibration_bins=5)
    copied_project.run("dvc", "repro", "evaluate")
    train = copied_project.run_of("train")
    assert train.data.tags["restored"] == "true"
    assert train.data.tags["tune.run_id"] == copied_project.run_of("tune").info.run_id
    assert train.data.tags["evaluate.calibration_bins"] == "5"
    assert "test/accuracy" in train.data.metrics


def test_a_fresh_clone_is_restored_from_pulled_outputs(copied_project: Project, tmp_path: Path) -> None:
    copied_project.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    copied_project.commit()
    copied_project.run("dvc", "push")
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    copied_project.run("git", "clone", "--quiet", str(copied_project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull")
    clone.run("emotion", "restore")
    assert {kind_of(run) for run in clone.runs()} >= {"fetch", "preprocess", "tune", "train"}
    assert "Running stage" not in clone.run("dvc", "repro").stdout
