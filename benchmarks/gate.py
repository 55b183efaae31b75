"""Simulate the gate of `emotion promote`: how often it promotes versions that are truly better or worse.

    python benchmarks/gate.py [--draws 2000] [--chains 300] [--figure docs/pictures/gate.png]
    python benchmarks/gate.py --pairs FIRST/predictions.csv --pairs SECOND/predictions.csv ...

A classifier sees a noisy signal of the actual emotion of each image, and answers with the exact probabilities given
that signal. Two classifiers share a part of the noise, so that they answer some images differently; a part of the
labels is wrong. The strength of the signals is chosen for an accuracy of 70%, and the shared part for 17% of images
that only one of them answers correctly. A chain is a series of candidates for the same test images, whose true
accuracies vary around 0.3 points below the first champion's, by 0.7 points.

Compared with the gate's policies: "not significantly worse" (McNemar's exact test, p < 0.05), which the gate asked
for in earlier releases, and "not lower", which compares the observed accuracies only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import brentq

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.evaluation import predictions
from emotion.evaluation.significance import loss_per_image, mcnemar_test
from emotion.params.load import load_params
from emotion.params.sections import Gate
from emotion.registry.promotion.gate.comparison import Comparison
from emotion.registry.promotion.gate.judge import Scored, judge

SIZES = (400, 3589, 7178)
DIFFERENCES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)  # points
CHAIN, CHAIN_MEAN, CHAIN_DEVIATION = 50, -0.3, 0.7  # candidates; points
POPULATION = 500_000
CLASSES = 7
Passes = Callable[[Comparison], bool]


@dataclass(frozen=True)
class World:
    """What classifiers of different strength answer.

    Args:
        accuracy: of the first champion.
        discordant: the share of images that two classifiers of that accuracy answer differently.
        label_noise: the share of images with a random label.
    """

    accuracy: float = 0.70
    discordant: float = 0.17
    label_noise: float = 0.10

    def images(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], np.ndarray]:
        """The emotions, the labels, and the noise that all classifiers share, of new images."""
        emotions = rng.integers(0, CLASSES, count)
        labels = np.where(rng.random(count) < self.label_noise, rng.integers(0, CLASSES, count), emotions)
        return emotions, labels, rng.normal(size=(count, CLASSES))

    def answers(
        self, emotions: NDArray[np.int64], shared: np.ndarray, strength: float, overlap: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The probabilities that a classifier with a signal of some strength answers."""
        signal = np.sqrt(overlap) * shared + np.sqrt(1 - overlap) * rng.normal(size=shared.shape)
        signal[np.arange(len(emotions)), emotions] += strength
        weights = np.exp(strength * (signal - signal.max(axis=1, keepdims=True)))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        return np.asarray((1 - self.label_noise) * probabilities + self.label_noise / CLASSES, np.float32)

    def fit(self) -> tuple[Callable[[float], float], float]:
        """The strength that leads to an accuracy, as a function; and the share of the noise that is shared."""
        emotions, labels, shared = self.images(POPULATION, np.random.default_rng(1))

        def accuracy(strength: float, overlap: float = 0.5) -> float:
            answers = self.answers(emotions, shared, strength, overlap, np.random.default_rng(2))
            return float((answers.argmax(axis=1) == labels).mean())

        strengths = np.linspace(1, 4, 25)
        accuracies = [accuracy(strength) for strength in strengths]

        def strength_for(wanted: float) -> float:
            return float(np.interp(wanted, accuracies, strengths))

        def excess(overlap: float) -> float:
            pair = [
                self.answers(emotions, shared, strength_for(self.accuracy), overlap, np.random.default_rng(seed))
                for seed in (3, 4)
            ]
            first, second = (answers.argmax(axis=1) == labels for answers in pair)
            return float((first != second).mean()) - self.discordant

        return strength_for, float(brentq(excess, 0.01, 0.999, xtol=1e-3))


