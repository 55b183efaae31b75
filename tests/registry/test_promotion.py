"""Promotion and rollback in a real registry, with versions that return fixed predictions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS, write_labels
from emotion.inference.load import predict
from emotion.params.sections import Params
from emotion.registry.promotion import promote as promotion
from emotion.registry.promotion.history import CHALLENGER, Entry
from emotion.registry.promotion.ledger import read_entries, write_entry
from emotion.registry.promotion.promote import promote, rollback
from emotion.registry.versions import get_version
from emotion.runtime.errors import UserError
from emotion.tracking.client import connection
from emotion.tracking.queries import read_artifact, search_runs
from support.versions import (
    COUNT,
    LABELS,
    NAME,
    aliases,
    numbered_images,
    rule,
    subset_of_images,
    tags_of,
    with_gate,
    wrong_in,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


DISGUST = EMOTIONS.index("disgust")


def test_the_first_champion_only_has_to_pass_the_thresholds(add: Any, lenient: Params) -> None:
    decision = promote(lenient, add(wrong_in(0.1)), reason="the first")
    assert decision.outcome == "PROMOTED"
    assert decision.verdict
    assert {rule.kind for rule in decision.verdict.rules} == {"integrity", "threshold"}
    assert aliases() == {"champion": "1"}
    (entry,) = read_entries(NAME)
    assert (entry.action, entry.version, entry.before, entry.reason) == ("promote", "1", None, "the first")
    assert (entry.commit, entry.verdict, entry.forced) == ("c0ffee", "PROMOTED", False)
    assert "@" in entry.by


def test_a_rejection_is_recorded_on_the_version_and_in_a_run(add: Any, lenient: Params) -> None:
    decision = promote(lenient, add(wrong_in(0.7)), reason="a try")
    assert decision.outcome == "REJECTED"
    assert not rule(decision, "accuracy").passed
    assert aliases() == {}
    assert not read_entries(NAME)
    tags = tags_of("1")
    assert tags["gate.champion"].startswith("REJECTED, by ")
    assert tags["gate.champion"].endswith(": a try")
    (run,) = search_runs("promote")
    assert run.id == tags["gate.champion.run_id"]
    assert run.tags["verdict"] == "REJECTED"
    assert float(run.params["gate.min_accuracy"]) == lenient.register_.gate.min_accuracy
    assert run.metrics["candidate/accuracy"] == pytest.approx(1 - wrong_in(0.7).mean())
    written = read_artifact(run.id, "verdict.json")
    assert written
    assert {"accuracy"} <= {rule["name"] for rule in json.loads(written)["rules"] if not rule["passed"]}
    page = read_artifact(run.id, "verdict.md")
    assert page
    assert b"**failed**" in page


def test_a_worse_candidate_is_held_and_a_better_one_promoted(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.15)))
    held = promote(lenient, add(wrong_in(0.15) | wrong_in(0.1, seed=1)))
    assert held.outcome == "HELD"
    assert aliases() == {"champion": "1"}
    assert promote(lenient, add(wrong_in(0.05))).outcome == "PROMOTED"
    assert aliases() == {"champion": "3", "previous": "1"}


def test_a_candidate_that_is_worse_for_disgust_is_held(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.3)))
    wrong = wrong_in(0.02)
    wrong[(LABELS == DISGUST) & (np.arange(COUNT) % 2 == 0)] = True
    decision = promote(lenient, add(wrong))
    assert decision.outcome == "HELD"
    assert decision.verdict
    (failed,) = decision.verdict.failed
    assert failed.name == "largest loss of recall"
    assert "disgust" in failed.value


def test_a_tie_is_held_unless_the_policy_is_not_worse(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.1)))
    assert promote(lenient, add(wrong_in(0.1))).outcome == "HELD"
    assert promote(with_gate(lenient, policy="not_worse"), "2").outcome == "PROMOTED"


def test_forced_promotions_and_rollbacks_do_not_lower_the_mark(add: Any, lenient: Params) -> None:
    for share in (0.2, 0.1):
        promote(lenient, add(wrong_in(share)))
    better_than_the_champion = add(wrong_in(0.15))
    rollback(NAME)
    decision = promote(lenient, better_than_the_champion)
    assert decision.outcome == "HELD"
    assert decision.verdict
    assert (decision.verdict.champion, decision.verdict.former) == ("1", "2")
    assert "Version 2, a former champion, has a higher accuracy" in decision.verdict.notes[0]
    promote(lenient, better_than_the_champion, force=True, reason="for a test")
    assert promote(lenient, add(wrong_in(0.12))).outcome == "HELD"
    assert promote(lenient, add(wrong_in(0.02))).outcome == "PROMOTED"


def test_a_version_answers_the_test_images_once(
    add: Any, lenient: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[int] = []

    def spy(model: Any, images: np.ndarray, batch_size: int) -> np.ndarray:
        predicted.append(len(images))
        return predict(model, images, batch_size)

    monkeypatch.setattr("emotion.inference.load.predict", spy)
    for share in (0.2, 0.1, 0.02):
        promote(lenient, add(wrong_in(share)))
    assert predicted.count(COUNT) == 3
    assert len(list(project.rglob("answers-*.npy"))) == 3


def test_damaged_answers_are_predicted_again(add: Any, lenient: Params, project: Path) -> None:
    promote(lenient, add(wrong_in(0.1)))
    (kept,) = project.rglob("answers-*.npy")
    for content in (
        b"",
        b"damaged",
        kept.read_bytes()[:-8],
        kept.read_bytes()[:-8] + 8 * b"\xff",
        b"PK\3\4" + bytes(50),
    ):
        kept.write_bytes(content)
        decision = promote(lenient, add(wrong_in(0.05)), dry_run=True)
        assert decision.verdict
        assert decision.verdict.metrics["champion/accuracy"] == pytest.approx(1 - wrong_in(0.1).mean())


def test_the_verdict_says_how_often_the_test_images_have_decided(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.2)))
    promote(lenient, add(wrong_in(0.3)))
    number = add(wrong_in(0.1))
    promote(lenient, number, dry_run=True)  # decides nothing
    decision = promote(with_gate(lenient, max_uses=2), number)
    assert decision.verdict
    assert decision.verdict.uses == 3
    worn = decision.verdict.notes[-1]
    assert worn.startswith(
        "These test images have decided 3 times about 3 versions of this model. If all 3 were equally"
    )
    assert "WARNING: this is more often than register.gate.max_uses (2)." in worn
    assert [entry.uses for entry in read_entries(NAME)] == [1, 3]


def other_emotions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test images have contempt instead of neutral."""

    class Dataset:
        def split(self, name: str) -> Split:
            images = subset_of_images(0) if name == "gate" else numbered_images()
            return replace(images, emotions=tuple("contempt" if it == "neutral" else it for it in EMOTIONS))

    monkeypatch.setattr(promotion, "open_dataset", Dataset)


