"""The whole pipeline: a real DVC repository, a real MLflow store, real (tiny) training."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Project, free_port, imported, serving
from mlflow.entities import Run

import emotion.networks.layers  # noqa: F401  registers what saved networks hold
from emotion.inference import op_allowlist as saved_model
from emotion.registry import registration
from emotion.runtime.errors import INTERRUPTED, exit_cleanly
from emotion.tracking import operations as delivery
from emotion.tracking import runs as tracking

STAGES = ["fetch", "preprocess", "tune", "train", "evaluate", "register"]
MODEL = "facial-emotion"


def client(project: Project) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(project.store)


def runs(project: Project, filter_string: str = "") -> list[Run]:
    """All runs, the oldest first."""
    experiment = client(project).get_experiment_by_name("emotion")
    assert experiment is not None
    return list(
        client(project).search_runs([experiment.experiment_id], filter_string, order_by=["attributes.start_time"])
    )


def run_of(project: Project, stage: str) -> Run:
    """The newest run of a stage."""
    return runs(project, f"tags.stage = '{stage}'")[-1]


def files_of(project: Project, run: Run, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in client(project).list_artifacts(run.info.run_id, folder):
        found |= files_of(project, run, entry.path) if entry.is_dir else {entry.path}
    return found


def read_json(project: Project, path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.folder / path).read_text())
    return content


def test_a_second_repro_does_nothing(finished_project: Project) -> None:
    done = finished_project.run("dvc", "repro")
    assert "Data and pipelines are up to date" in done.stdout
    assert "Running stage" not in done.stdout


def test_every_stage_leaves_a_finished_run_of_its_name(finished_project: Project) -> None:
    found = [(run.info.run_name, run.info.status) for run in runs(finished_project, "tags.stage != 'trial'")]
    assert found == [(stage, "FINISHED") for stage in ("fetch", "preprocess", "tune", "train")]


def test_every_run_says_where_it_comes_from(finished_project: Project) -> None:
    commit = finished_project.run("git", "rev-parse", "HEAD").stdout.strip()
    lock = yaml.safe_load((finished_project.folder / "dvc.lock").read_text())
    data = next(out["md5"] for out in lock["stages"]["preprocess"]["outs"] if out["path"] == "data/faces")
    for stage in ("fetch", "preprocess", "tune", "train"):
        run = run_of(finished_project, stage)
        assert run.data.tags["mlflow.source.git.commit"] == commit
        assert run.data.tags["git.dirty"] == "false"
        assert run.data.params["fetch.seed"] == "0"
        if stage in ("tune", "train"):
            assert run.data.tags["data.dvc_hash"] == data
            assert run.inputs.dataset_inputs[0].dataset.digest == data
            assert "drawings, not photographs" in run.data.tags["mlflow.note.content"]


def test_every_trial_is_a_child_of_the_search(finished_project: Project) -> None:
    parent = run_of(finished_project, "tune")
    trials = runs(finished_project, "tags.stage = 'trial'")
    table = pd.read_csv(finished_project.folder / "reports/trials.csv")
    assert len(trials) == len(table) == 2
    for trial in trials:
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert trial.data.tags["mlflow.source.git.commit"] == parent.data.tags["mlflow.source.git.commit"]
        assert trial.data.params["train.epochs"] == "1"
        row = table.set_index("run_id").loc[trial.info.run_id]
        assert float(trial.data.params["train.learning_rate"]) == pytest.approx(row["train.learning_rate"])
        assert trial.data.metrics["score"] == pytest.approx(row["score"])
    chosen = read_json(finished_project, "models/hyperparameters.json")
    assert chosen["trial_run_id"] == table["run_id"][0]
    assert chosen["score"] == pytest.approx(table["score"].max())
    assert chosen["run_id"] == parent.info.run_id
    assert parent.data.tags["best_trial"] == chosen["trial"]
    assert parent.data.tags["best_trial_run_id"] == chosen["trial_run_id"]


def test_from_a_registered_version_one_reaches_its_trial(finished_project: Project) -> None:
    (version,) = client(finished_project).search_model_versions("name = 'facial-emotion'")
    train = client(finished_project).get_run(version.run_id)
    trial = client(finished_project).get_run(train.data.tags["tune.trial_run_id"])
    assert trial.info.run_name == train.data.tags["tune.trial"]
    assert trial.data.tags["mlflow.parentRunId"] == train.data.tags["tune.run_id"]
    assert trial.data.params["train.learning_rate"] == train.data.params["train.learning_rate"]


def test_training_uses_the_best_hyperparameters_and_logs_every_epoch(finished_project: Project) -> None:
    train = run_of(finished_project, "train")
    chosen = read_json(finished_project, "models/hyperparameters.json")["values"]
    assert float(train.data.params["train.learning_rate"]) == pytest.approx(chosen["learning_rate"])
    history = pd.read_csv(finished_project.folder / "reports/history.csv")
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "image_size"):
        logged = client(finished_project).get_metric_history(train.info.run_id, name)
        assert [metric.step for metric in logged] == [1, 2]
        np.testing.assert_allclose([metric.value for metric in logged], history[name], rtol=1e-6)


def test_figures_and_tables_are_files_and_in_mlflow(finished_project: Project) -> None:
    data = files_of(finished_project, run_of(finished_project, "preprocess"))
    figures = {"data/class_distribution.png", "data/examples.png", "data/augmented.png"}
    assert figures | {"data/counts.json", "data/quarantine.csv"} <= data
    train = files_of(finished_project, run_of(finished_project, "train"))
    names = ["confusion.png", "mistakes.png", "per_class.png", "reliability.png"]
    names += ["validation/predictions.csv", "test/predictions.csv"]
    for part in ("validation", "test", "test_unseen", "test_PrivateTest"):
        names += [f"{part}/per_class.csv", f"{part}/confusion.csv"]
    assert {f"evaluation/{name}" for name in names} | {"curves.png", "history.csv", "metrics.json"} <= train
    for path in ("reports/data/augmented.png", "reports/evaluation/confusion.png", "reports/curves.png"):
        assert (finished_project.folder / path).read_bytes().startswith(b"\x89PNG")


def test_the_metrics_are_those_of_the_saved_model_on_the_test_images(finished_project: Project) -> None:
    """Recomputed here from the exported files alone."""
    import tensorflow as tf

    from emotion.data.dataset import open_faces

    metrics = read_json(finished_project, "reports/metrics.json")
    test = open_faces(finished_project.folder / "data/faces").split("test")
    model = tf.saved_model.load(str(finished_project.folder / "models/saved_model"))
    answers = model.serve(test.images[..., None].astype(np.float32)).numpy()
    assert metrics["test"]["accuracy"] == pytest.approx((answers.argmax(axis=1) == test.labels).mean())
    assert metrics["test"]["images"] == len(test) == metrics["test_PrivateTest"]["images"]
    assert set(metrics["test_per_class"]) == set(test.index["emotion"])
    assert "drawings" in metrics["data"]
    logged = run_of(finished_project, "train").data.metrics
    speed = read_json(finished_project, "reports/speed.json")
    assert 0 < speed["latency_ms_median"] <= speed["latency_ms_p95"]
    assert logged["speed.images_per_second"] == pytest.approx(speed["images_per_second"])
    assert logged["test.accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert logged["test_per_class.happy.recall"] == pytest.approx(metrics["test_per_class"]["happy"]["recall"])


def test_the_registered_version_is_the_evaluated_saved_model(finished_project: Project) -> None:
    registered = read_json(finished_project, "models/registered.json")
    version = client(finished_project).get_model_version(MODEL, registered["version"])
    train = run_of(finished_project, "train")
    assert version.run_id == train.info.run_id
    assert version.tags["git.commit"] == train.data.tags["mlflow.source.git.commit"]
    assert version.tags["data.dvc_hash"] == train.data.tags["data.dvc_hash"]
    assert json.loads(version.tags["parameters"]) == train.data.params
    assert float(version.tags["test.accuracy"]) == pytest.approx(train.data.metrics["test.accuracy"], abs=1e-4)
    assert "drawings" in version.description
    (folder,) = (finished_project.folder / "mlartifacts").rglob("saved_model.pb")
    assert saved_model.digest(folder.parent) == saved_model.digest(finished_project.folder / "models/saved_model")
    assert registered["saved_model_sha256"] == version.tags["saved_model.sha256"]
    stored = {path.name for path in folder.parents[2].rglob("*")}
    assert {"MLmodel", "input_example.json", "requirements.txt"} <= stored
    assert not [name for name in stored if name.endswith((".pkl", ".pickle"))]


def answer_of_mlflow(project: Project, folder: Path) -> list[float]:
    """What `mlflow models predict` says of a drawn face."""
    request = folder / "request.json"
    request.write_text(json.dumps({"inputs": registration.input_example().tolist()}))
    done = project.run(
        "mlflow", "models", "predict", "-m", f"models:/{MODEL}/1", "--env-manager", "local",
        "-i", str(request), "-t", "json", MLFLOW_TRACKING_URI=project.store,
    )  # fmt: skip
    (answer,) = json.loads(done.stdout[done.stdout.index("{") :])["predictions"]
    return list(answer)


def test_mlflow_serves_the_registered_version(finished_project: Project, tmp_path: Path) -> None:
    answer = answer_of_mlflow(finished_project, tmp_path)
    assert len(answer) == 7
    assert sum(answer) == pytest.approx(1, abs=1e-4)


def test_registering_the_same_run_again_makes_no_second_version(finished_project: Project) -> None:
    finished_project.run(sys.executable, "-m", "emotion.register", DVC_ROOT=str(finished_project.folder))
    assert [str(v.version) for v in client(finished_project).search_model_versions(f"name = '{MODEL}'")] == ["1"]


def test_dvc_shows_metrics_and_plots(finished_project: Project, tmp_path: Path) -> None:
    shown = json.loads(finished_project.run("dvc", "metrics", "show", "--json").stdout)
    metrics = read_json(finished_project, "reports/metrics.json")
    assert shown[""]["data"]["reports/metrics.json"]["data"] == metrics
    assert shown[""]["data"]["reports/speed.json"]["data"] == read_json(finished_project, "reports/speed.json")
    finished_project.run("dvc", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    for title in (
        "Accuracy by epoch",
        "Loss by epoch",
        "Confusion on test images",
        "Per emotion",
        "Trials",
        "augmented.png",
    ):
        assert title in page


def test_every_file_that_is_plotted_is_there_after_a_run(finished_project: Project) -> None:
    """DVC leaves a plot whose file is missing out without an error."""
    plots = yaml.safe_load((finished_project.folder / "dvc.yaml").read_text())["plots"]
    for plot in plots:
        for path in [plot] if isinstance(plot, str) else next(iter(plot.values()))["y"]:
            assert (finished_project.folder / path).exists(), path


def test_an_empty_store_is_filled_from_the_files_and_filled_once(copied_project: Project) -> None:
    copied_project.run("emotion", "restore")
    again = copied_project.run("emotion", "restore")
    assert "logged again" not in again.stdout
    found = runs(copied_project)
    of_stages = [run for run in found if "stage" in run.data.tags]
    assert [run.info.run_name for run in found if run not in of_stages] == [f"history of {MODEL}"]
    names = [run.info.run_name for run in of_stages if run.data.tags["stage"] != "trial"]
    assert names == ["fetch", "preprocess", "tune", "train"]
    for run in of_stages:
        assert run.data.tags["restored"] == "true"
        assert run.info.status == "FINISHED"
    train = run_of(copied_project, "train")
    lost = read_json(copied_project, "models/run.json")
    assert train.data.tags["restored_from"] == lost["run_id"] != train.info.run_id
    assert train.data.tags["mlflow.source.git.commit"] == lost["tags"]["mlflow.source.git.commit"]
    assert train.data.metrics["test.accuracy"] == read_json(copied_project, "reports/metrics.json")["test"]["accuracy"]
    assert len(client(copied_project).get_metric_history(train.info.run_id, "val_loss")) == 2
    trials = runs(copied_project, "tags.stage = 'trial'")
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {run_of(copied_project, "tune").info.run_id}
    assert len(trials) == 2
    assert client(copied_project).get_model_version(MODEL, "1").run_id == train.info.run_id


def test_a_stage_whose_run_is_lost_restores_it_first(copied_project: Project) -> None:
    copied_project.set(evaluate__calibration_bins=5)
    copied_project.run("dvc", "repro", "evaluate")
    (train,) = runs(copied_project)
    assert train.info.run_name == "train"
    assert train.data.tags["restored"] == "true"
    assert train.data.tags["evaluate.calibration_bins"] == "5"
    assert "test.accuracy" in train.data.metrics


def test_pulled_outputs_fill_a_new_clones_store(copied_project: Project, tmp_path: Path) -> None:
    copied_project.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "remote"))
    copied_project.commit()
    copied_project.run("dvc", "push")
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    copied_project.run("git", "clone", "--quiet", str(copied_project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull")
    clone.run("emotion", "restore")
    assert {run.info.run_name for run in runs(clone)} >= {"fetch", "preprocess", "tune", "train"}
    assert "Running stage" not in clone.run("dvc", "repro").stdout


def test_an_experiment_changes_a_parameter_and_is_shown(copied_project: Project) -> None:
    copied_project.run("dvc", "exp", "run", "--set-param", "train.epochs=1", "--name", "short")
    train = run_of(copied_project, "train")
    assert train.data.params["train.epochs"] == "1"
    assert train.data.tags["dvc.experiment"] == "short"
    shown = copied_project.run("dvc", "exp", "show", "--csv").stdout
    for word in ("short", "test.accuracy", "train.epochs"):
        assert word in shown


def test_an_experiment_in_a_temporary_folder_logs_to_the_projects_store(copied_project: Project) -> None:
    copied_project.run("dvc", "exp", "run", "--temp", "--set-param", "evaluate.mistakes=3", "--name", "elsewhere")
    assert run_of(copied_project, "train").data.tags["evaluate.mistakes"] == "3"


def test_uncommitted_changes_are_recorded_as_a_patch_that_applies(copied_project: Project, tmp_path: Path) -> None:
    source = copied_project.folder / "src/emotion/runtime/progress.py"
    source.write_text(source.read_text() + "# changed\n")
    (copied_project.folder / "src/emotion/new.py").write_text("NEW = 1\n")
    (copied_project.folder / "my_token.txt").write_text("KGAT_secret")
    copied_project.run("dvc", "repro", "--single-item", "fetch")
    fetch = run_of(copied_project, "fetch")
    assert fetch.data.tags["git.dirty"] == "true"
    patch = client(copied_project).download_artifacts(fetch.info.run_id, "source/fetch.patch", str(tmp_path))
    copied_project.run("git", "worktree", "add", "--quiet", str(tmp_path / "tree"), "HEAD")
    subprocess.run(["git", "apply", patch], cwd=tmp_path / "tree", check=True)
    assert (tmp_path / "tree/src/emotion/runtime/progress.py").read_text().endswith("# changed\n")
    assert (tmp_path / "tree/src/emotion/new.py").read_text() == "NEW = 1\n"
    assert "dvc.lock" not in Path(patch).read_text()
    assert "KGAT_secret" not in Path(patch).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fetch__source": "archive", "fetch__archive": "none.zip"}, "fetch: no archive at"),
        ({"preprocess__protocol": "folders", "fetch__images": 70}, None),
    ],
)
def test_a_failing_stage_leaves_its_run_failed(
    copied_project: Project, changes: dict[str, Any], message: str | None
) -> None:
    copied_project.set(**changes)
    if message is None:  # a dataset that vanishes under the stage
        (copied_project.folder / "data/faces/index.csv").unlink()
        done = copied_project.run(sys.executable, "-m", "emotion.evaluate", check=False)
        message, stage = "evaluate: ", "train"  # whose run it goes on with
    else:
        done, stage = copied_project.run("dvc", "repro", check=False), "fetch"
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert run_of(copied_project, stage).info.status == "FAILED"


def test_a_read_only_folder_is_explained(copied_project: Project) -> None:
    folder = copied_project.folder / "models"
    done = copied_project.run(
        "unshare", "--mount", "--map-root-user", "sh", "-c",
        f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec {sys.executable} -m emotion.tune",
        check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine allows no private mounts")
    assert done.returncode == 1
    assert "tune: " in done.stderr
    assert "read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_source_protocol_and_network_need_nothing_but_parameters(copied_project: Project) -> None:
    archive = copied_project.folder / "photos.zip"
    (copied_project.folder / "data/raw/faces.zip").rename(archive)
    copied_project.set(
        fetch__source="archive", fetch__archive="photos.zip", preprocess__protocol="folders",
        tune__max_trials=0, train__network="basic_cnn", train__width=2, train__optimizer="sgd",
        train__learning_rate=0.01, train__tensorboard=True, train__epochs=1,
    )  # fmt: skip
    copied_project.run("dvc", "repro")
    train = run_of(copied_project, "train")
    assert train.data.params["train.network"] == "basic_cnn"
    assert train.data.tags["tune.run_id"] == run_of(copied_project, "tune").info.run_id
    assert not runs(copied_project, "tags.stage = 'trial'")
    metrics = read_json(copied_project, "reports/metrics.json")
    assert metrics["data"] == "photos.zip (not drawn by this project)"
    assert set(metrics) >= {"test_PublicTest", "test_PrivateTest"}
    logs = copied_project.folder / "reports/tensorboard" / train.info.run_id
    assert list(logs.rglob("events.out.tfevents*"))


def test_transfer_learning_goes_through_the_whole_pipeline(copied_project: Project, tmp_path: Path) -> None:
    weights = str(tmp_path / "backbone.weights.h5")
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(weights)
    copied_project.set(
        tune__max_trials=0, train__network="mobilenet_v2", train__epochs=1, train__optimizer="sgd",
        train__learning_rate=0.01, train__transfer={"weights": weights, "image_size": 32, "fine_tune_from": None},
    )  # fmt: skip
    copied_project.run("dvc", "repro")
    train = run_of(copied_project, "train")
    assert train.data.params["train.network"] == "mobilenet_v2"
    assert train.data.params["train.transfer.weights"] == weights
    assert sum(answer_of_mlflow(copied_project, tmp_path)) == pytest.approx(1, abs=1e-4)


def kill_after_epoch(project: Project, epoch: int) -> str:
    """Start `train`, kill it without warning once an epoch is kept, and return its run."""
    process = subprocess.Popen(
        [sys.executable, "-m", "emotion.train"], cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((project.folder / "models/checkpoints").rglob(f"epoch-{epoch:05d}.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    run = run_of(project, "train")
    assert run.info.status == "RUNNING"
    return str(run.info.run_id)


def test_a_killed_training_goes_on_in_the_same_run_and_ends_like_an_unbroken_one(copied_project: Project) -> None:
    copied_project.set(train__epochs=6, train__smallest_size=40)
    copied_project.run("dvc", "repro", "train")
    unbroken = pd.read_csv(copied_project.folder / "reports/history.csv")
    classifier = copied_project.folder / "models/classifier.keras"
    expected = keras.saving.load_model(classifier).get_weights()
    copied_project.run("dvc", "repro", "--single-item", "evaluate")  # which forgets the finished training
    client(copied_project).delete_run(run_of(copied_project, "train").info.run_id)
    checkpoints = copied_project.folder / "models/checkpoints"
    assert not list(checkpoints.iterdir())

    first = kill_after_epoch(copied_project, 2)
    assert kill_after_epoch(copied_project, 4) == first
    done = copied_project.run("dvc", "repro", "--force", "--single-item", "train")
    assert "Going on after epoch" in done.stdout
    (train,) = runs(copied_project, "tags.stage = 'train'")
    assert train.info.run_id == first
    assert train.info.status == "FINISHED"
    logged = client(copied_project).get_metric_history(first, "val_loss")
    assert [metric.step for metric in logged] == [1, 2, 3, 4, 5, 6]
    resumed = pd.read_csv(copied_project.folder / "reports/history.csv")
    for key in set(unbroken) - {"seconds"}:
        np.testing.assert_allclose(resumed[key], unbroken[key], rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(keras.saving.load_model(classifier).get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-4)


def test_a_killed_training_starts_afresh_where_a_parameter_changed(copied_project: Project) -> None:
    copied_project.set(train__epochs=50)
    first = kill_after_epoch(copied_project, 1)
    copied_project.set(train__epochs=3)
    done = copied_project.run("dvc", "repro", "train")
    assert "Going on" not in done.stdout
    assert run_of(copied_project, "train").info.run_id != first
    assert len(pd.read_csv(copied_project.folder / "reports/history.csv")) == 3


def test_a_presets_parameters_are_options_of_an_experiment(copied_project: Project) -> None:
    shown = copied_project.run("emotion", "preset", "quick").stdout.split()
    copied_project.run("dvc", "exp", "run", *shown, "-S", "train.epochs=1", "-S", "train.width=4", "train")
    train = run_of(copied_project, "train")
    assert train.data.params["train.smallest_size"] == "32"
    assert train.data.params["tune.max_trials"] == "0"


def test_a_misspelt_preset_starts_no_experiment(copied_project: Project) -> None:
    done = copied_project.run("sh", "-c", "dvc exp run $(emotion preset qick)", check=False)
    assert done.returncode != 0
    assert "no preset is named qick" in done.stderr
    assert "Running stage" not in done.stdout


def test_a_search_whose_trials_all_fail_is_an_error_and_leaves_no_hyperparameters(copied_project: Project) -> None:
    copied_project.set(
        tune__space={"learning_rate": {"choice": [10.0]}}, tune__epochs=30, tune__fraction=1.0,
        train__network="basic_cnn", train__optimizer="sgd", train__momentum=0.99, train__warmup=0.0,
    )  # fmt: skip
    done = copied_project.run("dvc", "repro", "tune", check=False)
    assert done.returncode != 0
    assert "tune: no trial of the search ended well" in done.stderr
    assert "Lower train.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (copied_project.folder / "models/hyperparameters.json").exists()
    assert {run.info.status for run in runs(copied_project, "tags.stage = 'trial'")} == {"FAILED"}
    assert run_of(copied_project, "tune").info.status == "FAILED"


def start_search(project: Project) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "emotion.tune"]
    return subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, text=True)


def wait_for(project: Project, pattern: str, process: "subprocess.Popen[str]") -> Path:
    """The first file of that pattern below models/checkpoints."""
    deadline = time.monotonic() + 120
    while not (found := list((project.folder / "models/checkpoints").glob(pattern))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def trial_processes(project: Project) -> list[int]:
    """Those of the project's trials, and of what is ready for the next."""
    listed = subprocess.run(["pgrep", "-f", "emotion.tuning.trial$"], capture_output=True, text=True)
    mine = []
    for process in map(int, listed.stdout.split()):
        with contextlib.suppress(OSError):  # it has ended
            if Path(f"/proc/{process}/cwd").resolve() == project.folder.resolve():
                mine.append(process)
    return mine


