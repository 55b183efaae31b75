"""DVC experiments: other sources, protocols and networks, and uncommitted code."""

import subprocess
from pathlib import Path

import keras

from support.project import MODEL, Project


def test_an_experiment_in_a_temporary_folder_is_recorded_in_the_projects_store_and_shown(
    copied_project: Project,
) -> None:
    changes = ["--set-param", "train.epochs=1", "--set-param", "evaluate.mistakes=3"]
    copied_project.run("dvc", "exp", "run", "--temp", *changes, "--name", "short")
    train = copied_project.run_of("train")
    assert train.data.params["train.epochs"] == "1"
    assert train.data.tags["dvc.experiment"] == "short"
    assert train.data.tags["evaluate.mistakes"] == "3"
    shown = copied_project.run("dvc", "exp", "show", "--csv").stdout
    for word in ("short", "test.accuracy", "train.epochs"):
        assert word in shown


def test_uncommitted_changes_are_recorded_as_a_patch_that_applies(copied_project: Project, tmp_path: Path) -> None:
    source = copied_project.folder / "src/emotion/data/labels.py"
    source.write_text(source.read_text() + "# changed\n")
    (copied_project.folder / "src/emotion/new.py").write_text("NEW = 1\n")
    (copied_project.folder / "my_token.txt").write_text("KGAT_secret")
    copied_project.run("dvc", "repro", "--single-item", "fetch")
    fetch = copied_project.run_of("fetch")
    assert fetch.data.tags["git.dirty"] == "true"
    patch = copied_project.client.download_artifacts(fetch.info.run_id, "source/fetch.patch", str(tmp_path))
    copied_project.run("git", "worktree", "add", "--quiet", str(tmp_path / "tree"), "HEAD")
    subprocess.run(["git", "apply", patch], cwd=tmp_path / "tree", check=True)
    assert (tmp_path / "tree/src/emotion/data/labels.py").read_text().endswith("# changed\n")
    assert (tmp_path / "tree/src/emotion/new.py").read_text() == "NEW = 1\n"
    assert "dvc.lock" not in Path(patch).read_text()
    assert "KGAT_secret" not in Path(patch).read_text()


def test_source_protocol_and_network_are_changed_by_parameters_alone(copied_project: Project, tmp_path: Path) -> None:
    """Also: transfer learning works in the whole pipeline."""
    archive = copied_project.folder / "photos.zip"
    (copied_project.folder / "data/raw/faces.zip").rename(archive)
    weights = str(tmp_path / "backbone.weights.h5")
    keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(weights)
    copied_project.set_params(
        fetch__source="path", fetch__path="photos.zip", preprocess__protocol="folders",
        tune__max_trials=0, train__network="mobilenet_v2", train__epochs=1, train__optimizer="sgd",
        train__learning_rate=0.01, train__tensorboard=True,
        train__transfer={"weights": weights, "image_size": 32, "fine_tune_from": None},
    )  # fmt: skip
    copied_project.run("dvc", "repro")
    train = copied_project.run_of("train")
    assert train.data.params["train.network"] == "mobilenet_v2"
    assert train.data.params["train.transfer.weights"] == weights
    assert train.data.tags["tune.run_id"] == copied_project.run_of("tune").info.run_id
    assert not copied_project.runs("tags.stage = 'trial'")
    metrics = copied_project.read_json("reports/evaluation/scores.json")
    assert metrics["data"] == "photos.zip (not drawn by this project)"
    assert set(metrics) >= {"test_PublicTest", "test_PrivateTest"}
    logs = copied_project.folder / "reports/tensorboard" / train.info.run_id
    assert list(logs.rglob("events.out.tfevents*"))
    assert copied_project.client.get_model_version(MODEL, "1").run_id == train.info.run_id


def test_a_preset_prints_options_for_an_experiment(copied_project: Project) -> None:
    shown = copied_project.run("emotion", "preset", "quick").stdout.split()
    smaller = ["-S", "train.epochs=1", "-S", "train.width=4"]
    copied_project.run("dvc", "exp", "run", *shown, *smaller, "--name", "with-preset", "train")
    train = copied_project.run_of("train")
    assert train.data.tags["dvc.experiment"] == "with-preset"
    assert train.data.params["train.batch_size"] == "128"
    assert train.data.params["tune.max_trials"] == "0"


def test_a_misspelled_preset_starts_no_experiment(copied_project: Project) -> None:
    done = copied_project.run("sh", "-c", "dvc exp run $(emotion preset qick)", check=False)
    assert done.returncode != 0
    assert "there is no preset qick" in done.stderr
    assert "Running stage" not in done.stdout
