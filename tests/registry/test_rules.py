"""The rules of the promotion gate on synthetic predictions."""

import numpy as np
import pytest

from emotion.data.labels import EMOTIONS
from emotion.params.sections import Gate, Params
from emotion.registry.promotion import rules
from emotion.registry.promotion.rules import Predictions, Rule, Verdict

LABELS = np.repeat(np.arange(7), [100, 10, 100, 200, 100, 100, 100])


DISGUST = EMOTIONS.index("disgust")


@pytest.fixture
def lenient(params: Params) -> Gate:
    return params.register_.gate


def answers(wrong: np.ndarray, latency: float = 1.0, size: float = 1.0, confidence: float = 0.9) -> Predictions:
    """Correct predictions except for the marked images, which get the next class."""
    predicted = np.where(wrong, (LABELS + 1) % 7, LABELS)
    probabilities = np.full((len(LABELS), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(LABELS)), predicted] = confidence
    return Predictions(probabilities, latency, size)


def share_wrong(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(len(LABELS)) < share


def failed(found: list[Rule]) -> list[str]:
    return [rule.name for rule in found if not rule.passed]


def compared(lenient: Gate, candidate: Predictions, champion: Predictions) -> list[Rule]:
    return list(
        rules.comparison_rules(
            lenient, LABELS, candidate, champion, rules.compare_emotions(LABELS, candidate, champion)
        )
    )


def test_a_good_candidate_passes_the_threshold_rules(lenient: Gate) -> None:
    assert not failed(list(rules.threshold_rules(lenient, LABELS, answers(share_wrong(0.1)), bins=15)))


def test_each_threshold_rule_is_enforced(lenient: Gate) -> None:
    def names(candidate: Predictions) -> list[str]:
        return failed(list(rules.threshold_rules(lenient, LABELS, candidate, bins=15)))

    assert names(answers(share_wrong(0.6), confidence=0.45)) == ["accuracy"]
    assert names(answers(share_wrong(0.3))) == ["expected calibration error"]
    assert names(answers(share_wrong(0.1), size=501)) == ["size"]


def test_a_tie_passes(lenient: Gate) -> None:
    same = answers(share_wrong(0.2))
    assert not failed(compared(lenient, same, same))


def test_an_insignificantly_worse_candidate_passes(lenient: Gate) -> None:
    champion = share_wrong(0.2)
    worse = champion.copy()
    worse[np.flatnonzero(~champion)[:3]] = True
    assert not failed(compared(lenient, answers(worse), answers(champion)))


def test_a_significantly_worse_candidate_fails_both_tests(lenient: Gate) -> None:
    champion = share_wrong(0.1)
    names = failed(compared(lenient, answers(champion | share_wrong(0.08, seed=1)), answers(champion)))
    assert names == [
        "accuracy compared with the champion (McNemar, exact)",
        "95% interval of the difference (bootstrap)",
    ]


def test_a_candidate_that_is_worse_for_one_emotion_fails_and_the_rule_names_it(lenient: Gate) -> None:
    candidate = share_wrong(0.05)
    candidate[LABELS == DISGUST] = True
    found = compared(lenient, answers(candidate), answers(share_wrong(0.3)))
    (rule,) = [rule for rule in found if not rule.passed]
    assert rule.name == "largest loss of recall"
    assert "disgust" in rule.value
    rows = rules.compare_emotions(LABELS, answers(candidate), answers(share_wrong(0.3)))
    assert {row["emotion"]: row["recall"] for row in rows}["disgust"] == 0


def test_a_much_slower_candidate_fails(lenient: Gate) -> None:
    assert failed(compared(lenient, answers(share_wrong(0.1), latency=2.1), answers(share_wrong(0.1)))) == [
        "latency compared with the champion"
    ]


@pytest.mark.parametrize(
    ("kinds", "outcome"),
    [
        ([], "PROMOTED"),
        (["comparison"], "HELD"),
        (["threshold"], "REJECTED"),
        (["integrity", "comparison"], "REJECTED"),
    ],
)
def test_failed_thresholds_reject_a_version_and_failed_comparisons_hold_it(kinds: list[str], outcome: str) -> None:
    rules = [{"name": "", "kind": kind, "value": "", "threshold": "", "passed": False} for kind in kinds]
    verdict = Verdict.model_validate({"version": "1", "champion": None, "rules": rules})
    assert verdict.outcome == outcome
    assert verdict.has_integrity == ("integrity" not in kinds)
