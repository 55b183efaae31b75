"""Replaying a history of promotions and rollbacks."""

from emotion.registry.promotion.history import AliasState, Entry, replay

ALL = ("1", "2", "3")


def entry(action: str, version: str | None, **more: str | None) -> Entry:
    return Entry.model_validate({"action": action, "version": version, **more})


def after(*entries: Entry, existing: tuple[str, ...] = ALL) -> AliasState:
    return replay(entries, existing)


def test_an_empty_history_has_no_champion() -> None:
    assert after().aliases() == {}


def test_the_previous_champion_is_the_rollback_target() -> None:
    assert after(entry("promote", "1")).aliases() == {"champion": "1"}
    assert after(entry("promote", "1"), entry("promote", "2")).aliases() == {"champion": "2", "previous": "1"}


def test_a_second_rollback_goes_one_step_further_back() -> None:
    three = [entry("promote", number) for number in ALL]
    once = after(*three, entry("rollback", "2"))
    assert (once.champion, once.previous) == ("2", "1")
    twice = after(*three, entry("rollback", "2"), entry("rollback", "1"))
    assert (twice.champion, twice.previous) == ("1", None)


def test_a_promotion_after_a_rollback_can_be_rolled_back_to_that_version() -> None:
    now = after(entry("promote", "1"), entry("promote", "2"), entry("rollback", "1"), entry("promote", "3"))
    assert (now.champion, now.previous) == ("3", "1")


def test_a_challenger_replaces_the_champion_only_when_promoted() -> None:
    now = after(entry("promote", "1"), entry("challenge", "2"))
    assert now.aliases() == {"champion": "1", "challenger": "2"}
    now = after(entry("promote", "1"), entry("challenge", "2"), entry("promote", "2"))
    assert now.aliases() == {"champion": "2", "previous": "1"}


def test_external_changes_are_replayed() -> None:
    now = after(entry("promote", "1"), entry("external", "3", challenger="2"))
    assert now.aliases() == {"champion": "3", "previous": "1", "challenger": "2"}
    now = after(entry("promote", "1"), entry("promote", "2"), entry("external", None))
    assert now.aliases() == {"previous": "2"}


def test_deleted_versions_are_not_rollback_targets() -> None:
    entries = [entry("promote", number) for number in ALL]
    assert after(*entries, existing=("1", "3")).aliases() == {"champion": "3", "previous": "1"}
    assert after(*entries, existing=("1", "2")).aliases() == {"previous": "2"}


def test_entries_are_unique() -> None:
    assert entry("promote", "1").model_dump_json() != entry("promote", "1").model_dump_json()
