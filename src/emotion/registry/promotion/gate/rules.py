"""The rules of the gate, the verdict that they lead to, and the rules that judge a version on its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion.params.sections import Gate
from emotion.params.validation import Section

Outcome = Literal["PROMOTED", "HELD", "REJECTED"]
# integrity: the version is unchanged since registration, and safe; threshold: it is good enough on its own;
# comparison: it is not worse than the champion.
Kind = Literal["integrity", "threshold", "comparison"]
Probabilities = NDArray[np.float32]  # (n, 7) a version's predictions for the test images


class Rule(Section):
    """One rule, and whether a version passed it."""

    name: str
    kind: Kind
    value: str
    threshold: str
    passed: bool
    judged: bool = True  # False if there are too few images to say whether it passed

    @property
    def outcome(self) -> str:
        """Passed, failed, or not judged."""
        return "failed" if not self.passed else "passed" if self.judged else "not judged"


class Subset(Section):
    """The images of an emotion, or of a group, and how two versions predict them."""

    kind: str  # emotion, or an attribute of the data
    name: str
    images: int
    recall: float  # of the candidate: the share that is predicted correctly
    champion_recall: float
    p_value: float  # of a loss, one-sided, corrected for the number of subsets of the kinds that are judged together
    needed: int  # images that show a loss of the bound with a probability of 0.8

    @property
    def loss(self) -> float:
        """How much lower the candidate's recall is."""
        return self.champion_recall - self.recall


class Verdict(Section):
    """The outcome of all rules."""

    version: str
    champion: str | None
    former: str | None = None  # the former champion that it was also compared with, because it is the better one
    rules: tuple[Rule, ...]
    metrics: dict[str, float] = Field(default_factory=dict)
    subsets: tuple[Subset, ...] = ()
    notes: tuple[str, ...] = ()  # what the test images can tell, and what would change the outcome
    images: str = ""  # SHA-256 of the test images and their labels
    uses: int = 0  # how often they have decided about the model, this time included

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
        """REJECTED if the version fails on its own, HELD if it is not better than the champion, otherwise PROMOTED."""
        if any(rule.kind != "comparison" for rule in self.failed):
            return "REJECTED"
        return "HELD" if self.failed else "PROMOTED"


@dataclass(frozen=True)
class Measured:
    """What was measured of a version's SavedModel."""

    latency_ms: float  # median, one image at a time
    size_mib: float


def threshold_rules(
    settings: Gate, labels: NDArray[np.int64], probabilities: Probabilities, measured: Measured, bins: int
) -> Iterator[Rule]:
    """The rules that judge a version on its own.

    Args:
        settings: the thresholds.
        labels: (n,) the labels of the test images.
        probabilities: the version's predictions for them.
        measured: of the version.
        bins: the number of bins for the calibration error.
    """
    from emotion.evaluation import metrics  # scikit-learn, which takes a second

    scores = metrics.score(labels, probabilities, bins)
    accuracy, error = scores["accuracy"], scores["expected_calibration_error"]
    yield Rule(
        name="accuracy", kind="threshold", value=f"{accuracy:.4f}", threshold=f">= {settings.min_accuracy:g}",
        passed=accuracy >= settings.min_accuracy,
    )  # fmt: skip
    yield Rule(
        name="expected calibration error", kind="threshold", value=f"{error:.4f}",
        threshold=f"<= {settings.max_calibration_error:g}", passed=error <= settings.max_calibration_error,
    )  # fmt: skip
    yield Rule(
        name="size", kind="threshold", value=f"{measured.size_mib:.1f} MiB",
        threshold=f"<= {settings.max_size_mib:g} MiB", passed=measured.size_mib <= settings.max_size_mib,
    )  # fmt: skip


def gate_metrics(
    labels: NDArray[np.int64], name: str, probabilities: Probabilities, measured: Measured, bins: int
) -> dict[str, float]:
    """The metrics of one version's predictions, with names that start with `name`."""
    from emotion.evaluation import metrics

    scores = metrics.score(labels, probabilities, bins)
    return {f"{name}/{key}": value for key, value in scores.items()} | {
        f"{name}/latency_ms": measured.latency_ms,
        f"{name}/size_mib": measured.size_mib,
    }
