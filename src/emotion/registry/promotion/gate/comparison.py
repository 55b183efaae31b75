"""The rules that compare a version with another one, by their predictions for the same images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emotion.params.sections import Gate
from emotion.registry.promotion.gate.rules import Probabilities, Rule


@dataclass(frozen=True)
class Comparison:
    """Two versions' predictions for the same images: the candidate's, and those of the version to compare it with."""

    title: str  # of the other version, such as "version 3 (champion)"
    labels: NDArray[np.int64]  # (n,)
    candidate: Probabilities
    other: Probabilities

    @property
    def is_correct(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which images the other version, and the candidate, predict correctly, (n,) each."""
        other, candidate = (p.argmax(axis=1) == self.labels for p in (self.other, self.candidate))
        return other, candidate

    @property
    def counts(self) -> tuple[int, int]:
        """How many images only the other version, and only the candidate, predicts correctly."""
        other, candidate = self.is_correct
        return int((other & ~candidate).sum()), int((candidate & ~other).sum())

    @property
    def difference(self) -> float:
        """The candidate's accuracy minus the other version's."""
        lost, won = self.counts
        return (won - lost) / len(self.labels)

    @property
    def discordant(self) -> float:
        """The share of images that only one of them predicts correctly."""
        return sum(self.counts) / len(self.labels)

    @property
    def loss_changes(self) -> NDArray[np.float64]:
        """How much higher the candidate's log loss is, in nats per image, (n,)."""
        from emotion.evaluation.significance import loss_per_image

        return loss_per_image(self.labels, self.candidate) - loss_per_image(self.labels, self.other)


def comparison_rules(settings: Gate, compared: Comparison) -> Iterator[Rule]:
    """The rules of `settings.policy`.

    A loss of `settings.max_accuracy_loss` must be excluded by the interval of the difference (non-inferiority). The
    policy `improve` also asks for an accuracy that is not lower and for a log loss that is lower, as observed: the
    first because an interval around a loss may still exclude a larger one, the second because log loss sees changes of
    probabilities that no change of answers shows, and so tells better from worse with fewer images.
    """
    from emotion.evaluation.significance import paired_interval  # SciPy, which takes half a second

    confidence = 1 - 2 * settings.significance
    low, _ = paired_interval(*compared.is_correct, confidence)
    lost, won = compared.counts
    is_improvement = settings.policy == "improve"
    if is_improvement:
        yield _rule(
            f"accuracy vs. {compared.title}", f"{compared.difference:+.4f} ({won} won, {lost} lost)",
            ">= 0", won >= lost,
        )  # fmt: skip
    yield _rule(
        f"accuracy vs. {compared.title}, lower end of the {100 * confidence:g}% interval", f"{low:+.4f}",
        f"> {-settings.max_accuracy_loss:g}", low > -settings.max_accuracy_loss,
    )  # fmt: skip
    if is_improvement:
        changes = compared.loss_changes
        error = float(changes.std(ddof=1) / np.sqrt(len(changes)))
        yield _rule(
            f"log loss vs. {compared.title}", f"{changes.mean():+.4f} (standard error {error:.4f})", "< 0",
            changes.mean() < 0,
        )  # fmt: skip


def latency_rule(settings: Gate, candidate_ms: float, champion_ms: float) -> Rule:
    """Whether the candidate is not much slower than the champion."""
    ratio = candidate_ms / champion_ms
    return _rule(
        "latency vs. the champion", f"{ratio:.2f} x", f"<= {settings.max_latency_ratio:g} x",
        ratio <= settings.max_latency_ratio,
    )  # fmt: skip


def _rule(name: str, value: str, threshold: str, passed: bool) -> Rule:
    return Rule(name=name, kind="comparison", value=value, threshold=threshold, passed=bool(passed))


def describe_power(settings: Gate, compared: Comparison) -> str:
    """What the number of images can tell, in a sentence."""
    from emotion.evaluation.significance import images_needed, smallest_difference

    count, discordant = len(compared.labels), compared.discordant
    if not discordant:
        return f"On each of the {count:,} images, both versions are right, or both are wrong."
    smallest = smallest_difference(discordant, count, settings.significance)
    needed = images_needed(discordant, settings.max_accuracy_loss, settings.significance)
    bound = 100 * settings.max_accuracy_loss
    return (
        f"On {count:,} images, of which only one version is right on {discordant:.1%}, a difference in accuracy below"
        f" {100 * smallest:.1f} points cannot be distinguished from none. To distinguish {bound:.1f} points, about"
        f" {needed:,} images would be needed."
    )


def describe_remedies(settings: Gate, compared: Comparison) -> Iterator[str]:
    """What would pass the rules about accuracy and log loss, in sentences; nothing if they pass."""
    if remedy := _accuracy_remedy(settings, compared):
        yield f"Compared with {compared.title}, {remedy}."
    change = float(compared.loss_changes.mean())
    if settings.policy == "improve" and change >= 0:
        yield f"Compared with {compared.title}, the log loss would have to be lower by more than {change:.4f}."


def _accuracy_remedy(settings: Gate, compared: Comparison) -> str:
    from emotion.evaluation.significance import images_needed, paired_interval

    other, candidate = compared.is_correct
    lost, won = compared.counts
    wrong = np.flatnonzero(~candidate)

    def passes(more: int) -> bool:
        better = candidate.copy()
        better[wrong[:more]] = True
        low, _ = paired_interval(other, better, 1 - 2 * settings.significance)
        return low > -settings.max_accuracy_loss and (settings.policy == "not_worse" or won + more >= lost)

    more = next((more for more in range(len(wrong) + 1) if passes(more)), None)
    if more == 0:
        return ""
    if more is None:
        return "these images are too few to pass, even with no wrong answer"
    text = f"{more} more correct answers would pass the accuracy rules"
    margin = compared.difference + settings.max_accuracy_loss
    if compared.discordant and margin > 0 and (settings.policy == "not_worse" or won >= lost):
        needed = images_needed(compared.discordant, margin, settings.significance)
        text += f", or the same difference on about {needed:,} images"
    return text
