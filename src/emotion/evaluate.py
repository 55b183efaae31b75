"""Evaluate the exported SavedModel, which is what is shipped.

    python -m emotion.evaluate

Reads data/faces/, models/saved_model/ and `params: evaluate`; writes reports/metrics.json (the headline figures),
reports/speed.json (latency and throughput on this machine) and reports/evaluation/ (all scores in scores.json,
tables for DVC plots, figures), and logs all of them into the MLflow run of `train`.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from emotion.data.dataset import Dataset, open_dataset, subset
from emotion.evaluation.metrics import confidence_threshold, score, selective_accuracy, subset_name
from emotion.evaluation.report.familiarity import TEST_FACES, other_inputs
from emotion.evaluation.report.write import (
    write_familiarity,
    write_groups,
    write_robustness,
    write_split,
    write_test_figures,
)
from emotion.inference.benchmark import measure_speed
from emotion.inference.load import NOVELTY_LIMIT, Fast, Model, assess, check_classes, load_saved_model, predict
from emotion.params.load import load_params
from emotion.params.sections import Evaluate
from emotion.runtime.errors import run_main
from emotion.runtime.files import atomic_write, folder_size, write_json
from emotion.runtime.paths import EVALUATION, METRICS, SAVED_MODEL, SCORES, SPEED
from emotion.runtime.progress import track

HEADLINE = {  # subsets of the images, and their figures in reports/metrics.json
    "test": ("accuracy", "balanced_accuracy", "macro_f1", "loss", "expected_calibration_error", "images"),
    "test_unseen": ("accuracy",),
    "test_answered": ("accuracy", "coverage"),
    "validation": ("accuracy",),
}


def evaluate(settings: Evaluate, dataset: Dataset, model: Model, report: Path) -> dict[str, Any]:
    """Score validation, test and subsets of test; write tables and figures; return the scores.

    Args:
        settings: the parameters of the stage.
        dataset: the dataset to score the model on.
        model: a model from `load_saved_model`.
        report: the folder for tables and figures.

    Raises:
        UserError: if the model tells other emotions than the dataset has, or takes other images.
    """
    check_classes(model, dataset)
    validation, test, batch = dataset.split("validation"), dataset.split("test"), settings.batch_size
    val_probabilities = predict(model, validation.images, batch, "Predicting validation images")
    probabilities, novelty_of_test = assess(model, test.images, batch, "Predicting test images")
    others = other_inputs(test.images, dataset.is_drawn)
    kinds = track(others.items(), "Predicting other inputs", len(others))
    novelty = {TEST_FACES: novelty_of_test} | {kind: assess(model, images, batch)[1] for kind, images in kinds}
    scores: dict[str, Any] = {"data": dataset.caption, "annotation": dataset.metadata["source"]["annotation"]}
    with atomic_write(report) as folder:
        for name, split, predicted in (("validation", validation, val_probabilities), ("test", test, probabilities)):
            scores |= write_split(name, split, predicted, settings.calibration_bins, folder)
        # Chosen on validation, never by a test score.
        unsure_below = confidence_threshold(validation.labels, val_probabilities, settings.target_accuracy)
        familiar = novelty[TEST_FACES] <= NOVELTY_LIMIT
        scores["test_answered"] = selective_accuracy(test.labels, probabilities, unsure_below, familiar)
        if hasattr(model, "fast"):
            fast = predict(Fast(model), test.images, batch, "Predicting test images with the fast signature")
            scores["test_fast"] = score(test.labels, fast, settings.calibration_bins)
        scores["familiarity"] = write_familiarity(novelty, NOVELTY_LIMIT, dataset.caption, folder)
        scores["test_per_class"] = write_test_figures(test, probabilities, settings, dataset.caption, folder)
        scores["test_groups"] = write_groups(test, probabilities, dataset.caption, folder)
        some = subset(test, min(1.0, settings.robustness_images / len(test)), seed=0)
        scores["test_robustness"] = write_robustness(
            partial(predict, model, batch_size=batch), some, dataset.caption, folder
        )
        write_json(folder / SCORES.name, scores)
    return scores


def headline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that `dvc metrics` shows."""
    subsets = {name: keys for name, keys in HEADLINE.items() if name in scores}
    return {"data": scores["data"]} | {
        subset_name(name, scores.get("annotation", "")): {key: scores[name][key] for key in keys}
        for name, keys in subsets.items()
    }


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.tracking.restore import resume_train_run
    from emotion.tracking.resume import delete_finished

    delete_finished()
    with resume_train_run("evaluate", params, exit_callbacks):
        dataset, model = open_dataset(), load_saved_model(SAVED_MODEL)
        scores = evaluate(params.evaluate, dataset, model, EVALUATION)
        write_json(METRICS, headline(scores))
        speed = measure_speed(model, dataset.split("test").images, params.evaluate.batch_size, fast=Fast(model))
        write_json(SPEED, {**speed, "saved_model_mib": folder_size(SAVED_MODEL) / 2**20})
        test, recalls = scores["test"], {name: row["recall"] for name, row in scores["test_per_class"].items()}
        hardest = min(recalls, key=lambda emotion: recalls[emotion])
        print(
            f"Test accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}, lowest recall"
            f" {recalls[hardest]:.4f} ({hardest}) on {scores['data']}"
        )
        print(f"{speed['latency_ms_median']:.1f} ms per image, {speed['images_per_second']:.0f} images/s in batches")


if __name__ == "__main__":
    run_main("evaluate", main)
