"""Two commands at once."""

from itertools import combinations_with_replacement

import pytest

from support.faults import STAGES, Place, cases, stage

COMMANDS = {
    **{name: stage(name) for name in STAGES},
    "promote": ("emotion", "promote", "1", "--to", "challenger"),
    "rollback": ("emotion", "rollback"),
    "history": ("emotion", "history"),
    "restore": ("emotion", "restore"),
    "cleanup-runs": ("emotion", "cleanup-runs"),
    "predict": ("emotion", "predict", "data/face.png", "--no-detect"),
    "space": ("emotion", "space", "data/space"),
    "trials": ("emotion", "trials"),
}
PAIRS = tuple(combinations_with_replacement(COMMANDS, 2))


@pytest.mark.parametrize(("pair", "has_store"), cases("concurrent", PAIRS, (True, False)))
def test_two_commands_at_once_lose_nothing_and_both_work_afterwards(
    pair: tuple[str, str], has_store: bool, place: Place
) -> None:
    place.add_face("data/face.png")
    if not has_store:
        place.lose_store()
    running = [place.start(*COMMANDS[name]) for name in pair]
    for process in running:
        place.end(process)
    place.assert_tidy()
    assert place.state["versions"] in ([], [1])
    if "restore" in pair or "register" in pair:
        assert place.state["versions"] == [1]
    for name in pair:
        if name != "space":
            place.attempt(*COMMANDS[name])
    place.assert_tidy()