def policies(gate: Gate) -> dict[str, Passes]:
    """The rules to compare, by name."""

    def passes(settings: Gate, compared: Comparison) -> bool:
        count = len(compared.labels)
        test = Split(np.empty((count, 0, 0), np.uint8), compared.labels, pd.DataFrame(index=range(count)), EMOTIONS)
        versions = Scored("2", compared.candidate), Scored("1", compared.other)
        return all(rule.passed for rule in judge(settings, test, *versions, ()).rules)

    def is_not_significantly_worse(compared: Comparison) -> bool:
        test = mcnemar_test(*compared.is_correct)
        return test["difference"] >= 0 or test["p_value"] >= 0.05

    return {
        "improve": partial(passes, gate.model_copy(update={"policy": "improve"})),
        "not_worse": partial(passes, gate.model_copy(update={"policy": "not_worse"})),
        "not significantly worse": is_not_significantly_worse,
        "not lower": lambda compared: compared.difference >= 0,
    }


def operating_characteristics(
    world: World, gate: Gate, sizes: Sequence[int], differences: Sequence[float], draws: int, seed: int = 0
) -> pd.DataFrame:
    """How often a candidate passes: a row per size, difference (in points) and policy, with `passes` in 0..1.

    Args:
        world: how classifiers answer.
        gate: the thresholds.
        sizes: numbers of test images.
        differences: of the true accuracy, candidate minus champion, in points.
        draws: test sets per row.
        seed: of the test sets.
    """
    strength_for, overlap = world.fit()
    rng = np.random.default_rng(seed)
    emotions, labels, shared = world.images(POPULATION, rng)
    champion = world.answers(emotions, shared, strength_for(world.accuracy), overlap, rng)
    rows = []
    for difference in track(differences, "Operating characteristics"):
        strength = strength_for(world.accuracy + difference / 100)
        candidate = world.answers(emotions, shared, strength, overlap, rng)
        for size in sizes:
            passed = dict.fromkeys(policies(gate), 0)
            for _ in range(draws):
                chosen = rng.integers(0, POPULATION, size)
                compared = Comparison("", labels[chosen], candidate[chosen], champion[chosen])
                for name, passes in policies(gate).items():
                    passed[name] += passes(compared)
            rows += [(size, difference, name, count / draws) for name, count in passed.items()]
    return pd.DataFrame(rows, columns=["images", "difference", "policy", "passes"])


def chains(
    world: World, gate: Gate, sizes: Sequence[int], count: int, length: int = CHAIN, seed: int = 0
) -> pd.DataFrame:
    """The effect of many promotions in a row: a row per size and policy.

    Returns:
        images, policy, promotions (mean number), truly_worse (share of them), champion (its true accuracy in the end,
        in points relative to the first champion; the mean over `count` chains).
    """
    strength_for, overlap = world.fit()
    rows = []
    for size in sizes:
        ends = {name: _Chain() for name in policies(gate)}
        for number in track(range(count), f"Chains on {size} images"):
            rng = np.random.default_rng([seed, number])
            for end in ends.values():
                end.begin()
            for quality, labels, answers in _candidates(world, size, length, strength_for, overlap, rng):
                for name, passes in policies(gate).items():
                    ends[name].decide(quality, labels, answers, passes)
        rows += [
            (size, name, end.promotions / count, end.worse / max(1, end.promotions), end.total() / count)
            for name, end in ends.items()
        ]
    return pd.DataFrame(rows, columns=["images", "policy", "promotions", "truly_worse", "champion"])


def _candidates(
    world: World, size: int, length: int, strength_for: Callable[[float], float], overlap: float,
    rng: np.random.Generator,
) -> Iterator[tuple[float, NDArray[np.int64], NDArray[np.float32]]]:  # fmt: skip
    """The true quality (in points), the labels and the answers of the first champion, then of the candidates."""
    emotions, labels, shared = world.images(size, rng)
    for quality in (0.0, *rng.normal(CHAIN_MEAN, CHAIN_DEVIATION, length)):
        strength = strength_for(world.accuracy + quality / 100)
        yield quality, labels, world.answers(emotions, shared, strength, overlap, rng)


