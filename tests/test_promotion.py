"""Promotion, rollback and their record, in a real registry: versions that answer from a table."""

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
import tensorflow as tf
import yaml
from conftest import ROOT

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.inference import op_allowlist as saved_model
from emotion.networks.build import build
from emotion.networks.inference import export, serving_network
from emotion.params import Params, Transfer
from emotion.registry import registration
from emotion.registry import versions as registry
from emotion.registry.promotion import promote as promotion
from emotion.registry.promotion.history import Entry
from emotion.runtime.errors import UserError
from emotion.tracking import client as store
from emotion.tracking import runs as tracking

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras
NAME = "facial-emotion"
COUNT = 350
LABELS = np.arange(COUNT) % 7
DISGUST = EMOTIONS.index("disgust")


def numbered_images() -> Split:
    """Images that say by two pixels which they are."""
    images = np.zeros((COUNT, 48, 48), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(COUNT), 256)
    index = pd.DataFrame({"name": [f"{n}.png" for n in range(COUNT)], "emotion": [EMOTIONS[n] for n in LABELS]})
    return Split(images, LABELS, index)


class FromATable(tf.Module):
    """Answers image by image as it was told to."""

    def __init__(self, probabilities: np.ndarray, trick: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self.table = tf.Variable(probabilities)
        self.trick = trick

    @tf.function(input_signature=[tf.TensorSpec((None, 48, 48, 1), tf.float32, name="pixels")])
    def serve(self, pixels: tf.Tensor) -> tf.Tensor:
        number = tf.cast(pixels[:, 0, 0, 0] * 256 + pixels[:, 0, 1, 0], tf.int32)
        return self.trick(tf.gather(self.table, tf.minimum(number, COUNT - 1)))


def table(wrong: np.ndarray) -> np.ndarray:
    """Right but for the marked images, which are called the next emotion."""
    predicted = np.where(wrong, (LABELS + 1) % 7, LABELS)
    return np.asarray(np.eye(7)[predicted] * 0.93 + 0.01, np.float32)


def wrong_in(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(COUNT) < share


@pytest.fixture(scope="module")
def an_mlflow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that was really registered."""
    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_EXPERIMENT_ID", "0")
        store.forget()
        network = build("vgg", 1, 0.0, Transfer(weights="none", image_size=32))
        network.save(folder / "classifier.keras")
        export(serving_network(network, "plain"), folder / "saved_model")
        with tracking.run("train", {}, {}) as run_id:
            version = registration.register(NAME, run_id, folder / "classifier.keras", folder / "saved_model", {}, "")
        registered = registry.version(NAME, str(version.version))
        downloaded = registry.download(NAME, "1", folder / "downloaded")
        assert registered.files == registry.file_digests(downloaded)
        assert {"MLmodel", "data/model/saved_model.pb"} <= set(registered.files)
        store.forget()
    keras.backend.clear_session()
    return downloaded


@pytest.fixture(autouse=True)
def project(mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store, and test images that the versions know."""

    class Faces:
        def split(self, name: str) -> Split:
            assert name == "test"
            return numbered_images()

    monkeypatch.setattr(promotion, "open_faces", Faces)
    return mlflow_store


@pytest.fixture
def bounds(settings: Params) -> Params:
    """Neither latency, which is noisy, nor calibration is what these tests are about."""
    gate = settings.register_.gate.model_copy(update={"max_latency_ratio": 1e6, "max_calibration_error": 1.0})
    return settings.model_copy(update={"register_": settings.register_.model_copy(update={"gate": gate})})


@pytest.fixture
def add(project: Path, an_mlflow_model: Path) -> Callable[..., str]:
    """Registers a version that answers as told, and gives its number."""

    def add_version(wrong: np.ndarray, trick: Callable[[tf.Tensor], tf.Tensor] = tf.identity, **tags: str) -> str:
        with tracking.run("train", {}, {}) as run_id:
            pass
        folder = project / "models" / run_id
        shutil.copytree(an_mlflow_model, folder)
        model = registry.saved_model_of(folder)
        shutil.rmtree(model)
        module = FromATable(table(wrong), trick)
        tf.saved_model.save(module, str(model), signatures=module.serve)
        registry.history_run(NAME, make=True)
        version = store.connect().create_model_version(NAME, str(folder), run_id)
        files = json.dumps(registry.file_digests(folder))
        registry.tag_version(NAME, str(version.version), {registry.FILES: files, "git.commit": "c0ffee", **tags})
        return str(version.version)

    return add_version


def aliases() -> dict[str, str]:
    return registry.aliases(NAME)


def rule(decision: promotion.Decision, name: str) -> Any:
    assert decision.verdict
    return next(rule for rule in decision.verdict.rules if rule.name == name)


def tags_of(number: str) -> dict[str, str]:
    return registry.version(NAME, number).tags


def test_a_first_champion_needs_to_be_good_by_itself_only(add: Any, bounds: Params) -> None:
    decision = promotion.promote(bounds, add(wrong_in(0.1)), reason="the first")
    assert decision.outcome == "PROMOTED"
    assert decision.verdict
    assert {rule.kind for rule in decision.verdict.rules} == {"sound", "absolute"}
    assert aliases() == {"champion": "1"}
    (entry,) = promotion.read(NAME)
    assert (entry.action, entry.version, entry.before, entry.reason) == ("promote", "1", None, "the first")
    assert (entry.commit, entry.verdict, entry.forced) == ("c0ffee", "PROMOTED", False)
    assert "@" in entry.by


def test_the_verdict_is_on_the_version_and_in_a_run_also_where_it_is_a_refusal(add: Any, bounds: Params) -> None:
    decision = promotion.promote(bounds, add(wrong_in(0.7)), reason="a try")
    assert decision.outcome == "REJECTED"
    assert not rule(decision, "accuracy").passed
    assert aliases() == {}
    assert not promotion.read(NAME)
    tags = tags_of("1")
    assert (tags["gate.verdict"], tags["gate.reason"], tags["gate.forced"]) == ("REJECTED", "a try", "false")
    (run,) = tracking.runs(name="promote 1")
    assert run.id == tags["gate.run_id"]
    assert run.tags["verdict"] == "REJECTED"
    assert float(run.params["gate.min_accuracy"]) == bounds.register_.gate.min_accuracy
    assert run.metrics["candidate.accuracy"] == pytest.approx(1 - wrong_in(0.7).mean())
    written = tracking.artifact(run.id, "verdict.json")
    assert written
    assert {"accuracy"} <= {rule["name"] for rule in json.loads(written.read_text())["rules"] if not rule["passed"]}
    page = tracking.artifact(run.id, "verdict.md")
    assert page
    assert "**failed**" in page.read_text()


def test_a_worse_candidate_is_held_and_a_better_one_promoted(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.15)))
    held = promotion.promote(bounds, add(wrong_in(0.15) | wrong_in(0.1, seed=1)))
    assert held.outcome == "HELD"
    assert aliases() == {"champion": "1"}
    assert promotion.promote(bounds, add(wrong_in(0.05))).outcome == "PROMOTED"
    assert aliases() == {"champion": "3", "previous": "1"}


