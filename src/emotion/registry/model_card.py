"""The model card of a version (Mitchell et al., 2019): intended use, metrics, data, origin; as Markdown and HTML."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt

from emotion.data.dataset import DatasetMetadata, is_drawn
from emotion.data.labels import EMOTIONS, SPLITS
from emotion.evaluation.significance import CONFIDENCE, format_interval
from emotion.registry.versions import parse_json_tag
from emotion.runtime.files import atomic_write, read_csv, read_json
from emotion.runtime.paths import DATASET, EVALUATION, SPEED

# Only figures without faces: the training images may not be shown publicly.
FIGURES = ("confusion.png", "per_class.png", "reliability.png", "coverage.png", "familiarity.png", "robustness.png")
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


def write(folder: Path, title: str, facts: Mapping[str, str], metrics: Mapping[str, Any]) -> None:
    """Write model_card.md and, with figures, model_card.html.

    Args:
        folder: the folder to write the two files to.
        title: the name and number of the version.
        facts: the version's tags and its run_id.
        metrics: the content of reports/metrics.json.
    """
    templates = Environment(
        loader=PackageLoader("emotion.registry"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    metadata = read_json(DATASET / "dataset.json", "Run `dvc repro --force preprocess`.", DatasetMetadata)
    counts = metadata["counts"]
    text = templates.get_template("model_card.md.j2").render(
        title=title,
        emotions=EMOTIONS,
        is_drawn=is_drawn(metadata),
        scores=_scores_table(metrics),
        confidence=CONFIDENCE,
        answered=metrics["test_answered"],
        per_emotion=_emotions_table(metrics),
        familiarity=_familiarity_table(),
        robustness=_robustness_table(),
        speed=read_json(SPEED, "Run `dvc repro --force evaluate`.", dict[str, float]) if SPEED.exists() else None,
        data=metrics["data"],
        protocol=metadata["preprocess"]["protocol"],
        counts=_counts_table(counts["splits"]),
        seen=counts["seen_in_training"],
        conflicts=counts["groups_with_conflicting_labels"],
        origin=_origin_table(facts),
    )
    figures = {Path(name).stem: base64.b64encode((EVALUATION / name).read_bytes()).decode() for name in FIGURES}
    body = MarkdownIt("commonmark").enable("table").render(text)
    page = templates.get_template("model_card.html.j2").render(title=title, body=body, figures=figures)
    with atomic_write(folder) as tmp:
        tmp.mkdir(parents=True)
        (tmp / "model_card.md").write_text(text)
        (tmp / "model_card.html").write_text(page)


def _scores_table(metrics: Mapping[str, Any]) -> str:
    rows = [
        {
            "": name,
            "images": scores["images"],
            "accuracy": format_interval(scores["accuracy"], scores["images"]),
            "macro F1": f"{scores['macro_f1']:.3f}",
            "loss": f"{scores['loss']:.3f}",
            "calibration error": f"{scores['expected_calibration_error']:.3f}",
            "coverage at 90% accuracy": f"{scores['coverage_at_90']:.3f}",
        }
        for subset, name in SUBSETS.items()
        if (scores := metrics.get(subset))
    ]
    return _to_markdown(pd.DataFrame(rows))


def _emotions_table(metrics: Mapping[str, Any]) -> str:
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


def _familiarity_table() -> str:
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


def _robustness_table() -> str:
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


def _counts_table(splits: Mapping[str, Mapping[str, int]]) -> str:
    rows = [{"emotion": emotion, **{name: splits[name][emotion] for name in SPLITS}} for emotion in EMOTIONS]
    return _to_markdown(pd.DataFrame(rows))


def _origin_table(facts: Mapping[str, str]) -> str:
    libraries = ", ".join(" ".join(item) for item in parse_json_tag(facts, "libraries").items())
    facts = {**facts, "libraries": libraries}
    rows = [{" ": name, "": f"`{facts[key]}`"} for key, name in ORIGIN.items() if facts.get(key)]
    return _to_markdown(pd.DataFrame(rows))


def _to_markdown(rows: pd.DataFrame) -> str:
    return str(rows.to_markdown(index=False, disable_numparse=True))
