"""The errors of the gate, as `benchmarks/gate.py` simulates them, on a small scale."""

from typing import Any

import pytest

from emotion.params.sections import Params
from support.benchmarks import load_benchmark


@pytest.fixture(scope="module")
def simulation() -> Any:
    module = load_benchmark("gate")
    vars(module)["POPULATION"] = 100_000
    return module


@pytest.fixture(scope="module")
def passes(simulation: Any, params: Params) -> Any:
    """The share of candidates that are promoted, by size, difference and policy."""
    table = simulation.operating_characteristics(
        simulation.World(), params.register_.gate, (400, 3589), (-1.0, 0.0, 1.0), draws=200
    )
    return table.set_index(["images", "difference", "policy"])["passes"]


def test_on_3589_images_a_loss_of_a_point_rarely_passes_and_a_gain_of_a_point_mostly_does(passes: Any) -> None:
    assert passes[3589, -1.0, "improve"] <= 0.05
    assert passes[3589, 1.0, "improve"] >= 0.85  # 0.9 with many draws


def test_on_400_images_most_versions_are_held_unless_they_are_clearly_better(passes: Any) -> None:
    assert passes[400, -1.0, "improve"] <= 0.15
    assert passes[400, 0.0, "improve"] <= 0.3


def test_the_earlier_rule_let_most_losses_of_a_point_pass(passes: Any) -> None:
    assert passes[3589, -1.0, "not significantly worse"] >= 0.5


def test_a_chain_of_promotions_raises_the_champion(simulation: Any, params: Params) -> None:
    table = simulation.chains(simulation.World(), params.register_.gate, (3589,), count=5, length=20)
    champion = table.set_index("policy")["champion"]
    assert champion["improve"] > champion["not significantly worse"]
    assert champion["improve"] > 0.3
