"""Opening models from the registry and from folders."""

from pathlib import Path
from typing import Any

import pytest
import requests
import tensorflow as tf
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.registry import versions
from emotion.registry.promotion.ledger import ledger_run
from emotion.registry.signature import saved_model_of
from emotion.runtime.errors import UserError
from emotion.serving.model_source import NO_CHAMPION, REFERENCE_MODEL, open_model
from emotion.serving.predictor import Predictor
from support.project import ROOT, Project
from support.servers import free_port, serving


@pytest.mark.parametrize("is_registered", [True, False])
def test_the_reference_model_answers_where_there_is_no_champion(
    mlflow_store: Path, is_registered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_registered:
        ledger_run("facial-emotion", create=True)
    (mlflow_store / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with open_model(None) as bundle:
        assert (bundle.info.title, bundle.model.parent) == ("reference model", REFERENCE_MODEL)
    assert capsys.readouterr().err == f"{NO_CHAMPION}\n"


def test_a_version_with_changed_files_is_not_loaded(
    in_champion_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = versions.download_version

    def tampered(name: str, number: str, folder: Path) -> Path:
        downloaded = download(name, number, folder)
        with (saved_model_of(downloaded) / "saved_model.pb").open("ab") as file:
            file.write(b" ")
        return downloaded

    monkeypatch.setattr(versions, "download_version", tampered)
    with pytest.raises(UserError, match="the files of facial-emotion version 1 have changed since it was registered"):
        Predictor.from_champion()


@pytest.mark.parametrize("damage", ["nan", "1e9", "-0.1", "high", ""])
def test_the_error_for_a_damaged_threshold_names_the_tag(damage: str) -> None:
    version = versions.Version("3", "", 0, {versions.UNSURE_BELOW_TAG: damage}, "")
    with pytest.raises(UserError, match=r"the tag unsure_below of version 3 should be a number from 0 to 1"):
        _ = version.unsure_below


def test_a_model_with_disallowed_operations_is_not_loaded(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 48, 48, 1), tf.float32)])
    def serve(pixels: Any) -> Any:
        tf.io.write_file(str(tmp_path / "written"), "x")
        return pixels[:, 0, :7, 0]

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(UserError, match="its graph contains WriteFile, which may do more than compute"):
        Predictor.from_source(str(tmp_path / "model"))
    command = ["space", str(tmp_path / "space"), "--model", str(tmp_path / "model")]
    assert "its graph contains WriteFile" in str(CliRunner().invoke(app, command).exception)
    assert not (tmp_path / "space").exists()
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"probabilities": (1, 7)}, "does not accept 48x48 grayscale faces: 'novelty'"),
        ({"probabilities": (1, 7), "novelty": (1, 2)}, r"returns an output of shape \(1, 2\), expected \(1,\)"),
    ],
)
def test_a_model_whose_novelty_is_missing_or_of_another_shape_is_refused(
    outputs: dict[str, tuple[int, ...]], told: str, tmp_path: Path
) -> None:
    pixels = tf.TensorSpec((None, 48, 48, 1), tf.float32)
    module = tf.Module()
    module.serve = tf.function(lambda it: tf.zeros((1, 7)), input_signature=[pixels])
    module.assess = tf.function(
        lambda it: {name: tf.zeros(shape) for name, shape in outputs.items()}, input_signature=[pixels]
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(UserError, match=told):
        Predictor.from_source(str(tmp_path / "model"))


def test_the_champion_is_opened_with_its_metrics_threshold_and_card(in_champion_project: Project) -> None:
    metrics = in_champion_project.read_json("reports/evaluation/scores.json")
    with open_model(None) as it:
        assert it.info.title == "facial-emotion version 1"
        assert it.info.unsure_below == metrics["test_answered"]["unsure_below"]
        assert float(it.info.facts["test.accuracy"]) == pytest.approx(metrics["test"]["accuracy"], abs=1e-4)
        assert it.info.shown_card.startswith("# facial-emotion version 1")
        assert it.classifier is not None
        assert it.classifier.exists()


def test_mlflow_serves_the_champion_for_the_readmes_curl_request(champion_project: Project, tmp_path: Path) -> None:
    """With the example request that is logged with every version."""
    port, model = free_port(), "models:/facial-emotion@champion"
    project = Project(champion_project.folder)
    project.environment |= {"MLFLOW_TRACKING_URI": project.store}
    project.run("mlflow", "artifacts", "download", "-u", f"{model}/serving_input_example.json", "-d", str(tmp_path))
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    with serving(command, project, port, prints_address=False):
        answered = requests.post(
            f"http://127.0.0.1:{port}/invocations", (tmp_path / "serving_input_example.json").read_bytes(),
            headers={"Content-Type": "application/json"}, timeout=30,
        )  # fmt: skip
    (answer,) = answered.json()["predictions"]
    assert len(answer) == 7
    assert sum(answer) == pytest.approx(1, abs=1e-4)
