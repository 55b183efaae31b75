"""Score the exported SavedModel, the very files that ship.

    python -m emotion.evaluate

Reads data/faces/, models/saved_model/, models/run.json and `params: evaluate`; writes
reports/metrics.json, reports/speed.json (latency and throughput here and now) and
reports/evaluation/ (tables for DVC plots, figures), and logs all into the MLflow run of `train`.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from emotion import params
from emotion.data.dataset import Faces, Labels, Split, open_faces, subset
from emotion.data.labels import EMOTIONS
from emotion.evaluation import metrics as scoring
from emotion.evaluation import predictions, robustness
from emotion.evaluation.figures import base as figures
from emotion.evaluation.metrics import Probabilities
from emotion.inference.load import load_saved_model, measure_speed, predict
from emotion.inference.op_allowlist import size
from emotion.runtime.errors import exit_cleanly
from emotion.runtime.paths import EVALUATION, METRICS, SAVED_MODEL, SPEED, whole, write_json
from emotion.training.checkpoints import clear_finished


def evaluate(settings: params.Evaluate, faces: Faces, model: Any, report: Path) -> dict[str, Any]:
    """Score validation, test and parts of test; write tables and figures; return the metrics."""
    metrics: dict[str, Any] = {"data": faces.caption}
    unsure_below = 0.0
    with whole(report) as folder:
        for name in ("validation", "test"):
            split = faces.split(name)
            probabilities = predict(model, split.images, settings.batch_size)
            for part, rows in scoring.parts(name, split.index).items():
                labels, answers = split.labels[rows], probabilities[rows]
                metrics[part] = scoring.score(labels, answers, settings.calibration_bins)
                _write_tables(labels, answers, folder / part)
            predictions.write(predictions.table(split.index, probabilities), folder / name / predictions.FILE)
            if name == "validation":  # never by a test score
                unsure_below = scoring.sure_from(split.labels, probabilities, settings.sure_accuracy)
        metrics["test_answered"] = scoring.answered(split.labels, probabilities, unsure_below)
        table = scoring.per_class_table(split.labels, probabilities)
        metrics["test_per_class"] = table.set_index("emotion").T.to_dict()
        some = subset(split, min(1.0, settings.robustness_images / len(split)), seed=0)
        corrupted = robustness.table(lambda images: predict(model, images, settings.batch_size), some)
        corrupted.to_csv(folder / "robustness.csv", index=False)
        metrics["test_robustness"] = robustness.summary(corrupted)
        figures.robustness(corrupted, f"{len(some)} test images: {faces.caption}", folder / "robustness.png")
        _draw(settings, split, probabilities, table, faces.caption, folder)
    return metrics


def _write_tables(labels: Labels, probabilities: Probabilities, folder: Path) -> None:
    """Per emotion, and the confusion matrix with actual emotions in rows."""
    folder.mkdir(parents=True)
    scoring.per_class_table(labels, probabilities).to_csv(folder / "per_class.csv", index=False)
    matrix = pd.DataFrame(scoring.confusion_matrix(labels, probabilities), index=EMOTIONS, columns=EMOTIONS)
    matrix.to_csv(folder / "confusion.csv", index_label="actual")


def _draw(
    settings: params.Evaluate,
    test: Split,
    probabilities: Probabilities,
    table: pd.DataFrame,
    caption: str,
    folder: Path,
) -> None:
    matrix = scoring.confusion_matrix(test.labels, probabilities)
    figures.confusion(matrix, caption, folder / "confusion.png")
    figures.per_class(table, caption, folder / "per_class.png")
    calibration = scoring.reliability_table(test.labels, probabilities, settings.calibration_bins)
    calibration.to_csv(folder / "reliability.csv", index=False)
    figures.reliability(calibration, caption, folder / "reliability.png")
    coverage = scoring.coverage_table(test.labels, probabilities)
    coverage.to_csv(folder / "coverage.csv", index=False)
    figures.coverage(coverage, caption, folder / "coverage.png")
    mistakes = scoring.mistakes_table(test.index, test.labels, probabilities)
    mistakes.to_csv(folder / "mistakes.csv", index=False, float_format="%.5f")
    worst = scoring.worst_mistakes(test.labels, probabilities, settings.mistakes)
    titles = [
        f"{EMOTIONS[test.labels[row]]}, not\n{EMOTIONS[probabilities[row].argmax()]} ({probabilities[row].max():.0%})"
        for row in worst
    ]
    figures.mistakes(test.images[worst], titles, caption, folder / "mistakes.png")


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.tracking import restore as restoring

    clear_finished()

    with restoring.train_run("evaluate", settings):
        faces, model = open_faces(), load_saved_model(SAVED_MODEL)
        metrics = evaluate(settings.evaluate, faces, model, EVALUATION)
        write_json(METRICS, metrics)
        speed = measure_speed(model, faces.split("test").images, settings.evaluate.batch_size)
        write_json(SPEED, {**speed, "saved_model_mib": size(SAVED_MODEL) / 2**20})
        test, disgust = metrics["test"], metrics["test_per_class"]["disgust"]["recall"]
        print(
            f"Test accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}, recall of disgust"
            f" {disgust:.4f} on {metrics['data']}"
        )
        print(
            f"{speed['latency_ms_median']:.1f} ms for one image, {speed['images_per_second']:.0f} images/s in batches"
        )


if __name__ == "__main__":
    exit_cleanly("evaluate", main)
