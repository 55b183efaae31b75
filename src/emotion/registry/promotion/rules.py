"""The rules of the gate: whether a version may become the champion, judged by predictions for the same images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion.data.labels import EMOTIONS
from emotion.params.sections import Gate
from emotion.params.validation import Section

Outcome = Literal["PROMOTED", "HELD", "REJECTED"]
# integrity: the version is unchanged since registration, and safe; threshold: it is good enough on its own;
# comparison: it is not worse than the champion.
Kind = Literal["integrity", "threshold", "comparison"]
Emotions = tuple[dict[str, float | str], ...]


class Rule(Section):
    """One rule, and whether a version passed it."""

    name: str
    kind: Kind
    value: str
    threshold: str
    passed: bool


class Verdict(Section):
    """The outcome of all rules."""

    version: str
    champion: str | None
    rules: tuple[Rule, ...]
    metrics: dict[str, float] = Field(default_factory=dict)
    emotions: Emotions = ()  # a row each: recall of both versions, images, p_value

    @property
    def failed(self) -> list[Rule]:
        """The rules that did not pass."""
        return [rule for rule in self.rules if not rule.passed]

    def without_comparison(self) -> "Verdict":
        """The verdict by integrity and thresholds alone, which is what a challenger needs."""
        return self.model_copy(update={"rules": tuple(rule for rule in self.rules if rule.kind != "comparison")})

    @property
    def has_integrity(self) -> bool:
        """Whether the version is unchanged since registration and safe to load."""
        return not any(rule.kind == "integrity" for rule in self.failed)

    @property
    def outcome(self) -> Outcome:
        """REJECTED if the version fails on its own, HELD if it is worse than the champion, otherwise PROMOTED."""
        if any(rule.kind != "comparison" for rule in self.failed):
            return "REJECTED"
        return "HELD" if self.failed else "PROMOTED"


@dataclass(frozen=True)
class Predictions:
    """One version's predictions for the test images."""

    probabilities: NDArray[np.float32]  # (n, 7)
    latency_ms: float  # median, one image at a time
    size_mib: float  # of the SavedModel


def threshold_rules(settings: Gate, labels: NDArray[np.int64], candidate: Predictions, bins: int) -> Iterator[Rule]:
    """The rules that judge a version on its own.

    Args:
        settings: the thresholds.
        labels: (n,) the labels of the test images.
        candidate: the version's predictions for them.
        bins: the number of bins for the calibration error.
    """
    from emotion.evaluation import metrics  # scikit-learn, which takes a second

    scores = metrics.score(labels, candidate.probabilities, bins)
    accuracy, error = scores["accuracy"], scores["expected_calibration_error"]
    yield _rule(
        "accuracy", "threshold", f"{accuracy:.4f}", f">= {settings.min_accuracy:g}", accuracy >= settings.min_accuracy
    )
    yield _rule(
        "expected calibration error", "threshold", f"{error:.4f}", f"<= {settings.max_calibration_error:g}",
        error <= settings.max_calibration_error,
    )  # fmt: skip
    yield _rule(
        "size", "threshold", f"{candidate.size_mib:.1f} MiB", f"<= {settings.max_size_mib:g} MiB",
        candidate.size_mib <= settings.max_size_mib,
    )  # fmt: skip


def comparison_rules(
    settings: Gate, labels: NDArray[np.int64], candidate: Predictions, champion: Predictions, emotions: Emotions
) -> Iterator[Rule]:
    """The rules for a version compared with the champion.

    Args:
        settings: the thresholds.
        labels: (n,) the labels of the test images.
        candidate: the version's predictions for them.
        champion: the champion's predictions for them.
        emotions: from `compare_emotions`.
    """
    from emotion.evaluation.significance import bootstrap_ci, mcnemar_test  # SciPy, which takes half a second

    before, after = (predictions.probabilities.argmax(axis=1) == labels for predictions in (champion, candidate))
    test = mcnemar_test(before, after)
    confidence = 1 - settings.significance
    low, high = bootstrap_ci(before, after, confidence, settings.resamples, settings.seed)
    difference, p_value = test["difference"], test["p_value"]
    yield _rule(
        "accuracy compared with the champion (McNemar, exact)", "comparison", f"{difference:+.4f}, p = {p_value:.3g}",
        f"not significantly lower (p < {settings.significance:g})", difference >= 0 or p_value >= settings.significance,
    )  # fmt: skip
    yield _rule(
        f"{100 * confidence:g}% interval of the difference (bootstrap)", "comparison", f"{low:+.4f} to {high:+.4f}",
        "not entirely below 0", high >= 0,
    )  # fmt: skip
    worst = max(emotions, key=lambda row: float(row["loss"]))
    yield _rule(
        "largest loss of recall", "comparison", f"{max(0.0, float(worst['loss'])):.4f} ({worst['emotion']})",
        f"<= {settings.max_recall_loss:g}", float(worst["loss"]) <= settings.max_recall_loss,
    )  # fmt: skip
    ratio = candidate.latency_ms / champion.latency_ms
    yield _rule(
        "latency compared with the champion", "comparison", f"{ratio:.2f} x", f"<= {settings.max_latency_ratio:g} x",
        ratio <= settings.max_latency_ratio,
    )  # fmt: skip


def _rule(name: str, kind: Kind, value: str, threshold: str, passed: bool) -> Rule:
    return Rule(name=name, kind=kind, value=value, threshold=threshold, passed=bool(passed))


def compare_emotions(labels: NDArray[np.int64], candidate: Predictions, champion: Predictions) -> Emotions:
    """A row per emotion that occurs: emotion, images, recall, champion_recall, loss, p_value (McNemar)."""
    from emotion.evaluation.significance import mcnemar_test

    rows: list[dict[str, float | str]] = []
    for label in np.unique(labels):
        has_label = labels == label
        ours, theirs = (p.probabilities[has_label].argmax(axis=1) == label for p in (candidate, champion))
        rows.append(
            {
                "emotion": EMOTIONS[label],
                "images": int(has_label.sum()),
                "recall": float(ours.mean()),
                "champion_recall": float(theirs.mean()),
                "loss": float(theirs.mean() - ours.mean()),
                "p_value": mcnemar_test(theirs, ours)["p_value"],
            }
        )
    return tuple(rows)


def gate_metrics(labels: NDArray[np.int64], name: str, predictions: Predictions, bins: int) -> dict[str, float]:
    """The metrics of one version's predictions, with names that start with `name`."""
    from emotion.evaluation import metrics

    scores = metrics.score(labels, predictions.probabilities, bins)
    return {f"{name}/{key}": value for key, value in scores.items()} | {
        f"{name}/latency_ms": predictions.latency_ms,
        f"{name}/size_mib": predictions.size_mib,
    }
