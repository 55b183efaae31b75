"""From a version back: trace, reproduction, reaping, the doctor, the model card; and the command line of the gate."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import Project, imported

from emotion.registry import reproduce as reproduction
from emotion.runtime.errors import UserError
from emotion.runtime import processes

MODEL = "facial-emotion"
LENIENT = {"min_accuracy": 0.0, "max_calibration_error": 1.0, "max_latency_ratio": 1e6}


def client(project: Project) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(project.store)


def change_gate(project: Project, **bounds: float) -> None:
    for key, value in bounds.items():
        project.set(**{f"register__gate__{key}": value})


def test_exit_codes_tell_a_script_what_came_of_a_promotion(copied_project: Project) -> None:
    project = copied_project
    project.run("emotion", "restore")
    change_gate(project, min_accuracy=0.999)
    rejected = project.run("emotion", "promote", "1", check=False)
    assert rejected.returncode == 4
    assert re.search(r"accuracy +│ 0\.\d+ +│ >= 0\.999 +│ failed", rejected.stdout)
    assert rejected.stdout.endswith(f"{MODEL} version 1: REJECTED.\n")
    assert client(project).get_model_version(MODEL, "1").tags["gate.verdict"] == "REJECTED"
    without_reason = project.run("emotion", "promote", "1", "--force", check=False)
    assert (without_reason.returncode, without_reason.stderr) == (
        1, "emotion: --force needs a --reason, which is recorded.\n",
    )  # fmt: skip

    change_gate(project, **LENIENT)
    dry = project.run("emotion", "promote", "1", "--dry-run")
    assert "PROMOTED (dry run: nothing was changed)" in dry.stdout
    assert "There is no champion." in project.run("emotion", "history").stdout
    first = project.run("emotion", "promote", "1", "--reason", "the first [of many]")
    assert first.stdout.endswith("It is the champion; there was none before.\n")
    assert project.run("emotion", "promote", "1").stdout == f"{MODEL} version 1 is the champion already.\n"
    shown = project.run("emotion", "history")
    assert "the first [of many]" in shown.stdout
    assert "champion: version 1" in shown.stdout
    (entry,) = json.loads(project.run("emotion", "history", "--json").stdout)
    assert entry["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    nowhere = project.run("emotion", "rollback", check=False)
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith(f"emotion: {MODEL} has no champion before 1 to go back to.")
    missing = project.run("emotion", "promote", "7", check=False)
    assert (missing.returncode, missing.stderr) == (1, f"emotion: {MODEL} has no version 7. It has: 1.\n")


def test_a_trace_leads_from_a_version_to_all_that_made_it(finished_project: Project) -> None:
    found = json.loads(finished_project.run("emotion", "trace", "1", "--json").stdout)
    run = client(finished_project).get_run(found["training"]["run"])
    logged = client(finished_project).download_artifacts(run.info.run_id, "source/dvc.lock")
    assert {"fetch", "preprocess", "tune", "train"} <= set(yaml.safe_load(Path(logged).read_text())["stages"])
    assert found["code"]["commit"] == finished_project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert found["code"]["uncommitted changes"] == "none"
    assert re.fullmatch("[0-9a-f]{64}", found["code"]["dvc.lock, SHA-256"])
    source = json.loads((finished_project.folder / "data/raw/source.json").read_text())
    assert found["data"]["archive, SHA-256"] == source["sha256"]
    assert found["data"]["dataset, DVC's hash"].endswith(".dir")
    chosen = json.loads((finished_project.folder / "models/hyperparameters.json").read_text())
    assert (found["search"]["run"], found["search"]["trial"]) == (chosen["run_id"], chosen["trial"])
    assert found["search"]["trial's run"] == chosen["trial_run_id"]
    assert found["training"]["seed"] == "0"
    assert "tensorflow 2" in found["training"]["libraries"]
    assert "cores" in found["training"]["machine"]
    assert "@" in found["version"]["registered by"]
    assert found["parameters"] == run.data.params
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert found["metrics"]["test.accuracy"] == pytest.approx(metrics["test"]["accuracy"], abs=1e-4)
    assert "facial-emotion" in finished_project.run("emotion", "trace", "1").stdout


@pytest.mark.parametrize("command", [["history"], ["trace", "1"], ["doctor"], ["reap"]])
def test_looking_does_without_tensorflow(finished_project: Project, command: list[str]) -> None:
    heavy = imported(
        finished_project.run(sys.executable, "-X", "importtime", "-m", "emotion.cli.main", *command).stderr
    )
    assert "emotion.cli.tables" in heavy or command == ["reap"]
    assert not heavy & {"tensorflow", "keras", "sklearn"}


def test_a_version_is_reproduced_from_its_commit_its_patch_and_its_data(copied_project: Project) -> None:
    project = copied_project
    source = project.folder / "src/emotion/training/trainer.py"
    source.write_text(source.read_text() + "\n# not committed\n")
    project.set(train__epochs=1, train__seed=5)
    project.run("dvc", "repro")
    project.run("git", "checkout", "--quiet", "src", "params.yaml")
    done = project.run("emotion", "reproduce", "1")
    assert "The data came from DVC's cache." in done.stdout
    assert re.search(r"The same: all \d\d+ metrics are those on record\.", done.stdout), done.stdout
    tag = client(project).get_model_version(MODEL, "1").tags["reproduced"]
    assert tag.endswith(": the same metrics")
    assert len(project.run("git", "worktree", "list").stdout.splitlines()) == 1
    assert len(client(project).search_runs(["1"], "attributes.run_name = 'train'")) == 1  # none of the reproduction
    missing = project.run("emotion", "reproduce", "9", check=False)
    assert missing.stderr == f"emotion: {MODEL} has no version 9. It has: 1.\n"


def test_data_that_no_cache_has_comes_from_its_source_and_must_be_the_same(
    copied_project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(copied_project.folder)
    copied_project.run("dvc", "remote", "add", "--local", "--default", "storage", str(tmp_path / "remote"))
    copied_project.run("dvc", "push", "fetch")
    sha256 = json.loads((copied_project.folder / "data/raw/source.json").read_text())["sha256"]
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    commit = copied_project.run("git", "rev-parse", "HEAD").stdout.strip()
    with reproduction.worktree(commit) as tree:
        shutil.copy(copied_project.folder / "dvc.lock", tree)
        reproduction._share_the_cache(tree)
        assert reproduction._bring_data(tree, "fetch", sha256) == "a DVC remote"
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    with reproduction.worktree(commit) as tree:
        shutil.copy(copied_project.folder / "dvc.lock", tree)
        reproduction._share_the_cache(tree)
        assert reproduction._bring_data(tree, "fetch", sha256) == "its source"
        with pytest.raises(UserError, match="gave another archive: its SHA-256 is"):
            reproduction._bring_data(tree, "fetch", "0" * 64)
    assert not tree.exists()
    with pytest.raises(UserError, match="is not in this repository"), reproduction.worktree("f" * 40):
        pass


def test_runs_of_processes_that_are_gone_are_reaped_and_live_ones_left_alone(copied_project: Project) -> None:
    copied_project.run("emotion", "reap")  # makes the store
    copied_project.set(fetch__images=100_000)

    def start() -> "subprocess.Popen[bytes]":
        open_before = len(open_runs())
        process = subprocess.Popen(
            [sys.executable, "-m", "emotion.fetch"], cwd=copied_project.folder, env=copied_project.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(open_runs()) == open_before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process

    def open_runs() -> list[str]:
        found = client(copied_project).search_runs(["1"], "attributes.status = 'RUNNING'")
        return [run.info.run_id for run in found]

    dead = start()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    (orphan,) = open_runs()
    alive = start()
    try:
        said = copied_project.run("emotion", "reap").stdout
        assert f"fetch {orphan}: KILLED" in said
        assert said.endswith("1 runs were marked KILLED, 1 left alone.\n")
        assert client(copied_project).get_run(orphan).info.status == "KILLED"
        assert len(open_runs()) == 1
    finally:
        alive.send_signal(signal.SIGTERM)
        alive.wait(timeout=30)


def test_a_process_is_gone_once_it_has_ended_and_not_before() -> None:
    assert not processes.is_gone(processes.this())
    machine, boot, number, started = processes.this().split(" ")
    assert processes.is_gone(f"{machine} {boot} {number} {int(started) + 1}")  # its number was given again
    assert processes.is_gone(f"{machine} 00000000 {number} {started}")  # the machine was started anew
    assert not processes.is_gone(f"elsewhere {boot} {number} {started}")
    assert not processes.is_gone("")


def test_the_doctor_finds_what_is_ill_and_says_how_to_mend_it(copied_project: Project) -> None:
    def examined(code: int, **environment: str) -> str:
        done = copied_project.run("emotion", "doctor", check=False, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    well = examined(0)
    for subject in ("Python", "git", "disk", "memory", "processor", "MLflow", "journal", "Kaggle", "DVC"):
        assert subject in well
    assert "made by the first run" in well
    copied_project.run("emotion", "restore")
    assert "schema" in examined(0)
    assert "cannot be used" in examined(1, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    assert "secret" not in examined(1, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    token = "KGAT_very_secret"
    shown = examined(0, KAGGLE_API_TOKEN=token)
    assert "credentials in KAGGLE_API_TOKEN" in shown
    assert token not in shown
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    shutil.rmtree(copied_project.folder / "data/faces")
    assert "neither here nor in the cache: data/faces" in examined(0)
    (copied_project.folder / "dvc.lock").write_text("no: [yaml")
    assert "`git checkout dvc.lock`" in examined(1)


def test_the_model_card_tells_data_limits_use_figures_and_origin(finished_project: Project) -> None:
    folder = finished_project.folder / "models/model_card"
    text, page = (folder / "model_card.md").read_text(), (folder / "model_card.html").read_text()
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert text.startswith(f"# {MODEL} version 1\n")
    accuracy = f"{metrics['test']['accuracy']:.3f}"
    assert re.search(rf"\| test \| {metrics['test']['images']} \| {accuracy} \(0\.\d+ to 0\.\d+\)", text)
    for words in ("**Intended**", "**Not intended**", "**drawings**", "**Leaks**", "**Unbalanced**", "**Whose faces**"):
        assert words in text
    run_id = json.loads((finished_project.folder / "models/registered.json").read_text())["run_id"]
    assert f"| MLflow run | `{run_id}` |" in text
    assert page.count("data:image/png;base64,") == 5
    assert "<table>" in page
    assert 'src="http' not in page
    logged = {file.path for file in client(finished_project).list_artifacts(run_id, "model_card")}
    assert logged == {"model_card/model_card.md", "model_card/model_card.html"}


def test_what_a_person_promoting_wants_to_see_is_figure_table_and_metric(finished_project: Project) -> None:
    evaluation = finished_project.folder / "reports/evaluation"
    for name in ("reliability", "coverage", "robustness", "mistakes"):
        assert (evaluation / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len((evaluation / f"{name}.csv").read_text().splitlines()) > 2
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert set(metrics["test_robustness"]) == {"none", "brightness", "blur", "noise", "rotation", "occlusion"}
    run_id = json.loads((finished_project.folder / "models/registered.json").read_text())["run_id"]
    logged = client(finished_project).get_run(run_id).data
    for name in ("test.coverage_at_90", "test.confident_mistakes", "test_robustness.blur"):
        assert name in logged.metrics
    assert 0.2 <= float(logged.tags["temperature"]) <= 5
