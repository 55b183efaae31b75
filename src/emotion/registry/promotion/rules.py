"""Whether a version may be champion: rules over its answers, and the champion's, to the same images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS
from emotion.evaluation.significance import difference_interval, paired
from emotion.params import Gate, Section

Outcome = Literal["PROMOTED", "HELD", "REJECTED"]
Emotions = tuple[dict[str, float | str], ...]


class Rule(Section):
    """One thing asked of a version."""

    name: str
    # sound: the version is what was registered, and safe; absolute: it is good enough by itself;
    # comparison: it is no worse than the champion.
    kind: Literal["sound", "absolute", "comparison"]
    figure: str
    bound: str
    passed: bool


class Verdict(Section):
    """What came of all rules."""

    version: str
    champion: str | None
    rules: tuple[Rule, ...]
    figures: dict[str, float]
    emotions: Emotions = ()  # a row each: recall of both, images, p_value

    @property
    def failed(self) -> list[Rule]:
        """The rules that did not pass."""
        return [rule for rule in self.rules if not rule.passed]

    @property
    def is_sound(self) -> bool:
        """Whether the version is what was registered, and safe to load."""
        return not any(rule.kind == "sound" for rule in self.failed)

    @property
    def outcome(self) -> Outcome:
        """REJECTED by itself, HELD against the champion, or PROMOTED."""
        if any(rule.kind != "comparison" for rule in self.failed):
            return "REJECTED"
        return "HELD" if self.failed else "PROMOTED"


@dataclass(frozen=True)
class Answers:
    """Of one version to the test images."""

    probabilities: NDArray[np.float32]  # (n, 7)
    latency_ms: float  # of one image at a time, median
    size_mib: float  # of the SavedModel


def absolute(settings: Gate, labels: NDArray[np.int64], candidate: Answers, bins: int) -> Iterator[Rule]:
    """What is asked of a version by itself."""
    from emotion.evaluation import metrics as scoring

    scores = scoring.score(labels, candidate.probabilities, bins)
    accuracy, error = scores["accuracy"], scores["expected_calibration_error"]
    yield _rule(
        "accuracy", "absolute", f"{accuracy:.4f}", f">= {settings.min_accuracy:g}", accuracy >= settings.min_accuracy
    )
    yield _rule(
        "expected calibration error", "absolute", f"{error:.4f}", f"<= {settings.max_calibration_error:g}",
        error <= settings.max_calibration_error,
    )  # fmt: skip
    yield _rule(
        "size", "absolute", f"{candidate.size_mib:.1f} MiB", f"<= {settings.max_size_mib:g} MiB",
        candidate.size_mib <= settings.max_size_mib,
    )  # fmt: skip


def comparison(
    settings: Gate, labels: NDArray[np.int64], candidate: Answers, champion: Answers, emotions: "Emotions"
) -> Iterator[Rule]:
    """What is asked of a version against the champion; `emotions` is what `per_emotion` gives."""
    right = [answers.probabilities.argmax(axis=1) == labels for answers in (candidate, champion)]
    test = paired(right[1], right[0])
    confidence = 1 - settings.significance
    low, high = difference_interval(right[1], right[0], confidence, settings.resamples, settings.seed)
    difference, p_value = test["difference"], test["p_value"]
    yield _rule(
        "accuracy against the champion (McNemar, exact)", "comparison", f"{difference:+.4f}, p = {p_value:.3g}",
        f"not lower with p < {settings.significance:g}", difference >= 0 or p_value >= settings.significance,
    )  # fmt: skip
    yield _rule(
        f"its {100 * confidence:g} % interval (bootstrap)", "comparison", f"{low:+.4f} to {high:+.4f}",
        "not all below 0", high >= 0,
    )  # fmt: skip
    worst = max(emotions, key=lambda row: float(row["loss"]))
    yield _rule(
        "largest loss of recall", "comparison", f"{max(0.0, float(worst['loss'])):.4f} ({worst['emotion']})",
        f"<= {settings.max_recall_loss:g}", float(worst["loss"]) <= settings.max_recall_loss,
    )  # fmt: skip
    ratio = candidate.latency_ms / champion.latency_ms
    yield _rule(
        "latency against the champion", "comparison", f"{ratio:.2f} x", f"<= {settings.max_latency_ratio:g} x",
        ratio <= settings.max_latency_ratio,
    )  # fmt: skip


def _rule(name: str, kind: Literal["absolute", "comparison"], figure: str, bound: str, passed: bool) -> Rule:
    return Rule(name=name, kind=kind, figure=figure, bound=bound, passed=bool(passed))


def per_emotion(labels: NDArray[np.int64], candidate: Answers, champion: Answers) -> Emotions:
    """A row per emotion that occurs: emotion, images, recall, champion_recall, loss, p_value (McNemar)."""
    rows: list[dict[str, float | str]] = []
    for label in np.unique(labels):
        of_it = labels == label
        ours, theirs = (a.probabilities[of_it].argmax(axis=1) == label for a in (candidate, champion))
        rows.append(
            {
                "emotion": EMOTIONS[label],
                "images": int(of_it.sum()),
                "recall": float(ours.mean()),
                "champion_recall": float(theirs.mean()),
                "loss": float(theirs.mean() - ours.mean()),
                "p_value": paired(theirs, ours)["p_value"],
            }
        )
    return tuple(rows)


def figures(labels: NDArray[np.int64], name: str, answers: Answers, bins: int) -> dict[str, float]:
    """What a run logs of one version's answers."""
    from emotion.evaluation import metrics as scoring

    scores = scoring.score(labels, answers.probabilities, bins)
    return {f"{name}.{key}": value for key, value in scores.items()} | {
        f"{name}.latency_ms": answers.latency_ms,
        f"{name}.size_mib": answers.size_mib,
    }
