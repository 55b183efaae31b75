"""Outputs of a pipeline run: MLflow runs, files, figures, metrics and a version."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from emotion.runtime.files import folder_digest
from support.project import MODEL, Project, kind_of


def test_evaluation_results_are_figures_tables_and_metrics(finished_project: Project) -> None:
    evaluation = finished_project.folder / "reports/evaluation"
    for name in ("reliability", "coverage", "robustness", "mistakes"):
        assert (evaluation / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len((evaluation / f"{name}.csv").read_text().splitlines()) > 2
    metrics = json.loads((evaluation / "scores.json").read_text())
    assert set(metrics["test_robustness"]) == {"none", "brightness", "blur", "noise", "rotation", "occlusion"}
    run_id = json.loads((finished_project.folder / "models/registered.json").read_text())["run_id"]
    logged = finished_project.client.get_run(run_id).data
    for name in ("test/coverage_at_90", "test_recall/happy", "train/val_accuracy"):
        assert name in logged.metrics
    assert len(logged.metrics) <= 35, "the rest is in tables"
    headline = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    figures = [value for subset in headline.values() if isinstance(subset, dict) for value in subset.values()]
    assert len(figures) <= 10
    assert 0.2 <= float(logged.tags["temperature"]) <= 5


def test_a_second_repro_runs_no_stage(finished_project: Project) -> None:
    done = finished_project.run("dvc", "repro")
    assert "Data and pipelines are up to date" in done.stdout
    assert "Running stage" not in done.stdout


def test_every_stage_logs_a_finished_run_with_its_name(finished_project: Project) -> None:
    found = [(kind_of(run), run.info.status) for run in finished_project.runs("tags.stage != 'trial'")]
    assert found == [(stage, "FINISHED") for stage in ("fetch", "preprocess", "tune", "train")]


def test_every_run_records_its_provenance(finished_project: Project) -> None:
    commit = finished_project.run("git", "rev-parse", "HEAD").stdout.strip()
    lock = yaml.safe_load((finished_project.folder / "dvc.lock").read_text())
    data = next(out["md5"] for out in lock["stages"]["preprocess"]["outs"] if out["path"] == "data/faces")
    for stage in ("fetch", "preprocess", "tune", "train"):
        run = finished_project.run_of(stage)
        assert run.data.tags["mlflow.source.git.commit"] == commit
        assert run.data.tags["git.dirty"] == "false"
        assert run.data.params["fetch.seed"] == "0"
        if stage in ("tune", "train"):
            assert run.data.tags["data.dvc_hash"] == data
            assert run.inputs.dataset_inputs[0].dataset.digest == data
            assert "drawings, not photographs" in run.data.tags["mlflow.note.content"]


def test_every_trial_is_a_child_run_of_the_search(finished_project: Project) -> None:
    parent = finished_project.run_of("tune")
    trials = finished_project.runs("tags.stage = 'trial'")
    table = pd.read_csv(finished_project.folder / "reports/trials.csv")
    assert len(trials) == len(table) == 2
    for trial in trials:
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert trial.data.tags["mlflow.source.git.commit"] == parent.data.tags["mlflow.source.git.commit"]
        assert trial.data.params["train.epochs"] == "2"
        row = table.set_index("run_id").loc[trial.info.run_id]
        assert float(trial.data.params["train.learning_rate"]) == pytest.approx(row["train.learning_rate"])
        assert trial.data.metrics["score"] == pytest.approx(row["score"])
    record = finished_project.read_json("reports/runs/tune.json")
    best = record["search"]["best"]
    assert best["run_id"] == table["run_id"][0]
    assert best["score"] == pytest.approx(table["score"].max())
    assert record["run_id"] == parent.info.run_id
    assert parent.data.tags["best_trial"] == best["trial"]
    assert parent.data.tags["best_trial_run_id"] == best["run_id"]
    values = finished_project.read_json("models/hyperparameters.json")
    assert values == best["values"]
    assert set(values) == {"learning_rate", "dropout"}


def test_a_registered_version_leads_to_its_trial(finished_project: Project) -> None:
    (version,) = finished_project.client.search_model_versions("name = 'facial-emotion'")
    train = finished_project.client.get_run(version.run_id)
    trial = finished_project.client.get_run(train.data.tags["tune.trial_run_id"])
    assert kind_of(trial) == train.data.tags["tune.trial"]
    assert trial.data.tags["mlflow.parentRunId"] == train.data.tags["tune.run_id"]
    assert trial.data.params["train.learning_rate"] == train.data.params["train.learning_rate"]


def test_training_uses_the_best_hyperparameters_and_logs_every_epoch(finished_project: Project) -> None:
    train = finished_project.run_of("train")
    chosen = finished_project.read_json("models/hyperparameters.json")
    assert float(train.data.params["train.learning_rate"]) == pytest.approx(chosen["learning_rate"])
    history = pd.read_csv(finished_project.folder / "reports/history.csv")
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        logged = finished_project.client.get_metric_history(train.info.run_id, f"train/{name}")
        assert [metric.step for metric in logged] == [1, 2, 3]
        np.testing.assert_allclose([metric.value for metric in logged], history[name], rtol=1e-6)


def test_figures_and_tables_are_written_and_logged_to_mlflow(finished_project: Project) -> None:
    data = finished_project.artifacts(finished_project.run_of("preprocess"))
    figures = {"data/class_distribution.png", "data/examples.png", "data/augmented.png"}
    assert figures | {"data/counts.json", "data/quarantine.csv"} <= data
    train = finished_project.artifacts(finished_project.run_of("train"))
    names = ["confusion.png", "mistakes.png", "per_class.png", "reliability.png"]
    names += ["validation/predictions.csv", "test/predictions.csv"]
    for part in ("validation", "test", "test_unseen", "test_PrivateTest"):
        names += [f"{part}/per_class.csv", f"{part}/confusion.csv"]
    assert {f"evaluation/{name}" for name in names} | {"curves.png", "history.csv", "evaluation/scores.json"} <= train
    for path in ("reports/data/augmented.png", "reports/evaluation/confusion.png", "reports/curves.png"):
        assert (finished_project.folder / path).read_bytes().startswith(b"\x89PNG")


def test_the_metrics_match_the_saved_model_on_the_test_images(finished_project: Project) -> None:
    """Recompute the metrics from the exported files alone."""
    import tensorflow as tf

    from emotion.data.dataset import open_dataset

    metrics = finished_project.read_json("reports/evaluation/scores.json")
    test = open_dataset(finished_project.folder / "data/faces").split("test")
    model = tf.saved_model.load(str(finished_project.folder / "models/saved_model"))
    answers = model.serve(test.images[..., None].astype(np.float32)).numpy()
    assert metrics["test"]["accuracy"] == pytest.approx((answers.argmax(axis=1) == test.labels).mean())
    assert metrics["test"]["images"] == len(test) == metrics["test_PrivateTest"]["images"]
    assert set(metrics["test_per_class"]) == set(test.index["emotion"])
    assert "drawings" in metrics["data"]
    logged = finished_project.run_of("train").data.metrics
    speed = finished_project.read_json("reports/speed.json")
    assert 0 < speed["latency_ms_median"] <= speed["latency_ms_p95"]
    assert logged["speed/images_per_second"] == pytest.approx(speed["images_per_second"])
    assert logged["test/accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert logged["test_recall/happy"] == pytest.approx(metrics["test_per_class"]["happy"]["recall"])


def test_the_registered_version_is_the_evaluated_saved_model(finished_project: Project) -> None:
    registered = finished_project.read_json("models/registered.json")
    version = finished_project.client.get_model_version(MODEL, registered["version"])
    train = finished_project.run_of("train")
    assert version.run_id == train.info.run_id
    assert version.tags["git.commit"] == train.data.tags["mlflow.source.git.commit"]
    assert version.tags["data.dvc_hash"] == train.data.tags["data.dvc_hash"]
    assert float(version.tags["test.accuracy"]) == pytest.approx(train.data.metrics["test/accuracy"], abs=1e-4)
    assert "drawings" in version.description
    (folder,) = (finished_project.folder / "mlartifacts").rglob("saved_model.pb")
    assert folder_digest(folder.parent) == folder_digest(finished_project.folder / "models/saved_model")
    assert registered["saved_model_sha256"] == version.tags["saved_model.sha256"]
    stored = {path.name for path in folder.parents[2].rglob("*")}
    assert {"MLmodel", "input_example.json", "requirements.txt"} <= stored
    assert not [name for name in stored if name.endswith((".pkl", ".pickle"))]


def test_mlflow_serves_the_registered_version(finished_project: Project, tmp_path: Path) -> None:
    answer = finished_project.mlflow_predict(tmp_path)
    assert len(answer) == 7
    assert sum(answer) == pytest.approx(1, abs=1e-4)


def test_models_are_ranked_by_a_metric_on_a_dataset(finished_project: Project) -> None:
    (data,) = finished_project.run_of("train").inputs.dataset_inputs
    by = {
        "field_name": "metrics.test/accuracy", "dataset_name": data.dataset.name,
        "dataset_digest": data.dataset.digest,
    }  # fmt: skip
    training = finished_project.client.get_experiment_by_name("emotion").experiment_id
    (model,) = finished_project.client.search_logged_models([training], order_by=[by])
    measured = {metric.key: metric for metric in model.metrics if metric.dataset_digest == data.dataset.digest}
    assert measured["test/accuracy"].value == finished_project.run_of("train").data.metrics["test/accuracy"]


def test_only_searches_and_trainings_are_in_the_experiment(finished_project: Project) -> None:
    names = {it.experiment_id: it.name for it in finished_project.client.search_experiments()}
    stages: dict[str, set[str]] = {}
    for run in finished_project.runs():
        stages.setdefault(names[run.info.experiment_id], set()).add(run.data.tags.get("stage", "history"))
    assert stages == {
        "emotion": {"tune", "trial", "train"},
        "emotion-data": {"fetch", "preprocess"},
        "emotion-promotions": {"history"},
    }


def test_every_run_is_named_by_what_it_did(finished_project: Project) -> None:
    accuracy = finished_project.read_json("reports/metrics.json")["test"]["accuracy"]
    named = {kind_of(run): run.info.run_name for run in finished_project.runs()}
    assert named["train"] == f"train residual-4 · drawn faces · {accuracy:.1%}"
    assert named["tune"].startswith("tune random, 2 trials · drawn faces · val_accuracy 0.")
    assert named["trial-000"].startswith("trial-000 · learning_rate ")
    assert named["fetch"] == "fetch drawn faces"
    assert named["preprocess"] == "preprocess gray 48x48 · drawn faces"


def test_registering_the_same_run_again_creates_no_second_version(finished_project: Project) -> None:
    finished_project.run("python", "-m", "emotion.register", DVC_ROOT=str(finished_project.folder))
    assert [str(v.version) for v in finished_project.client.search_model_versions(f"name = '{MODEL}'")] == ["1"]


def test_dvc_shows_metrics_and_plots(finished_project: Project, tmp_path: Path) -> None:
    shown = json.loads(finished_project.run("dvc", "metrics", "show", "--json").stdout)
    metrics = finished_project.read_json("reports/metrics.json")
    assert shown[""]["data"]["reports/metrics.json"]["data"] == metrics
    speed = json.loads(finished_project.run("dvc", "metrics", "show", "--json", "reports/speed.json").stdout)
    assert speed[""]["data"]["reports/speed.json"]["data"] == finished_project.read_json("reports/speed.json")
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


def test_every_plotted_file_exists_after_a_run(finished_project: Project) -> None:
    """DVC silently skips a plot whose file is missing."""
    plots = yaml.safe_load((finished_project.folder / "dvc.yaml").read_text())["plots"]
    for plot in plots:
        for path in [plot] if isinstance(plot, str) else next(iter(plot.values()))["y"]:
            assert (finished_project.folder / path).exists(), path
