"""Judge a version by its predictions for the test images, and by those of the versions it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.params.sections import Gate
from emotion.registry.promotion.gate import comparison, rules, subsets
from emotion.registry.promotion.gate.comparison import Comparison
from emotion.registry.promotion.gate.rules import Measured, Probabilities, Rule, Subset


@dataclass(frozen=True)
class Scored:
    """A version, its answers for the test images, and what was measured of it; former champions are not measured."""

    number: str
    answers: Probabilities
    measured: Measured | None = None

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """The share of correct answers, 0..1."""
        return float((self.answers.argmax(axis=1) == labels).mean())


@dataclass(frozen=True)
class Judgement:
    """What the predictions of versions say about a candidate."""

    rules: list[Rule]
    subsets: list[Subset]
    notes: list[str]
    former: str | None  # the best former champion, if it is better than the champion
    comparison: Comparison | None  # with the champion, or with the best former one if there is no champion


def judge(
    settings: Gate,
    test: Split,
    candidate: Scored,
    champion: Scored | None,
    formers: Sequence[Scored],
) -> Judgement:
    """Apply the rules that compare a candidate with the champion, and with the best former champion.

    A former champion is compared if it is better than the champion on these images: so neither a chain of small losses
    nor a forced promotion nor a rollback lowers the bar.

    Args:
        settings: the thresholds.
        test: the test images, of which only labels and attributes are used.
        candidate: the version to judge.
        champion: the version to compare it with, or None.
        formers: the former champions.
    """
    labels = test.labels
    compared = []
    notes = []
    if champion:
        title = f"version {champion.number} (champion)"
        compared.append(Comparison(title, labels, candidate.answers, champion.answers))
    best = max(formers, key=lambda former: former.accuracy(labels), default=None)
    if best and champion and best.accuracy(labels) <= champion.accuracy(labels):
        best = None
    if best:
        title = f"version {best.number} (former champion)"
        compared.append(Comparison(title, labels, candidate.answers, best.answers))
        than = f" than the champion ({champion.accuracy(labels):.4f})" if champion else ""
        notes.append(
            f"Version {best.number}, a former champion, has {'a higher' if champion else 'an'} accuracy on these images"
            f" ({best.accuracy(labels):.4f}){than}, so the version must also beat it; --force overrides this."
        )
    found = [rule for against in compared for rule in comparison.comparison_rules(settings, against)]
    parts = []
    if champion:
        parts = subsets.emotion_subsets(settings, compared[0], test.emotions)
        groups = subsets.group_subsets(settings, compared[0], test.attributes)
        for name, chosen, bound in (
            ("largest loss of recall", parts, settings.max_recall_loss),
            ("largest loss of a group's accuracy", groups, settings.max_group_loss),
        ):
            if chosen:
                found.append(subsets.subsets_rule(name, chosen, bound, settings.significance))
        parts += groups
        if candidate.measured and champion.measured:
            found.append(comparison.latency_rule(settings, candidate.measured.latency_ms, champion.measured.latency_ms))
    notes += [comparison.describe_power(settings, against) for against in compared[:1]]
    notes += [remedy for against in compared for remedy in comparison.describe_remedies(settings, against)]
    return Judgement(found, parts, notes, best.number if best else None, compared[0] if compared else None)


def judge_alone(
    settings: Gate, labels: NDArray[np.int64], candidate: Scored, champion: Scored | None, bins: int
) -> tuple[list[Rule], dict[str, float]]:
    """Apply the rules that need no other version; return the metrics of both, too.

    Args:
        settings: the thresholds.
        labels: (n,) of the test images.
        candidate: the version to judge.
        champion: the champion, or None.
        bins: the number of bins for the calibration error.
    """
    found: list[Rule] = []
    metrics: dict[str, float] = {}
    for name, scored in (("candidate", candidate), ("champion", champion)):
        if scored and scored.measured:
            metrics |= rules.gate_metrics(labels, name, scored.answers, scored.measured, bins)
            if scored is candidate:
                found += rules.threshold_rules(settings, labels, scored.answers, scored.measured, bins)
    return found, metrics