def test_a_killed_search_goes_on_in_the_same_runs_and_ends_like_an_unbroken_one(copied_project: Project) -> None:
    copied_project.set(tune__max_trials=3, tune__epochs=4)
    copied_project.run("dvc", "repro", "tune")
    columns = ["trial", "outcome", "score", "train.learning_rate", "train.dropout", "val_loss", "epochs"]
    unbroken = pd.read_csv(copied_project.folder / "reports/trials.csv")[columns]
    shutil.rmtree(copied_project.folder / "models/checkpoints")
    first = run_of(copied_project, "tune").info.run_id

    process = start_search(copied_project)
    wait_for(copied_project, "*/trial-001/execution/epoch-00002.npz", process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while trial_processes(copied_project):  # it does not outlive the search
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = copied_project.run("dvc", "repro", "--force", "--single-item", "tune")
    assert "Going on with a search of which 1 trials have ended." in done.stdout
    assert "Going on after epoch" in done.stdout
    pd.testing.assert_frame_equal(pd.read_csv(copied_project.folder / "reports/trials.csv")[columns], unbroken)
    searches = runs(copied_project, "tags.stage = 'tune'")
    assert [run.info.status for run in searches] == ["FINISHED"] * 2
    (second,) = [run.info.run_id for run in searches if run.info.run_id != first]
    trials = runs(copied_project, f"tags.`mlflow.parentRunId` = '{second}'")
    assert sorted(run.info.run_name for run in trials) == ["trial-000", "trial-001", "trial-002"]
    assert {run.info.status for run in trials} == {"FINISHED"}
    for run in trials:
        losses = client(copied_project).get_metric_history(run.info.run_id, "val_loss")
        assert [metric.step for metric in losses] == [1, 2, 3, 4]

    copied_project.set(tune__seed=7)
    process = start_search(copied_project)
    wait_for(copied_project, "*/trial-000/execution/epoch-00001.npz", process)
    process.kill()
    process.communicate()
    copied_project.set(tune__seed=8, tune__epochs=1)
    said = copied_project.run("dvc", "repro", "tune").stdout
    assert "A new search, not the unfinished one in" in said
    assert "tune.epochs was 4, tune.seed was 7.\n" in said
    assert "RUNNING" not in {run.info.status for run in runs(copied_project)}


def test_a_trial_whose_process_is_killed_costs_one_trial(copied_project: Project) -> None:
    copied_project.set(tune__max_trials=3, tune__epochs=3)
    process = start_search(copied_project)
    wait_for(copied_project, "*/trial-001/execution/epoch-00001.npz", process)
    for trial in trial_processes(copied_project):
        os.kill(trial, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 0
    statuses = {run.info.run_name: run.info.status for run in runs(copied_project, "tags.stage = 'trial'")}
    assert statuses == {"trial-000": "FINISHED", "trial-001": "FAILED", "trial-002": "FINISHED"}
    table = pd.read_csv(copied_project.folder / "reports/trials.csv")
    assert table["trial"].tolist()[2] == "trial-001"
    assert table["reason"].tolist()[2].startswith("its process ended with signal SIGKILL")
    chosen = read_json(copied_project, "models/hyperparameters.json")
    assert chosen["trial"] == table["trial"][0]
    assert [other["trial"] for other in chosen["runners_up"]] == [table["trial"][1]]


def test_trials_are_listed_and_compared_at_once(finished_project: Project) -> None:
    table = pd.read_csv(finished_project.folder / "reports/trials.csv")
    started = time.monotonic()
    listed = pd.read_json(io.StringIO(finished_project.run("emotion", "trials", "--json").stdout))
    print(f"emotion trials took {time.monotonic() - started:.2f} s")
    assert listed["run_id"].tolist() == table["run_id"].tolist()
    np.testing.assert_allclose(listed["learning_rate"], table["train.learning_rate"], rtol=1e-6)
    worst = pd.read_csv(io.StringIO(finished_project.run("emotion", "trials", "--csv", "--sort=val_loss").stdout))
    assert worst["val_loss"].is_monotonic_increasing
    assert len(finished_project.run("emotion", "trials", "--top=1", "--csv").stdout.splitlines()) == 2
    unknown = finished_project.run("emotion", "trials", "--sort=speed", check=False)
    assert unknown.stderr.startswith("emotion: no trial has speed. There is trial, status, score")

    compared = finished_project.run("emotion", "compare", "trial-000", "trial-001").stdout
    assert "train.learning_rate" in compared
    assert "train.width" not in compared
    assert "McNemar" in compared
    missing = finished_project.run("emotion", "compare", "trial-000", "nothing", check=False)
    assert missing.stderr.startswith("emotion: no run begins with nothing.")
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", "trials").stderr
    )
    assert "mlflow" in heavy
    assert not heavy & {"tensorflow", "keras"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>Sign in</body></html>", "bad.zip is a web page"),
        (None, "bad.zip is a truncated or damaged zip"),
    ],
)
def test_a_bad_archive_is_called_by_the_name_that_its_owner_knows(
    copied_project: Project, content: bytes | None, message: str
) -> None:
    whole = (copied_project.folder / "data/raw/faces.zip").read_bytes()
    (copied_project.folder / "bad.zip").write_bytes(content or whole[: len(whole) // 2])
    copied_project.set(fetch__source="archive", fetch__archive="bad.zip")
    done = copied_project.run(sys.executable, "-m", "emotion.fetch", check=False)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert (copied_project.folder / "data/raw/faces.zip").read_bytes() == whole


def hear_interrupts() -> None:
    """Where the tests run in the background, SIGINT is ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_while_modules_are_loaded_is_one_line_too(copied_project: Project) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "emotion.train"],
        cwd=copied_project.folder, env=copied_project.environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    assert process.stderr
    assert any("mlflow." in line for line in process.stderr)  # waits for the first
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert error.splitlines()[-1].startswith("train: interrupted")
    assert "Traceback" not in error
    assert process.returncode == 130


def models_of(project: Project) -> dict[Path, bytes]:
    """Every file of models/ but what an interrupted stage goes on from."""
    files = [path for path in (project.folder / "models").rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if "checkpoints" not in path.parts}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_ends_a_stage_in_one_line_and_leaves_nothing_half_written(copied_project: Project, stage: str) -> None:
    """Interrupted as soon as a run is open."""
    location = str(copied_project.folder / "mlartifacts")
    client(copied_project).create_experiment("emotion", artifact_location=location)
    copied_project.set(fetch__images=20_000, tune__epochs=500, train__epochs=500)
    before = models_of(copied_project)
    process = subprocess.Popen(
        [sys.executable, "-m", f"emotion.{stage}"],
        cwd=copied_project.folder, env=copied_project.environment, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(run.info.status == "RUNNING" for run in runs(copied_project)):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert f"{stage}: interrupted" in error
    assert {run.info.status for run in runs(copied_project)} <= {"FAILED", "FINISHED", "KILLED"}
    assert not [path for path in copied_project.folder.rglob("part-*") if "mlartifacts" not in path.parts]
    assert models_of(copied_project) == before


def test_a_run_is_closed_that_was_interrupted_between_its_beginning_and_its_work(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run_id: str, kind: str, source: Path | None = None, **what: Any) -> None:
        if what.get("params") == {"rate": "1"}:
            raise KeyboardInterrupt
        delivery.write(run_id, kind, source, **what)

    def main() -> None:
        with tracking.run("tune", {}, {}) as search:
            tracking.child("trial-000", {}, {"rate": 1}, search)

    monkeypatch.setattr(tracking, "write", interrupted)
    with pytest.raises(SystemExit, match=str(INTERRUPTED)):
        exit_cleanly("tune", main)
    assert {run.name: run.status for run in tracking.runs()} == {"tune": "FAILED", "trial-000": "FAILED"}


def test_the_ui_shows_the_projects_runs_in_a_browser(finished_project: Project, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine; .ci/run installs it")
    port = free_port()
    with serving(["emotion", "ui", "--port", str(port)], finished_project, port) as said:
        address = said.split()[-1]
        page = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run", f"--user-data-dir={tmp_path}",
             "--virtual-time-budget=30000", "--window-size=1600,1000", "--dump-dom",
             address],
            capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip
    for name in ("preprocess", "tune", "train"):
        assert f">{name}<" in page


def test_a_dead_tracking_server_costs_seconds_and_is_said_in_one_line(new_project: Callable[[], Project]) -> None:
    project = new_project()
    start = time.monotonic()
    done = project.run(
        sys.executable, "-m", "emotion.fetch", check=False, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9"
    )
    assert time.monotonic() - start < 40
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "MLflow" in line]
    assert line.startswith("the MLflow tracking store at http://127.0.0.1:9 cannot be used")
    assert "`emotion sync` delivers it" in line
    assert "secret" not in done.stdout + done.stderr
    assert (project.folder / "data/raw/run.json").exists()
