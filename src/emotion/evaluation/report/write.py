"""The tables and figures of an evaluation, written to one folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import Images, Split
from emotion.evaluation import metrics, predictions
from emotion.evaluation.figures.metrics import (
    draw_confusion,
    draw_coverage,
    draw_familiarity,
    draw_groups,
    draw_mistakes,
    draw_per_class,
    draw_reliability,
    draw_robustness,
)
from emotion.evaluation.metrics import Probabilities
from emotion.evaluation.report.familiarity import familiarity_summary, familiarity_table
from emotion.evaluation.report.groups import groups_summary, groups_table
from emotion.evaluation.report.robustness import robustness_summary, robustness_table
from emotion.params.sections import Evaluate


def write_split(
    name: str, split: Split, probabilities: Probabilities, bins: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Write the predictions of a split, and the tables of it and its subsets.

    Args:
        name: validation or test.
        split: its images and labels.
        probabilities: (n, classes) predicted for them.
        bins: the number of bins for the calibration error.
        folder: gets a folder per subset, with per_class.csv and confusion.csv (actual emotions in rows).

    Returns:
        The metrics by subset.
    """
    scores = {}
    for subset_name, rows in metrics.evaluation_subsets(name, split.index).items():
        labels, chosen = split.labels[rows], probabilities[rows]
        scores[subset_name] = metrics.score(labels, chosen, bins)
        if split.has_votes:
            loss = metrics.distribution_loss(split.distributions[rows], chosen)
            scores[subset_name]["distribution_loss"] = loss
        (folder / subset_name).mkdir(parents=True)
        metrics.per_class_table(labels, chosen, split.emotions).to_csv(
            folder / subset_name / "per_class.csv", index=False
        )
        matrix = pd.DataFrame(metrics.confusion_matrix(labels, chosen), split.emotions, split.emotions)
        matrix.to_csv(folder / subset_name / "confusion.csv", index_label="actual")
    table = predictions.predictions_table(split.index, probabilities, split.emotions)
    predictions.write(table, folder / name / predictions.FILE_NAME)
    return scores


def write_test_figures(
    test: Split, probabilities: Probabilities, settings: Evaluate, caption: str, folder: Path
) -> dict[str, dict[str, float]]:
    """Write the figures about test images with their tables; return the metrics by emotion."""
    emotions = test.emotions
    matrix = metrics.confusion_matrix(test.labels, probabilities)
    draw_confusion(matrix, emotions, caption, folder / "confusion.png")
    per_class = metrics.per_class_table(test.labels, probabilities, emotions)
    draw_per_class(per_class, caption, folder / "per_class.png")
    calibration = metrics.reliability_table(test.labels, probabilities, settings.calibration_bins)
    calibration.to_csv(folder / "reliability.csv", index=False)
    draw_reliability(calibration, caption, folder / "reliability.png")
    coverage = metrics.coverage_table(test.labels, probabilities)
    coverage.to_csv(folder / "coverage.csv", index=False)
    draw_coverage(coverage, caption, folder / "coverage.png")
    mistakes = metrics.mistakes_table(test, probabilities)
    mistakes.to_csv(folder / "mistakes.csv", index=False, float_format="%.5f")
    worst = metrics.worst_mistakes(test.labels, probabilities, settings.mistakes)
    titles = [
        f"{emotions[test.labels[row]]}, not\n{emotions[probabilities[row].argmax()]} ({probabilities[row].max():.0%})"
        for row in worst
    ]
    draw_mistakes(test.images[worst], titles, caption, folder / "mistakes.png")
    return {str(emotion): dict(scores) for emotion, scores in per_class.set_index("emotion").T.to_dict().items()}


def write_groups(test: Split, probabilities: Probabilities, caption: str, folder: Path) -> dict[str, Any]:
    """Write accuracy and recall per group as a table and a figure; return the accuracies."""
    table = groups_table(test, probabilities)
    table.to_csv(folder / "groups.csv", index=False, float_format="%.5f")
    draw_groups(table, float((probabilities.argmax(axis=1) == test.labels).mean()), caption, folder / "groups.png")
    return groups_summary(table)


def write_robustness(
    predict: Callable[[Images], Probabilities], images: Split, caption: str, folder: Path
) -> dict[str, float]:
    """Write the accuracy under corruptions as a table and a figure; return its means."""
    table = robustness_table(predict, images)
    table.to_csv(folder / "robustness.csv", index=False)
    draw_robustness(table, f"{len(images)} test images: {caption}", folder / "robustness.png")
    return robustness_summary(table)


def write_familiarity(
    novelty: Mapping[str, NDArray[np.float32]], limit: float, caption: str, folder: Path
) -> dict[str, dict[str, float]]:
    """Write the novelty of each kind of input as a table and a figure; return the table.

    Args:
        novelty: of the test faces and of other inputs, (n,) float32, by kind.
        limit: the novelty above which an input is unfamiliar.
        caption: a description of the data.
        folder: the folder to write to.
    """
    table = familiarity_table(novelty, limit)
    table.to_csv(folder / "familiarity.csv", index=False)
    draw_familiarity(novelty, limit, caption, folder / "familiarity.png")
    return familiarity_summary(table)
