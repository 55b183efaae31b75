"""The model card of a version (Mitchell et al., 2019): intended use, metrics, data, origin; as Markdown and HTML."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt

from emotion.data.dataset import Dataset, describe_classes, open_dataset
from emotion.data.labels import SPLITS
from emotion.evaluation import predictions
from emotion.evaluation.intervals import score_intervals
from emotion.evaluation.metrics import evaluation_subsets
from emotion.evaluation.significance import CONFIDENCE, format_interval
from emotion.params.intended_use import IntendedUse
from emotion.registry.versions import Version, parse_json_tag
from emotion.runtime.files import atomic_write, read_csv, read_json
from emotion.runtime.paths import EVALUATION, LAYERS, MODEL_CARD, NETWORK, SPEED, TRAINING_CURVES
from emotion.runtime.text import without_front_matter
from emotion.tracking.client import connection
from emotion.tracking.queries import RunInfo, read_artifact
from emotion.tracking.run_names import network_name

# Only figures without faces: the training images may not be shown publicly.
FIGURES = {  # paths, and what they show
    NETWORK / "network.png": "The network: the sizes of its features, its weights and operations.",
    TRAINING_CURVES: "The training, epoch by epoch.",
    EVALUATION / "confusion.png": "Which emotions are taken for which, on the test images.",
    EVALUATION / "per_class.png": "Precision, recall and F1 of each emotion, on the test images.",
    EVALUATION / "reliability.png": "Whether a confidence of 0.8 means that 80% are right.",
    EVALUATION / "coverage.png": "How many images are answered, and how accurately, if unsure answers are withheld.",
    EVALUATION / "groups.png": "The accuracy for each group that the attributes of the data form.",
    EVALUATION / "familiarity.png": "How unlike the training faces several kinds of inputs are.",
    EVALUATION / "robustness.png": "The accuracy on corrupted test images.",
}
CARD, PAGE, FOLDER = "model_card.md", "model_card.html", "figures"
MARKS = "<!-- verdicts -->", "<!-- end of verdicts -->"  # around what a promotion replaces
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


def write(
    folder: Path,
    title: str,
    run: RunInfo,
    version: Version,
    scores: Mapping[str, Any],
    bins: int,
    change: str,
    verdicts: Mapping[str, str],
    use: IntendedUse,
) -> None:
    """Write model_card.md with its figures, and model_card.html, which contains them.

    Args:
        folder: the folder to write.
        title: the name and number of the version.
        run: the run that trained it.
        version: the version.
        scores: the content of reports/evaluation/scores.json.
        bins: the number of bins for the calibration error.
        change: how it compares with the champion and with the version before, as Markdown.
        verdicts: the gate's verdicts so far, by alias, as Markdown.
        use: what the model is for.
    """
    templates = Environment(
        loader=PackageLoader("emotion.registry"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    dataset = open_dataset()
    metadata, counts, is_drawing = dataset.metadata, dataset.metadata["counts"], dataset.is_drawn
    layers = read_csv(LAYERS, ("parameters", "mflops"), "Run `dvc repro --force train`.")
    text = templates.get_template("model_card.md.j2").render(
        front_matter=_front_matter(title, scores),
        title=title,
        classes=describe_classes(dataset.emotions, dataset.input_shape),
        is_drawn=is_drawing,
        use=use,
        change=change,
        verdicts=_between_marks(verdicts),
        scores=_scores_table(dataset, scores, bins),
        confidence=CONFIDENCE,
        answered=scores["test_answered"],
        fast=scores.get("test_fast") if run.params["train.tta"] == "flip_and_shift" else None,
        per_emotion=_emotions_table(scores),
        groups=_groups_table(scores["test_groups"]),
        familiarity=_familiarity_table(),
        robustness=_robustness_table(),
        speed=read_json(SPEED, "Run `dvc repro --force evaluate`.", dict[str, float]) if SPEED.exists() else None,
        data=scores["data"],
        protocol=metadata["protocol"],
        renamed={it.replace("`", "'"): name for it, name in metadata["source"]["labels"].items() if it != name},
        corrections=metadata["corrections"],
        is_fer2013=bool(counts["usages"]) and not is_drawing,  # the names of its parts
        data_license=metadata["source"]["license"],
        counts=_counts_table(counts["splits"]),
        seen=counts["seen_in_training"],
        conflicts=counts["groups_with_conflicting_labels"],
        network=network_name(run.params),
        parameters=int(layers["parameters"].sum()),
        mflops=float(layers["mflops"].sum()),
        hyperparameters=_hyperparameters_table(run.params),
        figures={path.name: caption for path, caption in FIGURES.items()},
        figures_folder=FOLDER,
        origin=_origin_table({**run.tags, **version.tags, "run_id": run.id}),
    )
    with atomic_write(folder) as tmp:
        (tmp / FOLDER).mkdir(parents=True)
        for path in FIGURES:
            shutil.copy(path, tmp / FOLDER)
        (tmp / CARD).write_text(text)
        body = MarkdownIt("commonmark").enable("table").render(without_front_matter(text))
        for path in FIGURES:
            data = base64.b64encode(path.read_bytes()).decode()
            body = body.replace(f'src="{FOLDER}/{path.name}"', f'src="data:image/png;base64,{data}"')
        page = templates.get_template("model_card.html.j2").render(title=title, body=body)
        (tmp / PAGE).write_text(page)


def log_verdicts(run_id: str, verdicts: Mapping[str, str]) -> None:
    """Replace the verdicts on the card of a version, among the artifacts of its run, if it has one.

    Args:
        run_id: the id of the run.
        verdicts: by alias, as Markdown.
    """
    text = _between_marks(verdicts)
    for name, replacement in ((CARD, text), (PAGE, MarkdownIt("commonmark").render(text))):
        content = read_artifact(run_id, f"{MODEL_CARD.name}/{name}")
        if content:
            before, _, rest = content.decode(errors="replace").partition(MARKS[0])
            after = rest.partition(MARKS[1])[2]
            if rest:
                with connection().translate_errors():
                    new = f"{before}{replacement.strip()}{after}"
                    connection().client.log_text(run_id, new, f"{MODEL_CARD.name}/{name}")


def _between_marks(verdicts: Mapping[str, str]) -> str:
    texts = [f"Verdict for the {alias}: {text.strip()}" for alias, text in verdicts.items()]
    inside = "\n\n".join(texts or ["None yet: `emotion promote` asks for one."])
    return f"{MARKS[0]}\n\n{inside}\n\n{MARKS[1]}"


def _front_matter(title: str, scores: Mapping[str, Any]) -> str:
    """The facts that Hugging Face's site reads from a model card, as YAML."""
    dataset = {"name": scores["data"], "type": "facial-expressions"}
    values = {"accuracy": "accuracy", "f1": "macro_f1"}
    measured = [{"type": kind, "value": round(scores["test"][key], 4)} for kind, key in values.items()]
    result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": measured}
    return yaml.safe_dump(
        {
            "license": "apache-2.0",
            "library_name": "keras",
            "pipeline_tag": "image-classification",
            "tags": ["facial-expression-recognition"],
            "model-index": [{"name": title, "results": [result]}],
        },
        sort_keys=False,
    )


def _hyperparameters_table(params: Mapping[str, str]) -> str:
    rows = [
        {"parameter": f"`{key}`", "value": value}
        for key, value in sorted(params.items())
        if key.startswith(("train.", "preprocess."))
    ]
    return _to_markdown(pd.DataFrame(rows))


def _scores_table(dataset: Dataset, scores: Mapping[str, Any], bins: int) -> str:
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


def _groups_table(groups: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
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
    rows = [{"emotion": emotion, **{name: splits[name][emotion] for name in SPLITS}} for emotion in splits["test"]]
    return _to_markdown(pd.DataFrame(rows))


def _origin_table(facts: Mapping[str, str]) -> str:
    libraries = ", ".join(" ".join(item) for item in parse_json_tag(facts, "libraries").items())
    facts = {**facts, "libraries": libraries}
    rows = [{" ": name, "": f"`{facts[key]}`"} for key, name in ORIGIN.items() if facts.get(key)]
    return _to_markdown(pd.DataFrame(rows))


def _to_markdown(rows: pd.DataFrame) -> str:
    return str(rows.to_markdown(index=False, disable_numparse=True))
