"""The tables of a model card, as Markdown."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from emotion.data.dataset import Dataset
from emotion.data.labels import SPLITS
from emotion.evaluation import predictions
from emotion.evaluation.intervals import score_intervals
from emotion.evaluation.metrics import evaluation_subsets
from emotion.evaluation.significance import format_interval
from emotion.registry.versions import parse_json_tag
from emotion.runtime.files import read_csv
from emotion.runtime.paths import EVALUATION

SUBSETS = {"validation": "validation", "test": "test", "test_unseen": "test, without images seen in training"}
ORIGIN = {  # tags of the version, and their names in the card
    "run_id": "MLflow run",
    "git.commit": "commit",
    "git.dirty": "uncommitted changes",
    "data.sha256": "archive, SHA-256",
    "data.dvc_hash": "dataset, DVC's hash",
    "tune.run_id": "search",
    "tune.trial": "trial",
    "tune.score": "score of the trial",
    "precision": "precision",
    "temperature": "temperature",
    "machine": "machine",
    "libraries": "libraries",
    "saved_model.sha256": "SavedModel, SHA-256",
    "dvc.lock.sha256": "dvc.lock, SHA-256",
    "registered_by": "registered by",
}


def hyperparameters_table(params: Mapping[str, str]) -> str:
    """The parameters of preprocessing and training."""
    rows = [
        {"parameter": f"`{key}`", "value": value}
        for key, value in sorted(params.items())
        if key.startswith(("train.", "preprocess."))
    ]
    return _to_markdown(pd.DataFrame(rows))


def scores_table(dataset: Dataset, scores: Mapping[str, Any], bins: int) -> str:
    """The metrics of validation and test images, with their intervals."""
    rows = []
    for split in ("validation", "test"):
        table = predictions.read(EVALUATION / split / predictions.FILE_NAME, "Run `dvc repro --force evaluate`.")
        emotions = list(predictions.emotions_of(table))
        labels = pd.Categorical(table["actual"], categories=emotions).codes.astype(np.int64)
        for subset, rows_of_subset in evaluation_subsets(split, dataset.split(split).index).items():
            if subset not in SUBSETS:
                continue
            probabilities = table[emotions].to_numpy(np.float32)[rows_of_subset]
            intervals = score_intervals(labels[rows_of_subset], probabilities, bins)
            rows.append(_scores_row(SUBSETS[subset], scores[subset], intervals))
    return _to_markdown(pd.DataFrame(rows))


def _scores_row(
    name: str, scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, str | int]:
    def cell(key: str) -> str:
        low, high = intervals[key]
        return f"{scores[key]:.3f} ({low:.3f} to {high:.3f})"

    return {
        "": name,
        "images": int(scores["images"]),
        "accuracy": format_interval(scores["accuracy"], scores["images"]),
        "macro F1": cell("macro_f1"),
        "loss": cell("loss"),
        "calibration error": cell("expected_calibration_error"),
        "coverage at 90% accuracy": cell("coverage_at_90"),
    }


def emotions_table(metrics: Mapping[str, Any]) -> str:
    """Recall and precision of each emotion."""
    rows = [
        {
            "emotion": emotion,
            "test images": int(scores["support"]),
            "recall": format_interval(scores["recall"], scores["support"]),
            "precision": f"{scores['precision']:.3f}",
        }
        for emotion, scores in metrics["test_per_class"].items()
    ]
    return _to_markdown(pd.DataFrame(rows))


def groups_table(groups: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Accuracy per group; empty if the data has no attributes."""
    rows = [
        {
            "attribute": attribute,
            "group": group,
            "test images": int(scores["images"]),
            "accuracy": format_interval(scores["accuracy"], scores["images"]),
        }
        for attribute, of_attribute in groups.items()
        for group, scores in of_attribute.items()
    ]
    return _to_markdown(pd.DataFrame(rows)) if rows else ""


def familiarity_table() -> str:
    """How many inputs of each kind are called unfamiliar."""
    table = read_csv(
        EVALUATION / "familiarity.csv", ("input", "unfamiliar", "auroc"), "Run `dvc repro --force evaluate`."
    )
    rows = [
        {
            "input": row["input"],
            "images": row["images"],
            "called unfamiliar": format_interval(row["unfamiliar"], row["images"]),
            "AUROC against test faces": "" if pd.isna(row["auroc"]) else f"{row['auroc']:.3f}",
        }
        for row in table.to_dict("records")
    ]
    return _to_markdown(pd.DataFrame(rows))


def robustness_table() -> str:
    """The accuracy on corrupted images."""
    table = read_csv(EVALUATION / "robustness.csv", (), "Run `dvc repro --force evaluate`.")
    rows = [
        {
            "corruption of test images": name,
            "accuracy by severity (0: the original images)": ", ".join(
                f"{row.accuracy:.3f} at {row.level:g}" for row in group.itertuples()
            ),
        }
        for name, group in table.groupby("corruption", sort=False)
    ]
    return _to_markdown(pd.DataFrame(rows))


def exports_table(exports: pd.DataFrame) -> str:
    """The files of both signatures, from `measure_exports`."""
    table = exports.assign(signature=[f"`{name}`" for name in exports["signature"]])
    for column, form in zip(table.columns[2:], ("{:.2f}", "{:.2f}", "{:.1%}"), strict=True):
        table[column] = ["refused" if pd.isna(value) else form.format(value) for value in table[column]]
    return _to_markdown(table)


def counts_table(splits: Mapping[str, Mapping[str, int]]) -> str:
    """The number of images of each emotion in each split."""
    rows = [{"emotion": emotion, **{name: splits[name][emotion] for name in SPLITS}} for emotion in splits["test"]]
    return _to_markdown(pd.DataFrame(rows))


def origin_table(facts: Mapping[str, str]) -> str:
    """Where the version comes from."""
    libraries = ", ".join(" ".join(item) for item in parse_json_tag(facts, "libraries").items())
    facts = {**facts, "libraries": libraries}
    rows = [{" ": name, "": f"`{facts[key]}`"} for key, name in ORIGIN.items() if facts.get(key)]
    return _to_markdown(pd.DataFrame(rows))


def _to_markdown(rows: pd.DataFrame) -> str:
    return str(rows.to_markdown(index=False, disable_numparse=True))
