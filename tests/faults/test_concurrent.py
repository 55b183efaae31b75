"""Two commands at once."""

from itertools import combinations_with_replacement

import pytest

from support.faults import PROMOTE, STAGES, Place, cases, stage

COMMANDS = {
    **{name: stage(name) for name in STAGES},
    "promote": PROMOTE,
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
    if has_store:
        place.add_second_version()
    else:
        place.lose_store()
    versions = [1, 2] if has_store else [1]
    running = [place.start(*COMMANDS[name]) for name in pair]
    for process in running:
        place.end(process)
    place.assert_tidy()
    assert place.state["versions"] in ([], versions)
    if has_store or "restore" in pair or "register" in pair:
        assert place.state["versions"] == versions
    for name in pair:
        if name != "space":
            place.attempt(*COMMANDS[name])
    place.assert_tidy()
