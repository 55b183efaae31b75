"""A small campaign of `benchmarks/hostile_registry.py` against a signed registry, and against one without keys."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.benchmarks import load_benchmark

ATTACKS = 150


@pytest.fixture(scope="module")
def hostile() -> Any:
    return load_benchmark("hostile_registry")


def test_no_attack_without_a_key_moves_the_champion(hostile: Any, tmp_path: Path) -> None:
    outcomes = Counter(outcome for _, outcome in hostile.campaign(tmp_path / "project", ATTACKS, seed=1))
    assert set(outcomes) <= {"loaded", "refused", "none"}, outcomes
    assert outcomes["loaded"] > ATTACKS / 10  # else the attacks would only break the registry


def test_the_same_attacks_move_the_champion_of_a_project_without_keys(hostile: Any, tmp_path: Path) -> None:
    outcomes = [outcome for _, outcome in hostile.campaign(tmp_path / "project", 60, seed=1, has_key=False)]
    assert [outcome for outcome in outcomes if outcome.startswith("SUCCESS")]
