"""The model card of a version (Mitchell et al., 2019): intended use, metrics, data, origin; as Markdown and HTML."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt

from emotion.data.dataset import describe_classes, open_dataset
from emotion.evaluation.significance import CONFIDENCE
from emotion.params.sections import Params
from emotion.registry.model_card import tables
from emotion.registry.model_card.exports import FILE_NAME
from emotion.registry.versions import Version
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


def write(
    folder: Path,
    title: str,
    run: RunInfo,
    version: Version,
    scores: Mapping[str, Any],
    params: Params,
    change: str,
    verdicts: Mapping[str, str],
    exports: pd.DataFrame | None = None,
) -> None:
    """Write model_card.md with its figures, and model_card.html, which contains them.

    Args:
        folder: the folder to write.
        title: the name and number of the version.
        run: the run that trained it.
        version: the version.
        scores: the content of reports/evaluation/scores.json.
        params: the parameters of the stages.
        change: how it compares with the champion and with the version before, as Markdown.
        verdicts: the gate's verdicts so far, by alias, as Markdown.
        exports: the comparison of the exported files, or None.
    """
    templates = Environment(
        loader=PackageLoader("emotion.registry"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    dataset = open_dataset()
    metadata, counts, is_drawing = dataset.metadata, dataset.metadata["counts"], dataset.is_drawn
    is_ensemble = run.params["train.ensemble"] != "1"
    layers = read_csv(LAYERS, ("parameters", "mflops"), "Run `dvc repro --force train`.")
    text = templates.get_template("model_card.md.j2").render(
        front_matter=_front_matter(title, scores),
        title=title,
        classes=describe_classes(dataset.emotions, dataset.input_shape),
        is_drawn=is_drawing,
        use=params.register_.intended_use,
        change=change,
        verdicts=_between_marks(verdicts),
        scores=tables.scores_table(dataset, scores, params.evaluate.calibration_bins),
        confidence=CONFIDENCE,
        answered=scores["test_answered"],
        fast=scores.get("test_fast") if is_ensemble or run.params["train.tta"] == "flip_and_shift" else None,
        exports=tables.exports_table(exports) if exports is not None else "",
        per_emotion=tables.emotions_table(scores),
        groups=tables.groups_table(scores["test_groups"]),
        familiarity=tables.familiarity_table(),
        robustness=tables.robustness_table(),
        speed=read_json(SPEED, "Run `dvc repro --force evaluate`.", dict[str, float]) if SPEED.exists() else None,
        data=scores["data"],
        protocol=metadata["protocol"],
        renamed={it.replace("`", "'"): name for it, name in metadata["source"]["labels"].items() if it != name},
        corrections=metadata["corrections"],
        is_fer2013=bool(counts["usages"]) and not is_drawing,  # the names of its parts
        data_license=metadata["source"]["license"],
        counts=tables.counts_table(counts["splits"]),
        seen=counts["seen_in_training"],
        conflicts=counts["groups_with_conflicting_labels"],
        network=network_name(run.params),
        parameters=int(layers["parameters"].sum()),
        mflops=float(layers["mflops"].sum()),
        hyperparameters=tables.hyperparameters_table(run.params),
        figures={path.name: caption for path, caption in FIGURES.items()},
        figures_folder=FOLDER,
        origin=tables.origin_table({**run.tags, **version.tags, "run_id": run.id}),
    )
    with atomic_write(folder) as tmp:
        (tmp / FOLDER).mkdir(parents=True)
        for path in FIGURES:
            shutil.copy(path, tmp / FOLDER)
        (tmp / CARD).write_text(text)
        if exports is not None:
            exports.to_csv(tmp / FILE_NAME, index=False)
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
