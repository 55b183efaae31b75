"""The rules of the gate, on answers made up for them."""

import numpy as np
import pytest

from emotion.data.labels import EMOTIONS
from emotion.evaluation.significance import binomial_p_value, difference_interval, paired, share_interval
from emotion.params import Gate, Params
from emotion.registry.promotion import rules as gate
from emotion.registry.promotion.rules import Answers, Rule, Verdict

LABELS = np.repeat(np.arange(7), [100, 10, 100, 200, 100, 100, 100])
DISGUST = EMOTIONS.index("disgust")


@pytest.fixture
def bounds(settings: Params) -> Gate:
    return settings.register_.gate


def answers(wrong: np.ndarray, latency: float = 1.0, size: float = 1.0, confidence: float = 0.9) -> Answers:
    """Right but for the marked images, which are called the next emotion."""
    predicted = np.where(wrong, (LABELS + 1) % 7, LABELS)
    probabilities = np.full((len(LABELS), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(LABELS)), predicted] = confidence
    return Answers(probabilities, latency, size)


def share_wrong(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(len(LABELS)) < share


def failed(rules: list[Rule]) -> list[str]:
    return [rule.name for rule in rules if not rule.passed]


def compared(bounds: Gate, candidate: Answers, champion: Answers) -> list[Rule]:
    return list(gate.comparison(bounds, LABELS, candidate, champion, gate.per_emotion(LABELS, candidate, champion)))


def test_what_is_good_enough_by_itself_passes(bounds: Gate) -> None:
    assert not failed(list(gate.absolute(bounds, LABELS, answers(share_wrong(0.1)), bins=15)))


def test_each_bound_of_a_version_by_itself_is_held(bounds: Gate) -> None:
    def names(candidate: Answers) -> list[str]:
        return failed(list(gate.absolute(bounds, LABELS, candidate, bins=15)))

    assert names(answers(share_wrong(0.6), confidence=0.45)) == ["accuracy"]
    assert names(answers(share_wrong(0.3))) == ["expected calibration error"]
    assert names(answers(share_wrong(0.1), size=501)) == ["size"]


def test_a_tie_passes(bounds: Gate) -> None:
    same = answers(share_wrong(0.2))
    assert not failed(compared(bounds, same, same))


def test_a_little_worse_may_be_chance_and_passes(bounds: Gate) -> None:
    champion = share_wrong(0.2)
    worse = champion.copy()
    worse[np.flatnonzero(~champion)[:3]] = True
    assert not failed(compared(bounds, answers(worse), answers(champion)))


def test_significantly_worse_fails_both_tests(bounds: Gate) -> None:
    champion = share_wrong(0.1)
    names = failed(compared(bounds, answers(champion | share_wrong(0.08, seed=1)), answers(champion)))
    assert names == ["accuracy against the champion (McNemar, exact)", "its 95 % interval (bootstrap)"]


def test_better_overall_and_worse_for_one_emotion_fails_and_names_it(bounds: Gate) -> None:
    candidate = share_wrong(0.05)
    candidate[LABELS == DISGUST] = True
    rules = compared(bounds, answers(candidate), answers(share_wrong(0.3)))
    (rule,) = [rule for rule in rules if not rule.passed]
    assert rule.name == "largest loss of recall"
    assert "disgust" in rule.figure
    rows = gate.per_emotion(LABELS, answers(candidate), answers(share_wrong(0.3)))
    assert {row["emotion"]: row["recall"] for row in rows}["disgust"] == 0


def test_much_slower_fails(bounds: Gate) -> None:
    assert failed(compared(bounds, answers(share_wrong(0.1), latency=2.1), answers(share_wrong(0.1)))) == [
        "latency against the champion"
    ]


@pytest.mark.parametrize(
    ("kinds", "outcome"),
    [([], "PROMOTED"), (["comparison"], "HELD"), (["absolute"], "REJECTED"), (["sound", "comparison"], "REJECTED")],
)
def test_a_version_that_fails_by_itself_is_rejected_and_one_that_fails_against_the_champion_held(
    kinds: list[str], outcome: str
) -> None:
    rules = [{"name": "", "kind": kind, "figure": "", "bound": "", "passed": False} for kind in kinds]
    verdict = Verdict.model_validate({"version": "1", "champion": None, "rules": rules, "figures": {}})
    assert verdict.outcome == outcome
    assert verdict.is_sound == ("sound" not in kinds)


def test_mcnemars_test_counts_what_one_alone_has_right() -> None:
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert paired(first, second) == {
        "images": 5, "difference": -0.2, "only_first": 2, "only_second": 1, "p_value": 1.0,
    }  # fmt: skip
    assert binomial_p_value(0, 5) == pytest.approx(2 / 32)
    assert binomial_p_value(3, 3) == 1


def test_the_bootstrap_interval_holds_the_difference_and_is_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(2000) < 0.70, rng.random(2000) < 0.72
    low, high = difference_interval(first, second, 0.95, 10_000, seed=0)
    difference = second.mean() - first.mean()
    expected = 1.96 * np.sqrt((first != second).mean() - difference**2) / np.sqrt(2000)
    assert low < difference < high
    assert (high - low) / 2 == pytest.approx(expected, rel=0.05)
    wider = difference_interval(first, second, 0.99, 10_000, seed=0)
    assert wider[0] < low < high < wider[1]


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert share_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share_interval(0, 10)[0] == pytest.approx(0)