class _Chain:
    """The champions of one policy, over many chains. Each is compared with the best former one, as the gate does."""

    def __init__(self) -> None:
        self.promotions, self.worse, self.ends = 0, 0, list[float]()
        self.former: list[NDArray[np.float32]] = []

    def begin(self) -> None:
        """Start a chain."""
        self.former = []

    def decide(self, quality: float, labels: NDArray[np.int64], answers: NDArray[np.float32], passes: Passes) -> None:
        """Promote a candidate, or not; the first one of a chain always."""
        if not self.former:
            self.former.append(answers)
            self.ends.append(quality)
            return
        best = max(self.former, key=lambda other: (other.argmax(axis=1) == labels).mean())
        against = [self.former[-1], *([best] if best is not self.former[-1] else [])]
        if all(passes(Comparison("", labels, answers, other)) for other in against):
            self.promotions += 1
            self.worse += quality < self.ends[-1]
            self.former.append(answers)
            self.ends[-1] = quality

    def total(self) -> float:
        """The sum of the last champions' true qualities."""
        return sum(self.ends)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw how often candidates pass, by their true difference from the champion."""
    sizes = sorted(table["images"].unique())
    figure = Figure(figsize=(4 * len(sizes), 3.6), layout="constrained")
    for axis, size in zip(np.atleast_1d(figure.subplots(1, len(sizes), sharey=True)), sizes, strict=True):
        for policy, rows in table[table["images"] == size].groupby("policy", sort=False):
            style = "o-" if policy in ("improve", "not_worse") else ":"
            axis.plot(rows["difference"], 100 * rows["passes"], style, markersize=3, label=policy)
        axis.axvline(0, color="gray", linewidth=0.5)
        axis.set(title=f"{size:,} test images", xlabel="true difference (points of accuracy)", ylim=(0, 100))
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("% promoted")
    figure.axes[-1].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def to_markdown(table: pd.DataFrame) -> str:
    """The operating characteristics in percent: a row per policy and size, a column per difference."""
    wide = (100 * table.set_index(["policy", "images", "difference"])["passes"]).round(1).unstack()
    wide.columns = [f"{difference:+g}" for difference in wide.columns]
    return str(wide.reset_index().to_markdown(index=False))


def measured_pairs(paths: Sequence[Path]) -> pd.DataFrame:
    """How real models differ on the same images: a row per pair of predictions.csv.

    Returns:
        difference (of accuracy, in points), discordant (the share of images that only one predicts correctly), and how
        many standard errors the difference of accuracy, and that of log loss, is from 0.
    """
    tables = {path.parent.name or path.name: predictions.read(path, "Run `dvc repro`.") for path in paths}
    rows = []
    for (first, one), (second, other) in combinations(tables.items(), 2):
        labels = np.asarray(pd.Categorical(one["actual"], categories=EMOTIONS).codes, np.int64)
        answers = [table[list(EMOTIONS)].to_numpy(np.float32) for table in (one, other)]
        before, after = (np.asarray(it.argmax(axis=1) == labels, float) for it in answers)
        losses = loss_per_image(labels, answers[0]) - loss_per_image(labels, answers[1])
        z = [float(change.mean() / change.std() * np.sqrt(len(labels))) for change in (after - before, losses)]
        rows.append((first, second, 100 * (after - before).mean(), (before != after).mean(), *z))
    columns = ["first", "second", "difference", "discordant", "z of accuracy", "z of log loss"]
    return pd.DataFrame(rows, columns=columns)


def main(
    draws: int = 2000,
    number_of_chains: int = typer.Option(300, "--chains"),
    figure: Path | None = None,
    pairs: list[Path] = typer.Option([], help="Only compare these predictions.csv of real models."),  # noqa: B008
) -> None:
    """Print both tables, and draw the first."""
    if pairs:
        print(measured_pairs(pairs).round(2).to_markdown(index=False))
        return
    world, gate = World(), load_params().register_.gate
    table = operating_characteristics(world, gate, SIZES, DIFFERENCES, draws)
    print(f"Promoted, in %, by the true difference in points of accuracy ({draws} test sets each):\n")
    print(to_markdown(table))
    if figure:
        draw(table, figure)
    if number_of_chains:
        print(f"\nThe end of {number_of_chains} chains of {CHAIN} candidates:\n")
        print(chains(world, gate, SIZES, number_of_chains).round(2).to_markdown(index=False))


if __name__ == "__main__":
    typer.run(main)
