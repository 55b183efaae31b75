"""Commands that are killed at a random moment."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from support.faults import PROMOTE, STAGES, Place, cases, stage
from support.project import Project

COMMANDS = {
    **{name: stage(name) for name in STAGES},
    "promote": PROMOTE,
    "rollback": ("emotion", "rollback"),
    "restore": ("emotion", "restore"),
    "reproduce": ("emotion", "reproduce", "1"),
    "space": ("emotion", "space", "data/space"),
    "export": ("emotion", "export", "data/model.tflite", "--format", "litert"),
    "compare": ("emotion", "compare", "trial-000", "trial-001"),
    "cleanup-runs": ("emotion", "cleanup-runs"),
}
KILLS = 38  # of each command, but only a few of the long one: 500 in all
CASES = [
    *cases("kills", [name for name in COMMANDS if name != "reproduce"], range(KILLS)),
    *cases("kills", ["reproduce"], range(6)),
]


@dataclass(frozen=True)
class Undisturbed:
    """A command that is not killed."""

    seconds: float
    state: dict[str, object]  # afterwards


@pytest.fixture(scope="session")
def undisturbed(promoted_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """A function that runs a command once and remembers the result."""

    @cache
    def measure(name: str) -> Undisturbed:
        place = Place(promoted_project, tmp_path_factory.mktemp("undisturbed"))
        prepare(place, name)
        start = time.monotonic()
        place.succeed(*COMMANDS[name])
        result = Undisturbed(time.monotonic() - start, place.state)
        place.remove()
        return result

    return measure


def prepare(place: Place, name: str) -> None:
    """Make a command have something to do."""
    if name in ("restore", "register"):
        place.lose_store()
    if name in ("promote", "rollback"):
        place.add_second_version()
    if name == "rollback":
        place.succeed(*PROMOTE)


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_a_command_killed_at_a_random_moment_succeeds_when_it_is_repeated(
    name: str,
    seed: int,
    place: Place,
    undisturbed: Callable[[str], Undisturbed],
    record_property: Callable[[str, str], None],
) -> None:
    expected = undisturbed(name)
    prepare(place, name)
    process = place.start(*COMMANDS[name])
    time.sleep(random.Random(f"{name} {seed}").uniform(0, 1.1 * expected.seconds))
    open_runs = place.running
    has_ended = process.poll() is not None
    process.kill()
    process.communicate()
    place.wait_for_end()
    record_property("under_way", "ended" if has_ended else ", ".join(open_runs) or "no run")
    if name in ("promote", "rollback"):
        place.succeed("emotion", "history")  # completes a change of aliases
    space = place.project.folder / "data/space"
    if space.exists():
        assert (space / "app.py").exists()  # it is complete, and not written again
    elif name not in ("promote", "rollback") or place.state["aliases"] != expected.state["aliases"]:
        place.succeed(*COMMANDS[name])
    for key in ("versions", "aliases"):
        assert place.state[key] == expected.state[key]
    place.succeed("emotion", "cleanup-runs")
    place.assert_tidy()