def test_a_version_is_not_compared_on_test_images_of_other_emotions(
    add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = add(wrong_in(0.1))
    other_emotions(monkeypatch)
    with pytest.raises(UserError) as error:
        promote(lenient, number)
    for text in (
        "version 1 tells 7 emotions (",
        "neutral",
        "the test images have 7 emotions (",
        "contempt",
        "not compared",
    ):
        assert text in str(error.value)
    assert not aliases()
    assert not search_runs("promote"), "no verdict is recorded about the version"


def test_a_champion_of_other_emotions_is_compared_on_nothing_and_must_be_forced(
    add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(lenient, add(wrong_in(0.1)))
    saved = add(wrong_in(0.05))
    other_emotions(monkeypatch)
    folder = Path(str(get_version(NAME, saved).source)) / "data/model"
    write_labels(folder, [*("contempt" if it == "neutral" else it for it in EMOTIONS)])
    monkeypatch.setattr("emotion.registry.promotion.gate.checks.changed_files", lambda *_: [])
    held = promote(lenient, saved)
    assert held.outcome == "HELD"
    assert rule(held, "emotions of the champion").value.startswith("7 emotions (angry, disgust, fear, happy, neutral")
    assert promote(lenient, saved, force=True, reason="other emotions").outcome == "PROMOTED"


def test_images_that_were_set_aside_decide_alone(add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dataset:
        def split(self, name: str) -> Split:
            return subset_of_images(100) if name == "gate" else numbered_images()

    monkeypatch.setattr(promotion, "open_dataset", Dataset)
    decision = promote(lenient, add(wrong_in(0.1)))
    assert decision.verdict
    assert decision.verdict.metrics["candidate/images"] == 100


def test_candidate_and_champion_are_reevaluated_on_the_same_images(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.1)))
    number = add(wrong_in(0.2), **{"test.accuracy": "0.99"})  # the version's own tag is ignored
    decision = promote(lenient, number, dry_run=True)
    assert decision.verdict
    assert decision.verdict.metrics["candidate/accuracy"] == pytest.approx(1 - wrong_in(0.2).mean())
    assert decision.verdict.metrics["champion/accuracy"] == pytest.approx(1 - wrong_in(0.1).mean())


def test_a_dry_run_writes_nothing(add: Any, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    before = tags_of(number), len(search_runs())
    assert promote(lenient, number, dry_run=True).outcome == "PROMOTED"
    assert (tags_of(number), len(search_runs())) == before
    assert aliases() == {}


def test_the_champion_is_not_promoted_again(add: Any, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    promote(lenient, number)
    assert promote(lenient, number).outcome == "UNCHANGED"
    assert len(read_entries(NAME)) == 1


def test_a_reason_that_is_too_long_is_rejected(add: Any, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    with pytest.raises(UserError, match="a reason can have at most 500 characters, got 6000"):
        promote(lenient, number, reason="x" * 6000)
    with pytest.raises(UserError, match="at most 6000 characters"):
        write_entry(NAME, [], Entry(action="promote", version="1", reason="x" * 6000))
    longest = 'e"' * 250
    assert promote(lenient, number, reason=longest).outcome == "PROMOTED"
    assert read_entries(NAME)[0].reason == longest


def test_a_dry_run_respects_aliases_set_by_hand(add: Any, lenient: Params) -> None:
    for share in (0.05, 0.3):
        add(wrong_in(share))
    connection().client.set_registered_model_alias(NAME, "champion", "1")
    decision = promote(lenient, "2", dry_run=True)
    assert (decision.outcome, decision.champion) == ("HELD", "1")
    assert not read_entries(NAME)


def test_force_needs_a_reason_and_is_recorded_as_forced(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.1)))
    number = add(wrong_in(0.4))
    with pytest.raises(UserError, match="--force needs a --reason"):
        promote(lenient, number, force=True)
    decision = promote(lenient, number, force=True, reason="the old one is biased")
    assert (decision.outcome, decision.forced) == ("PROMOTED", True)
    assert aliases() == {"champion": "2", "previous": "1"}
    entry = read_entries(NAME)[-1]
    assert (entry.verdict, entry.forced, entry.reason) == ("HELD", True, "the old one is biased")
    assert tags_of("2")["gate.champion"].startswith("HELD, promoted by force, by ")
    (run,) = [run for run in search_runs("promote") if run.tags["forced"] == "true"]
    assert run.name == "promote 2 · HELD, forced"
    promote(lenient, add(wrong_in(0.05)))
    promote(lenient, "2", to=CHALLENGER)
    assert tags_of("2")["gate.champion"].startswith("HELD, promoted by force, by ")
    description = connection().client.get_model_version(NAME, "2").description
    assert "### Verdict for the champion\n\n**HELD, promoted by force, by " in description
    assert "### Verdict for the challenger\n\n**" in description


def test_rollbacks_go_back_step_by_step_and_are_recorded(add: Any, lenient: Params) -> None:
    for share in (0.2, 0.1, 0.02):
        promote(lenient, add(wrong_in(share)))
    assert rollback(NAME, "it was slow").version == "2"
    assert aliases() == {"champion": "2", "previous": "1"}
    assert rollback(NAME).version == "1"
    assert aliases() == {"champion": "1"}
    with pytest.raises(UserError, match="has no previous champion to roll back to"):
        rollback(NAME)
    entries = [(e.action, e.version, e.before) for e in read_entries(NAME)[3:]]
    assert entries == [("rollback", "2", "3"), ("rollback", "1", "2")]
    assert read_entries(NAME)[3].reason == "it was slow"


def test_rollback_to_changed_files_is_rejected(add: Any, lenient: Params, project: Path) -> None:
    promote(lenient, add(wrong_in(0.1)))
    (graph,) = (project / "models").rglob("saved_model.pb")
    promote(lenient, add(wrong_in(0.05)))
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(
        UserError,
        match=r"files of version 1 have changed since it was registered \(changed: data/model/saved_model\.pb",
    ):
        rollback(NAME)
    assert aliases()["champion"] == "2"


def test_a_challenger_is_registered_alongside_the_champion(add: Any, lenient: Params) -> None:
    promote(lenient, add(wrong_in(0.1)))
    assert promote(lenient, add(wrong_in(0.08)), to="challenger").outcome == "PROMOTED"
    assert aliases() == {"champion": "1", "challenger": "2"}
    with pytest.raises(UserError, match="version 1 is already the champion, so it cannot be the challenger"):
        promote(lenient, "1", to="challenger")
    promote(lenient, "2")
    assert aliases() == {"champion": "2", "previous": "1"}


def test_the_error_for_a_renamed_model_names_the_parameter(add: Any, lenient: Params) -> None:
    add(wrong_in(0.1))
    connection().client.rename_registered_model(NAME, "renamed")
    for action in (lambda: promote(lenient, "1"), lambda: rollback(NAME)):
        with pytest.raises(
            UserError, match=r"no registered model facial-emotion .* set register\.name in params\.yaml"
        ):
            action()


def test_an_unknown_version_gives_one_message(add: Any, lenient: Params) -> None:
    add(wrong_in(0.1))
    with pytest.raises(UserError, match=r"facial-emotion has no version 7\. Its versions: 1\."):
        promote(lenient, "7")