def test_better_overall_and_worse_for_disgust_is_held(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.3)))
    wrong = wrong_in(0.02)
    wrong[(LABELS == DISGUST) & (np.arange(COUNT) % 2 == 0)] = True
    decision = promotion.promote(bounds, add(wrong))
    assert decision.outcome == "HELD"
    assert decision.verdict
    (failed,) = decision.verdict.failed
    assert failed.name == "largest loss of recall"
    assert "disgust" in failed.figure


def test_a_tie_is_promoted(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    assert promotion.promote(bounds, add(wrong_in(0.1))).outcome == "PROMOTED"


def test_candidate_and_champion_answer_the_same_images_afresh(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    number = add(wrong_in(0.2), **{"test.accuracy": "0.99"})  # what it says of itself counts for nothing
    decision = promotion.promote(bounds, number, dry_run=True)
    assert decision.verdict
    assert decision.verdict.figures["candidate.accuracy"] == pytest.approx(1 - wrong_in(0.2).mean())
    assert decision.verdict.figures["champion.accuracy"] == pytest.approx(1 - wrong_in(0.1).mean())


def test_a_dry_run_writes_nothing(add: Any, bounds: Params) -> None:
    number = add(wrong_in(0.1))
    before = tags_of(number), len(tracking.runs())
    assert promotion.promote(bounds, number, dry_run=True).outcome == "PROMOTED"
    assert (tags_of(number), len(tracking.runs())) == before
    assert aliases() == {}


def test_the_champion_is_not_promoted_again(add: Any, bounds: Params) -> None:
    number = add(wrong_in(0.1))
    promotion.promote(bounds, number)
    assert promotion.promote(bounds, number).outcome == "UNCHANGED"
    assert len(promotion.read(NAME)) == 1


def test_tampered_weights_are_rejected_and_not_even_loaded(add: Any, bounds: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (weights,) = (project / "models").rglob("variables.data-*")
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    decision = promotion.promote(bounds, number, force=True, reason="it is fine, really")
    assert decision.outcome == "REJECTED"
    assert not decision.forced
    assert "variables.data-00000-of-00001" in rule(decision, "files").figure
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
    return tf.reshape(tf.py_function(lambda it: it, [answer], tf.float32), (-1, 7))


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
def test_a_graph_that_may_do_more_than_compute_is_rejected(
    add: Any, bounds: Params, trick: Callable[[tf.Tensor], tf.Tensor], operation: str
) -> None:
    decision = promotion.promote(bounds, add(wrong_in(0.1), trick))
    assert decision.outcome == "REJECTED"
    assert operation in rule(decision, "operations").figure
    assert decision.verdict
    assert [rule.name for rule in decision.verdict.rules] == ["files", "operations"]


def test_what_may_save_variables_may_not_be_called_to_answer(tmp_path: Path) -> None:
    """The functions that save and restore read and write files: only the loader may call them."""
    module = FromATable(table(wrong_in(0.1)), tf.identity)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    assert not saved_model.forbidden_operations(tmp_path / "model")
    parsed = saved_model._parsed(tmp_path / "model")
    (graph,) = parsed.meta_graphs
    saver = next(f.signature.name for f in graph.graph_def.library.function if "save" in f.signature.name)
    serving = next(f for f in graph.graph_def.library.function if "serve" in f.signature.name)
    call = serving.node_def.add()
    call.name = "innocent"
    call.op = "StatefulPartitionedCall"
    call.attr["f"].func.name = saver
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "SaveV2" in saved_model.forbidden_operations(tmp_path / "model")
    call.ClearField("attr")
    call.op = saver  # a function may also be called by its name
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "SaveV2" in saved_model.forbidden_operations(tmp_path / "model")


def test_a_graph_of_tensorflow_1_whose_loader_runs_it_is_refused(tmp_path: Path) -> None:
    module = FromATable(table(wrong_in(0.1)), tf.identity)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    parsed = saved_model._parsed(tmp_path / "model")
    parsed.meta_graphs[0].ClearField("object_graph_def")
    (tmp_path / "model/saved_model.pb").write_bytes(parsed.SerializeToString())
    assert "a graph of TensorFlow 1" in saved_model.forbidden_operations(tmp_path / "model")
    (tmp_path / "model/saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(UserError, match="is no SavedModel"):
        saved_model.forbidden_operations(tmp_path / "model")


def test_answers_that_are_no_distribution_are_rejected(add: Any, bounds: Params) -> None:
    decision = promotion.promote(bounds, add(wrong_in(0.1), lambda answer: answer * 2))
    assert decision.outcome == "REJECTED"
    assert rule(decision, "answer").figure == "shape (1, 7), sum 2"


def test_another_signature_is_rejected(add: Any, bounds: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    content = yaml.safe_load(about.read_text())
    content["signature"]["inputs"] = content["signature"]["inputs"].replace("48, 48, 1", "96, 96, 3")
    about.write_text(yaml.safe_dump(content))
    files = json.dumps(registry.file_digests(about.parent))
    registry.tag_version(NAME, number, {registry.FILES: files})
    decision = promotion.promote(bounds, number)
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
def test_a_version_of_which_mlflow_would_run_something_else_is_rejected(
    add: Any, bounds: Params, project: Path, change: dict[str, Any]
) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    content = yaml.safe_load(about.read_text())
    content["flavors"] |= change
    about.write_text(yaml.safe_dump(content))
    registry.tag_version(NAME, number, {registry.FILES: json.dumps(registry.file_digests(about.parent))})
    decision = promotion.promote(bounds, number)
    assert decision.outcome == "REJECTED"
    assert not rule(decision, "what MLflow would run").passed


def test_a_file_beside_the_saved_model_is_rejected(add: Any, bounds: Params, project: Path) -> None:
    number = add(wrong_in(0.1))
    (about,) = (project / "models").rglob("MLmodel")
    (about.parent / "data/custom_objects.pkl").write_bytes(b"")
    registry.tag_version(NAME, number, {registry.FILES: json.dumps(registry.file_digests(about.parent))})
    assert promotion.promote(bounds, number).outcome == "REJECTED"


def test_answers_are_looked_at_for_all_test_images(add: Any, bounds: Params) -> None:
    def breaks_on_angry(answer: tf.Tensor) -> tf.Tensor:
        return tf.where(answer[:, :1] > 0.5, answer * float("nan"), answer)

    decision = promotion.promote(bounds, add(wrong_in(0.1), breaks_on_angry))
    assert decision.outcome == "REJECTED"
    assert decision.verdict
    assert decision.verdict.failed[0].name.startswith("answer")


def test_a_version_of_other_data_is_held(add: Any, bounds: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion.tracking.provenance.data_hash", lambda: "aaaaaaaa.dir")
    number = add(wrong_in(0.1), **{"data.dvc_hash": "bbbbbbbb.dir"})
    decision = promotion.promote(bounds, number)
    assert decision.outcome == "HELD"
    assert rule(decision, "trained on").figure == "others: bbbbbbbb, here are aaaaaaaa"
    registry.tag_version(NAME, number, {"data.dvc_hash": "aaaaaaaa.dir"})
    assert promotion.promote(bounds, number).outcome == "PROMOTED"


def test_a_reason_that_an_entry_could_not_hold_is_refused(add: Any, bounds: Params) -> None:
    number = add(wrong_in(0.1))
    with pytest.raises(UserError, match="a reason has at most 500 characters, got 6000"):
        promotion.promote(bounds, number, reason="x" * 6000)
    with pytest.raises(UserError, match="at most 6000 characters"):
        registry.append_to_history(NAME, 1, "x" * 6001)
    longest = 'e"' * 250
    assert promotion.promote(bounds, number, reason=longest).outcome == "PROMOTED"
    assert promotion.read(NAME)[0].reason == longest


def test_a_store_that_refuses_an_entry_is_no_lost_race(
    add: Any, bounds: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(wrong_in(0.1))

    def refuse(*arguments: Any, **options: Any) -> None:
        raise mlflow.exceptions.MlflowException("Permission denied", error_code=7)

    monkeypatch.setattr(mlflow.MlflowClient, "log_param", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        promotion.change(NAME, [], Entry(action="promote", version="1"))


def test_a_dry_run_knows_of_aliases_set_by_hand(add: Any, bounds: Params) -> None:
    for share in (0.05, 0.3):
        add(wrong_in(share))
    store.connect().set_registered_model_alias(NAME, "champion", "1")
    decision = promotion.promote(bounds, "2", dry_run=True)
    assert (decision.outcome, decision.champion) == ("HELD", "1")
    assert not promotion.read(NAME)


def test_looking_at_a_model_that_is_not_there_makes_none(bounds: Params) -> None:
    with pytest.raises(UserError, match="MLflow has no registered model mistyped"):
        promotion.settle("mistyped")
    assert not store.connect().search_registered_models()


def test_a_version_without_digests_is_rejected(add: Any, bounds: Params) -> None:
    number = add(wrong_in(0.1))
    store.connect().delete_model_version_tag(NAME, number, registry.FILES)
    decision = promotion.promote(bounds, number)
    assert decision.outcome == "REJECTED"
    assert rule(decision, "files").figure == "no digests on record"


def test_force_needs_a_reason_and_is_recorded_as_forced(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    number = add(wrong_in(0.4))
    with pytest.raises(UserError, match="--force needs a --reason"):
        promotion.promote(bounds, number, force=True)
    decision = promotion.promote(bounds, number, force=True, reason="the old one is biased")
    assert (decision.outcome, decision.forced) == ("PROMOTED", True)
    assert aliases() == {"champion": "2", "previous": "1"}
    entry = promotion.read(NAME)[-1]
    assert (entry.verdict, entry.forced, entry.reason) == ("HELD", True, "the old one is biased")
    assert tags_of("2")["gate.forced"] == "true"


def test_rolling_back_goes_back_step_by_step_and_is_recorded(add: Any, bounds: Params) -> None:
    for share in (0.2, 0.1, 0.02):
        promotion.promote(bounds, add(wrong_in(share)))
    assert promotion.rollback(NAME, "it was slow").version == "2"
    assert aliases() == {"champion": "2", "previous": "1"}
    assert promotion.rollback(NAME).version == "1"
    assert aliases() == {"champion": "1"}
    with pytest.raises(UserError, match="has no champion before 1"):
        promotion.rollback(NAME)
    entries = [(e.action, e.version, e.before) for e in promotion.read(NAME)[3:]]
    assert entries == [("rollback", "2", "3"), ("rollback", "1", "2")]
    assert promotion.read(NAME)[3].reason == "it was slow"


def test_no_rollback_to_files_that_were_changed(add: Any, bounds: Params, project: Path) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    (graph,) = (project / "models").rglob("saved_model.pb")
    promotion.promote(bounds, add(wrong_in(0.05)))
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"version 1 is not what was registered: changed: data/model/saved_model\.pb"):
        promotion.rollback(NAME)
    assert aliases()["champion"] == "2"


def test_a_challenger_stands_beside_the_champion(add: Any, bounds: Params) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    assert promotion.promote(bounds, add(wrong_in(0.08)), to="challenger").outcome == "PROMOTED"
    assert aliases() == {"champion": "1", "challenger": "2"}
    with pytest.raises(UserError, match="does not challenge itself"):
        promotion.promote(bounds, "1", to="challenger")
    promotion.promote(bounds, "2")
    assert aliases() == {"champion": "2", "previous": "1"}


def test_an_unknown_version_is_one_message(add: Any, bounds: Params) -> None:
    add(wrong_in(0.1))
    with pytest.raises(UserError, match=r"facial-emotion has no version 7\. It has: 1\."):
        promotion.promote(bounds, "7")


def test_of_two_decisions_on_the_same_history_the_second_says_so_and_changes_nothing(add: Any, bounds: Params) -> None:
    for _ in range(3):
        add(wrong_in(0.1))
    promotion.promote(bounds, "1")
    entries = promotion.read(NAME)
    promotion.change(NAME, entries, Entry(action="promote", version="2", before="1"))
    with pytest.raises(promotion.OvertakenError, match=r"made another change first \(promote, version 2\)"):
        promotion.change(NAME, entries, Entry(action="promote", version="3", before="1"))
    assert aliases() == {"champion": "2", "previous": "1"}
    assert [entry.version for entry in promotion.read(NAME)] == ["1", "2"]


CHANGE = """
import os, signal, sys, time
from pathlib import Path
from mlflow import MlflowClient
from emotion.registry.promotion import promote as promotion
from emotion.registry.promotion.history import Entry

name, version, kill_at, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
done = 0

def dying(write):
    def call(*arguments, **options):
        global done
        done += 1
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments, **options)
    return call

entries = promotion.read(name)
for write in (
    "log_param", "set_model_version_tag", "set_registered_model_tag", "set_registered_model_alias",
    "delete_registered_model_alias",
):
    setattr(MlflowClient, write, dying(getattr(MlflowClient, write)))
Path(f"{start}-{os.getpid()}").touch()
while not start.exists():
    time.sleep(0.001)
try:
    entry = Entry(action="promote", version=version, before="1", verdict="PROMOTED", run_id="a run")
    promotion.change(name, entries, entry)
    print("whole", done)
except promotion.OvertakenError:
    sys.exit(5)
"""


def changing(version: str, kill_at: int, start: Path, **more: str) -> "subprocess.Popen[str]":
    """A process that makes a version champion once `start` is there, and kills itself before its nth write."""
    command = [sys.executable, "-c", CHANGE, NAME, version, str(kill_at), str(start)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | more
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_promotions_at_the_same_moment_one_wins_and_the_others_say_so(
    add: Any, bounds: Params, tmp_path: Path
) -> None:
    for _ in range(4):
        add(wrong_in(0.1))
    promotion.promote(bounds, "1")
    start = tmp_path / "start"
    processes = [changing(version, 0, start) for version in ("2", "3", "4")]
    while len(list(tmp_path.glob("start-*"))) < 3:
        assert all(process.poll() is None for process in processes), processes
        time.sleep(0.01)
    start.touch()
    said = [process.communicate(timeout=60) for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 5, 5], said
    promotion.settle(NAME)
    entries = promotion.read(NAME)
    assert len(entries) == 2
    assert aliases() == {"champion": entries[1].version, "previous": "1"}


def test_killed_between_any_two_steps_a_promotion_is_whole_or_was_none(
    add: Any, bounds: Params, tmp_path: Path
) -> None:
    for _ in range(2):
        add(wrong_in(0.1))
    promotion.promote(bounds, "1")
    (tmp_path / "start").touch()
    kill_at, killed = 0, True
    seen = set()
    while killed:
        kill_at += 1
        before = promotion.read(NAME)
        process = changing("2", kill_at, tmp_path / "start")
        out, error = process.communicate(timeout=60)
        killed = process.returncode == -signal.SIGKILL
        assert killed or out == f"whole {kill_at - 1}\n", error
        said = promotion.settle(NAME)
        after = promotion.read(NAME)
        seen.add(len(after) - len(before))
        if len(after) == len(before):  # killed before the decision was written: nothing has happened
            assert aliases() == {"champion": "1"}
            assert not said
            continue
        assert aliases() == {"champion": "2", "previous": "1"}
        assert tags_of("2")["gate.run_id"] == "a run"
        assert bool(said) == killed
        assert promotion.settle(NAME) == []
        promotion.rollback(NAME)
    assert seen == {0, 1}
    assert kill_at > 8


def test_aliases_that_were_changed_by_hand_are_taken_note_of(add: Any, bounds: Params) -> None:
    for _ in range(3):
        add(wrong_in(0.1))
    promotion.promote(bounds, "1")
    store.connect().set_registered_model_alias(NAME, "champion", "3")
    (said,) = promotion.settle(NAME)
    assert "changed outside of `emotion`: the champion is now 3" in said
    assert aliases() == {"champion": "3", "previous": "1"}
    assert promotion.read(NAME)[-1].action == "outside"
    store.connect().delete_registered_model_alias(NAME, "previous")
    assert promotion.settle(NAME) == ["the alias previous was put back to 1"]
    assert promotion.settle(NAME) == []


def test_a_deleted_champion_leaves_none_and_the_way_back(add: Any, bounds: Params) -> None:
    for _ in range(2):
        promotion.promote(bounds, add(wrong_in(0.1)))
    store.connect().delete_model_version(NAME, "2")
    assert promotion.current(NAME).champion is None
    assert aliases() == {"previous": "1"}
    assert promotion.rollback(NAME).version == "1"
    assert aliases() == {"champion": "1"}


def test_a_champion_whose_files_were_changed_cannot_be_compared_with(add: Any, bounds: Params, project: Path) -> None:
    promotion.promote(bounds, add(wrong_in(0.1)))
    (graph,) = (project / "models").rglob("saved_model.pb")
    graph.write_bytes(graph.read_bytes() + b"\0")
    decision = promotion.promote(bounds, add(wrong_in(0.05)))
    assert decision.outcome == "HELD"
    assert not rule(decision, "the champion can be asked").passed


def test_a_deleted_history_says_how_it_comes_back(add: Any, bounds: Params) -> None:
    add(wrong_in(0.1))
    run_id = registry.history_run(NAME)
    mlflow.delete_run(run_id)
    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {run_id}"):
        promotion.promote(bounds, "1")
