"""Integrity checks before a promotion: files, operations, signature, flavor and predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml

from emotion.params.sections import Params
from emotion.registry.promotion.promote import promote
from emotion.registry.versions import FILES_TAG, downloaded_digests, files_digest, tag_version
from emotion.tracking.client import connection
from support.versions import NAME, aliases, rule, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


def test_tampered_weights_are_rejected_without_loading(add: Any, lenient: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (weights,) = (project / "models").rglob("variables.data-*")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    decision = promote(lenient, number, force=True, reason="it is fine, really")
    assert decision.outcome == "REJECTED"
    assert not decision.forced
    assert "variables.data-00000-of-00001" in rule(decision, "files").value
    assert decision.verdict
    assert [rule.name for rule in decision.verdict.rules] == ["files"]
    assert aliases() == {}


def reads_a_file(answer: tf.Tensor) -> tf.Tensor:
    return answer + 0.0 * tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def writes_a_file(answer: tf.Tensor) -> tf.Tensor:
    tf.io.write_file("/tmp/planted", "here")
    return answer


def is_random(answer: tf.Tensor) -> tf.Tensor:
    return answer + 1e-6 * tf.random.uniform(tf.shape(answer))


def runs_python(answer: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.py_function(lambda x: x, [answer], tf.float32), (-1, 7))


def reads_a_file_within_a_condition(answer: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(answer) > 1e9, lambda: reads_a_file(answer), lambda: answer)


@pytest.mark.parametrize(
    ("trick", "operation"),
    [
        (reads_a_file, "ReadFile"),
        (writes_a_file, "WriteFile"),
        (is_random, "RandomUniform"),
        (runs_python, "EagerPyFunc"),
        (reads_a_file_within_a_condition, "ReadFile"),
    ],
)
def test_a_graph_with_disallowed_operations_is_rejected(
    add: Any, lenient: Params, trick: Callable[[tf.Tensor], tf.Tensor], operation: str
) -> None:
    decision = promote(lenient, add(wrong_in(0.1), trick))
    assert decision.outcome == "REJECTED"
    assert operation in rule(decision, "operations").value
    assert decision.verdict
    assert [rule.name for rule in decision.verdict.rules] == ["files", "provenance", "operations"]


def test_predictions_that_are_not_a_distribution_are_rejected(add: Any, lenient: Params) -> None:
    decision = promote(lenient, add(wrong_in(0.1), lambda answer: answer * 2))
    assert decision.outcome == "REJECTED"
    assert rule(decision, "prediction").value == "shape (1, 7), sum 2"


def test_an_unexpected_signature_is_rejected(add: Any, lenient: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    content = yaml.safe_load(about.read_text())
    content["signature"]["inputs"] = content["signature"]["inputs"].replace("48, 48, 1", "96, 96, 3")
    about.write_text(yaml.safe_dump(content))
    files = files_digest(downloaded_digests(about.parent))
    tag_version(NAME, number, {FILES_TAG: files})
    decision = promote(lenient, number)
    assert decision.outcome == "REJECTED"
    assert not rule(decision, "signature").passed


@pytest.mark.parametrize(
    "change",
    [
        {"python_function": {"loader_module": "evil", "code": "code"}},
        {"python_function": {"loader_module": "mlflow.keras", "code": "code"}},
        {"keras": {"data": "elsewhere", "save_exported_model": True}},
        {"keras": {"data": "data", "save_exported_model": False}},
        {"sklearn": {"pickled_model": "model.pkl"}},
    ],
)
def test_an_unexpected_mlflow_flavor_is_rejected(
    add: Any, lenient: Params, project: Path, change: dict[str, Any]
) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    content = yaml.safe_load(about.read_text())
    content["flavors"] |= change
    about.write_text(yaml.safe_dump(content))
    tag_version(NAME, number, {FILES_TAG: files_digest(downloaded_digests(about.parent))})
    decision = promote(lenient, number)
    assert decision.outcome == "REJECTED"
    assert not rule(decision, "MLflow flavor").passed


def test_an_extra_file_is_rejected(add: Any, lenient: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    (about.parent / "data/custom_objects.pkl").write_bytes(b"")
    tag_version(NAME, number, {FILES_TAG: files_digest(downloaded_digests(about.parent))})
    assert promote(lenient, number).outcome == "REJECTED"


def test_predictions_are_checked_on_all_test_images(add: Any, lenient: Params) -> None:
    def breaks_on_angry(answer: tf.Tensor) -> tf.Tensor:
        return tf.where(answer[:, :1] > 0.5, answer * float("nan"), answer)

    decision = promote(lenient, add(wrong_in(0.1), breaks_on_angry))
    assert decision.outcome == "REJECTED"
    assert decision.verdict
    assert decision.verdict.failed[0].name.startswith("prediction")


def test_a_version_trained_on_other_data_is_held(add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion.tracking.provenance.data_hash", lambda: "aaaaaaaa.dir")
    number = add(wrong_in(0.1), **{"data.dvc_hash": "bbbbbbbb.dir"})
    decision = promote(lenient, number)
    assert decision.outcome == "HELD"
    assert rule(decision, "training data").value == "another dataset: bbbbbbbb, not aaaaaaaa"
    tag_version(NAME, number, {"data.dvc_hash": "aaaaaaaa.dir"})
    assert promote(lenient, number).outcome == "PROMOTED"


def test_a_version_without_digests_is_rejected(add: Any, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    connection().client.delete_model_version_tag(NAME, number, FILES_TAG)
    decision = promote(lenient, number)
    assert decision.outcome == "REJECTED"
    assert rule(decision, "files").value == "no digests recorded"


def test_a_candidate_is_held_if_the_champions_files_have_changed(add: Any, lenient: Params, project: Path) -> None:
    promote(lenient, add(wrong_in(0.1)))
    (graph,) = (project / "models").rglob("saved_model.pb")
    graph.write_bytes(graph.read_bytes() + b"\0")
    decision = promote(lenient, add(wrong_in(0.05)))
    assert decision.outcome == "HELD"
    assert not rule(decision, "integrity of the champion").passed
