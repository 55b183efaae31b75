"""The rules of the promotion gate on synthetic predictions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.params.sections import Gate, Params
from emotion.registry.promotion.gate import rules
from emotion.registry.promotion.gate.judge import Judgement, Scored, judge
from emotion.registry.promotion.gate.rules import Measured, Rule, Verdict

LABELS = np.repeat(np.arange(7), [100, 10, 100, 200, 100, 100, 100])
COUNT = len(LABELS)
DISGUST, HAPPY = EMOTIONS.index("disgust"), EMOTIONS.index("happy")
NOTHING = pd.DataFrame(index=range(COUNT))


@pytest.fixture
def gate(params: Params) -> Gate:
    return params.register_.gate


def answers(wrong: np.ndarray, confidence: float = 0.9) -> np.ndarray:
    """Correct predictions except for the marked images, which get the next class."""
    predicted = np.where(wrong, (LABELS + 1) % 7, LABELS)
    probabilities = np.full((COUNT, 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(COUNT), predicted] = confidence
    return probabilities


def scored(wrong: np.ndarray, latency: float = 1.0, confidence: float = 0.9, number: str = "2") -> Scored:
    return Scored(number, answers(wrong, confidence), Measured(latency, 1.0))


def share_wrong(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(COUNT) < share


def exactly_wrong(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(COUNT) < count


def unseen_images(labels: np.ndarray, attributes: pd.DataFrame | None = None) -> Split:
    """Test images without pixels, of which the gate uses labels and attributes."""
    index = pd.DataFrame(index=range(len(labels))) if attributes is None else attributes
    return Split(np.empty((len(labels), 0, 0), np.uint8), labels, index, EMOTIONS)


def failed(found: list[Rule]) -> list[str]:
    return [rule.name for rule in found if not rule.passed]


def compare(
    gate: Gate, candidate: Scored, champion: Scored, *formers: Scored, groups: pd.DataFrame = NOTHING
) -> Judgement:
    return judge(gate, unseen_images(LABELS, groups), candidate, replace(champion, number="1"), formers)


def test_a_good_candidate_passes_the_threshold_rules(gate: Gate) -> None:
    assert not failed(list(rules.threshold_rules(gate, LABELS, answers(share_wrong(0.1)), Measured(1, 1), bins=15)))


def test_each_threshold_rule_is_enforced(gate: Gate) -> None:
    def names(wrong: float, confidence: float = 0.9, size: float = 1.0) -> list[str]:
        predicted = answers(share_wrong(wrong), confidence)
        return failed(list(rules.threshold_rules(gate, LABELS, predicted, Measured(1, size), bins=15)))

    assert names(0.6, confidence=0.45) == ["accuracy"]
    assert names(0.3) == ["expected calibration error"]
    assert names(0.1, size=501) == ["size"]


def test_a_better_candidate_passes(gate: Gate) -> None:
    assert not failed(compare(gate, scored(share_wrong(0.1)), scored(share_wrong(0.2))).rules)


def test_an_equal_candidate_is_no_improvement_but_not_worse(gate: Gate) -> None:
    same = scored(share_wrong(0.2))
    assert failed(compare(gate, same, same).rules) == ["log loss vs. version 1 (champion)"]
    assert not failed(compare(gate.model_copy(update={"policy": "not_worse"}), same, same).rules)


def test_a_candidate_with_fewer_correct_answers_is_no_improvement(gate: Gate) -> None:
    champion = share_wrong(0.2)
    worse = champion.copy()
    worse[np.flatnonzero(~champion)[:3]] = True
    assert "accuracy vs. version 1 (champion)" in failed(compare(gate, scored(worse), scored(champion)).rules)
    lenient = gate.model_copy(update={"policy": "not_worse"})
    assert not failed(compare(lenient, scored(worse), scored(champion)).rules)


def test_a_candidate_with_a_higher_log_loss_is_no_improvement(gate: Gate) -> None:
    wrong = share_wrong(0.2)
    fewer = wrong.copy()
    fewer[np.flatnonzero(wrong)[:10]] = False
    found = compare(gate, scored(fewer, confidence=0.9999), scored(wrong, confidence=0.8)).rules
    assert failed(found) == ["log loss vs. version 1 (champion)"]


def test_a_gain_that_may_as_well_be_a_loss_of_the_bound_is_held(gate: Gate) -> None:
    candidate, champion = exactly_wrong(140, seed=1), exactly_wrong(142, seed=2)
    judgement = compare(gate, scored(candidate), scored(champion))
    assert failed(judgement.rules) == ["accuracy vs. version 1 (champion), lower end of the 80% interval"]
    power, remedy = judgement.notes
    assert power.startswith("On 710 images, of which only one version is right on ")
    assert "cannot be distinguished from none. To distinguish 1.0 points, about " in power
    assert remedy.endswith(" images.")
    more = int(remedy.split(", ")[1].split(" ")[0])
    candidate[np.flatnonzero(candidate)[:more]] = False
    assert not failed(compare(gate, scored(candidate), scored(champion)).rules)


def test_a_remedy_is_given_only_if_there_is_one(gate: Gate) -> None:
    few = 20
    labels, right = LABELS[:few], answers(np.zeros(COUNT, bool))[:few]
    same = judge(gate, unseen_images(labels), Scored("2", right), Scored("1", right), ())
    assert same.notes[0] == "On each of the 20 images, both versions are right, or both are wrong."
    assert same.notes[1].endswith("these images are too few to pass, even with no wrong answer.")
    alone = judge(gate, unseen_images(LABELS), scored(share_wrong(0.1)), None, [scored(share_wrong(0.2), number="7")])
    assert alone.notes[0].startswith("Version 7, a former champion, has an accuracy on these images (0.")
    assert not failed(alone.rules)


def test_the_policy_not_worse_holds_a_loss_that_may_exceed_the_bound(gate: Gate) -> None:
    champion = share_wrong(0.2)
    lenient = gate.model_copy(update={"policy": "not_worse", "max_accuracy_loss": 0.05})
    assert failed(compare(lenient, scored(share_wrong(0.23, seed=1)), scored(champion)).rules) == [
        "accuracy vs. version 1 (champion), lower end of the 80% interval"
    ]


def test_a_candidate_that_is_worse_for_one_emotion_fails_and_the_rule_names_it(gate: Gate) -> None:
    candidate = share_wrong(0.05)
    candidate[(LABELS == HAPPY) & (np.arange(COUNT) % 2 == 0)] = True
    judgement = compare(gate, scored(candidate), scored(share_wrong(0.3)))
    (rule,) = [rule for rule in judgement.rules if not rule.passed]
    assert rule.name == "largest loss of recall"
    assert "(happy)" in rule.value
    recalls = {subset.name: subset.recall for subset in judgement.subsets}
    assert recalls["happy"] < 0.55


def test_an_emotion_with_few_images_is_not_judged(gate: Gate) -> None:
    champion, candidate = share_wrong(0.3), share_wrong(0.05)
    champion[LABELS == DISGUST] = False
    candidate[np.flatnonzero(LABELS == DISGUST)[:2]] = True
    judgement = compare(gate, scored(candidate), scored(champion))
    (rule,) = [rule for rule in judgement.rules if rule.name == "largest loss of recall"]
    assert rule.passed
    assert "not judged, below " in rule.value
    assert "disgust" in rule.value


def test_a_loss_for_few_images_fails_if_it_is_significant(gate: Gate) -> None:
    champion, candidate = share_wrong(0.3), share_wrong(0.05)
    champion[LABELS == DISGUST], candidate[LABELS == DISGUST] = False, True
    assert failed(compare(gate, scored(candidate), scored(champion)).rules) == ["largest loss of recall"]


def test_the_p_values_are_corrected_for_the_number_of_emotions(gate: Gate) -> None:
    candidate, champion = share_wrong(0.2, seed=1), share_wrong(0.2)
    subsets = compare(gate, scored(candidate), scored(champion)).subsets
    one = LABELS == HAPPY
    alone = compare(
        gate, scored(candidate), scored(champion), groups=pd.DataFrame({"mouth": np.where(one, "open", "")})
    )
    (group,) = [subset for subset in alone.subsets if subset.kind == "mouth"]
    (emotion,) = [subset for subset in subsets if subset.name == "happy"]
    assert emotion.p_value >= group.p_value
    assert (emotion.recall, emotion.images) == (group.recall, group.images)


def test_a_candidate_that_is_worse_for_one_group_fails_and_the_rule_names_it(gate: Gate) -> None:
    has_glasses = np.arange(COUNT) % 3 == 0
    candidate = share_wrong(0.02)
    candidate[has_glasses & (np.arange(COUNT) % 2 == 0)] = True
    groups = pd.DataFrame({"glasses": np.where(has_glasses, "yes", "no"), "name": [str(n) for n in range(COUNT)]})
    judgement = compare(gate, scored(candidate), scored(share_wrong(0.3)), groups=groups)
    assert failed(judgement.rules) == ["largest loss of a group's accuracy"]
    assert "(glasses: yes)" in judgement.rules[-2].value
    assert {subset.kind for subset in judgement.subsets} == {"emotion", "glasses"}


def test_a_much_slower_candidate_fails(gate: Gate) -> None:
    judgement = compare(gate, scored(share_wrong(0.1), latency=2.1), scored(share_wrong(0.2)))
    assert failed(judgement.rules) == ["latency vs. the champion"]


def test_a_better_former_champion_is_the_mark(gate: Gate) -> None:
    formers = [scored(share_wrong(0.12), number="7"), scored(share_wrong(0.05), number="8")]
    judgement = compare(gate, scored(share_wrong(0.1)), scored(share_wrong(0.2)), *formers)
    assert judgement.former == "8"
    assert failed(judgement.rules)
    assert all("version 8 (former champion)" in name for name in failed(judgement.rules))
    assert compare(gate, scored(share_wrong(0.01)), scored(share_wrong(0.2)), *formers).former == "8"


def test_a_worse_former_champion_is_not_compared(gate: Gate) -> None:
    judgement = compare(gate, scored(share_wrong(0.1)), scored(share_wrong(0.2)), scored(share_wrong(0.3), number="8"))
    assert judgement.former is None
    assert not failed(judgement.rules)


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
