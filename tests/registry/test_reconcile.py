"""Reconciling aliases with the ledger after races, kills and external changes."""

import signal
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from emotion.params.sections import Params
from emotion.registry.promotion.history import Entry
from emotion.registry.promotion.ledger import APPLIED_TAG, LostLedgerError, ledger_run, read_entries
from emotion.registry.promotion.promote import promote, rollback
from emotion.registry.promotion.reconcile import (
    ConflictError,
    append_entry,
    current_state,
    reconcile,
    restart_history,
)
from emotion.runtime.errors import UserError
from emotion.tracking.client import connection
from support.promotions import Changer
from support.versions import NAME, aliases, tags_of, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


def test_a_store_error_is_not_reported_as_a_conflict(
    add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(wrong_in(0.1))

    def refuse(*arguments: Any, **options: Any) -> None:
        raise mlflow.exceptions.MlflowException("Permission denied", error_code=7)

    monkeypatch.setattr(mlflow.MlflowClient, "log_param", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        append_entry(NAME, [], Entry(action="promote", version="1"), None)


def test_reconciling_an_unknown_model_does_not_create_it(mlflow_store: Path) -> None:
    with pytest.raises(UserError, match="MLflow has no registered model mistyped"):
        reconcile("mistyped")
    assert not connection().client.search_registered_models()


def test_the_second_of_two_concurrent_decisions_is_a_conflict(add: Any, lenient: Params) -> None:
    for _ in range(3):
        add(wrong_in(0.1))
    promote(lenient, "1")
    entries = read_entries(NAME)
    append_entry(NAME, entries, Entry(action="promote", version="2", before="1"), None)
    with pytest.raises(ConflictError, match=r"nothing was changed: .* promoted version 2 at the same time"):
        append_entry(NAME, entries, Entry(action="promote", version="3", before="1"), None)
    assert aliases() == {"champion": "2", "previous": "1"}
    assert [entry.version for entry in read_entries(NAME)] == ["1", "2"]


def test_exactly_one_of_several_concurrent_promotions_succeeds(add: Any, lenient: Params, tmp_path: Path) -> None:
    for _ in range(4):
        add(wrong_in(0.1))
    promote(lenient, "1")
    start = tmp_path / "start"
    changers = [Changer() for _ in range(3)]
    for changer, version in zip(changers, ("2", "3", "4"), strict=True):
        changer.begin(version, start)
    while len(list(tmp_path.glob("start-*"))) < 3:
        assert all(changer.process.poll() is None for changer in changers)
        time.sleep(0.01)
    start.touch()
    assert sorted(changer.result()[0] for changer in changers) == [0, 5, 5]
    for changer in changers:
        changer.close()
    reconcile(NAME)
    entries = read_entries(NAME)
    assert len(entries) == 2
    assert aliases() == {"champion": entries[1].version, "previous": "1"}


def test_a_promotion_killed_between_any_two_steps_is_atomic(add: Any, lenient: Params, tmp_path: Path) -> None:
    for _ in range(2):
        add(wrong_in(0.1))
    promote(lenient, "1")
    start = tmp_path / "start"
    start.touch()
    changer, kill_at, code = Changer(), 0, -signal.SIGKILL
    new_entries = set()
    while code == -signal.SIGKILL:
        kill_at += 1
        before = read_entries(NAME)
        changer.begin("2", start, kill_at)
        code, writes = changer.result()
        assert code == -signal.SIGKILL or (code, writes) == (0, kill_at - 1)
        notes = reconcile(NAME)
        after = read_entries(NAME)
        new_entries.add(len(after) - len(before))
        if len(after) == len(before):  # killed before the decision was written: nothing changed
            assert aliases() == {"champion": "1"}
            assert not notes
            continue
        assert aliases() == {"champion": "2", "previous": "1"}
        assert tags_of("2")["gate.champion.run_id"] == "a run"
        assert bool(notes) == (code != 0)
        assert reconcile(NAME) == []
        rollback(NAME)
    changer.close()
    assert new_entries == {0, 1}
    assert kill_at > 5


def test_aliases_changed_by_hand_are_recorded(add: Any, lenient: Params) -> None:
    for _ in range(3):
        add(wrong_in(0.1))
    promote(lenient, "1")
    connection().client.set_registered_model_alias(NAME, "champion", "3")
    (said,) = reconcile(NAME)
    assert "changed by another program: the champion is now 3" in said
    assert aliases() == {"champion": "3", "previous": "1"}
    assert read_entries(NAME)[-1].action == "external"
    connection().client.delete_registered_model_alias(NAME, "previous")
    assert reconcile(NAME) == ["the alias previous was reset to 1"]
    assert reconcile(NAME) == []


@pytest.mark.parametrize("damage", ["99", "-1", "xyz", "", "1e3", "9" * 5000])
def test_a_damaged_tag_does_not_stop_a_promotion(add: Any, lenient: Params, damage: str) -> None:
    for _ in range(2):
        add(wrong_in(0.1))
    promote(lenient, "1")
    connection().client.set_registered_model_tag(NAME, APPLIED_TAG, damage)
    promote(lenient, "2", force=True, reason="a test")
    assert aliases() == {"champion": "2", "previous": "1"}
    assert [entry.action for entry in read_entries(NAME)] == ["promote", "promote"]
    assert reconcile(NAME) == []


def test_a_promotion_whose_alias_does_not_stay_is_an_error(
    add: Any, lenient: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(wrong_in(0.1))
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", lambda *arguments: None)
    with pytest.raises(UserError, match="the aliases of facial-emotion differ from its history"):
        promote(lenient, "1")


def test_deleting_the_champion_keeps_the_rollback_target(add: Any, lenient: Params) -> None:
    for share in (0.2, 0.1):
        promote(lenient, add(wrong_in(share)))
    connection().client.delete_model_version(NAME, "2")
    assert current_state(NAME).champion is None
    assert aliases() == {"previous": "1"}
    assert rollback(NAME).version == "1"
    assert aliases() == {"champion": "1"}


def test_the_error_for_a_deleted_history_says_how_to_restore_it(add: Any, lenient: Params) -> None:
    add(wrong_in(0.1))
    run_id = ledger_run(NAME)
    mlflow.delete_run(run_id)
    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {run_id}"):
        promote(lenient, "1")


def test_a_permanently_deleted_history_is_restarted_from_the_aliases(
    add: Any, lenient: Params, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share in (0.3, 0.2, 0.1):
        promote(lenient, add(wrong_in(share)))
    with pytest.raises(UserError, match="exists, so it cannot be restarted"):
        restart_history(NAME)
    run_id = ledger_run(NAME)
    mlflow.delete_run(run_id)
    store = SqlAlchemyStore(f"sqlite:///{project}/mlflow.db", str(project))
    store._hard_delete_run(run_id)  # what `mlflow gc` does
    for action in (lambda: read_entries(NAME), lambda: promote(lenient, "1"), lambda: rollback(NAME)):
        with pytest.raises(LostLedgerError, match=r"was deleted permanently. `emotion history --restart` begins"):
            action()
    restart_history(NAME)
    assert aliases() == {"champion": "3", "previous": "2"}
    entries = read_entries(NAME)
    assert [(entry.action, entry.version) for entry in entries] == [("external", "2"), ("external", "3")]
    assert {entry.reason for entry in entries} == {"the earlier history was deleted permanently"}
    assert reconcile(NAME) == []
    assert rollback(NAME).version == "2"
