"""What follows from a history of champions."""

from emotion.registry.promotion.history import AliasState, Entry, replay

ALL = ("1", "2", "3")


def entry(action: str, version: str | None, **more: str | None) -> Entry:
    return Entry.model_validate({"action": action, "version": version, **more})


def after(*entries: Entry, existing: tuple[str, ...] = ALL) -> AliasState:
    return replay(entries, existing)


def test_nobody_is_champion_at_first() -> None:
    assert after().aliases() == {}


def test_the_champion_before_is_the_way_back() -> None:
    assert after(entry("promote", "1")).aliases() == {"champion": "1"}
    assert after(entry("promote", "1"), entry("promote", "2")).aliases() == {"champion": "2", "previous": "1"}


def test_rolling_back_again_goes_one_step_further_back() -> None:
    three = [entry("promote", number) for number in ALL]
    once = after(*three, entry("rollback", "2"))
    assert (once.champion, once.previous) == ("2", "1")
    twice = after(*three, entry("rollback", "2"), entry("rollback", "1"))
    assert (twice.champion, twice.previous) == ("1", None)


def test_a_promotion_after_a_rollback_leads_back_to_where_it_was_made() -> None:
    now = after(entry("promote", "1"), entry("promote", "2"), entry("rollback", "1"), entry("promote", "3"))
    assert (now.champion, now.previous) == ("3", "1")


def test_a_challenger_leaves_the_champion_alone_until_it_is_promoted() -> None:
    now = after(entry("promote", "1"), entry("challenge", "2"))
    assert now.aliases() == {"champion": "1", "challenger": "2"}
    now = after(entry("promote", "1"), entry("challenge", "2"), entry("promote", "2"))
    assert now.aliases() == {"champion": "2", "previous": "1"}


def test_a_change_from_outside_counts() -> None:
    now = after(entry("promote", "1"), entry("external", "3", challenger="2"))
    assert now.aliases() == {"champion": "3", "previous": "1", "challenger": "2"}
    now = after(entry("promote", "1"), entry("promote", "2"), entry("external", None))
    assert now.aliases() == {"previous": "2"}


def test_deleted_versions_are_no_way_back() -> None:
    entries = [entry("promote", number) for number in ALL]
    assert after(*entries, existing=("1", "3")).aliases() == {"champion": "3", "previous": "1"}
    assert after(*entries, existing=("1", "2")).aliases() == {"previous": "2"}


def test_no_two_entries_are_equal() -> None:
    assert entry("promote", "1").model_dump_json() != entry("promote", "1").model_dump_json()
