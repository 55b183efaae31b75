"""What a version is, what it may be used for, and how good it is (Mitchell et al., 2019): Markdown and HTML."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from emotion.data.labels import EMOTIONS, SPLITS
from emotion.evaluation.significance import CONFIDENCE, share_interval
from emotion.runtime.paths import EVALUATION, FACES, SPEED, whole

# Without faces: what is shown to all may not be what was used for training.
FIGURES = ("confusion.png", "per_class.png", "reliability.png", "coverage.png", "robustness.png")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { border-bottom: 1px solid #ddd; padding: .3rem .8rem;
text-align: left; vertical-align: top; } td code { overflow-wrap: anywhere; }
img { max-width: 100%; } h1, h2 { line-height: 1.2; }
"""


def write(folder: Path, title: str, facts: Mapping[str, str], metrics: Mapping[str, Any]) -> None:
    """Write model_card.md and, with figures, model_card.html.

    Args:
        folder: to hold the two.
        title: the name and number of the version.
        facts: the version's tags and its run_id.
        metrics: reports/metrics.json.
    """
    about = json.loads((FACES / "dataset.json").read_text())
    speed = json.loads(SPEED.read_text()) if SPEED.exists() else {}
    robustness = pd.read_csv(EVALUATION / "robustness.csv")
    text = "\n\n".join(
        [
            f"# {title}",
            f"A classifier of seven facial emotions ({', '.join(EMOTIONS)}) in gray images of 48 x 48 pixels."
            " It answers with a probability for each.",
            *_use(about),
            *_figures(metrics, speed, robustness),
            *_data(about, metrics),
            *_origin(facts),
        ]
    )
    with whole(folder) as part:
        part.mkdir(parents=True)
        (part / "model_card.md").write_text(text + "\n")
        (part / "model_card.html").write_text(_page(title, text))


def _use(about: Mapping[str, Any]) -> Iterable[str]:
    yield "## Use"
    yield (
        "**Intended**: studying how such classifiers are trained and compared, and demonstrations whose viewers know"
        " that the answer may be wrong."
    )
    yield (
        "**Not intended**: decisions about people (hiring, school, police, medicine, insurance), watching people"
        " without their consent, and any claim about what somebody feels: it names the expression that a label-giver"
        " would see, not the emotion behind it. In the European Union, recognizing emotions at work and in schools is"
        " forbidden but for medical or safety reasons (Regulation 2024/1689, article 5)."
    )
    if about["source"]["source"] == "synthetic":
        yield "This version was trained on **drawings**. It knows no photographs and is of no use on them."


def _figures(metrics: Mapping[str, Any], speed: Mapping[str, float], robustness: pd.DataFrame) -> Iterable[str]:
    yield "## How good it is"
    rows = []
    for part, name in (("validation", "validation"), ("test", "test"), ("test_unseen", "test, never seen in training")):
        if part in metrics:
            m = metrics[part]
            share = _share(m["accuracy"], m["images"])
            columns = (m["macro_f1"], m["loss"], m["expected_calibration_error"], m["coverage_at_90"])
            rows.append([name, str(m["images"]), share, *(f"{value:.3f}" for value in columns)])
    heads = ["images", "accuracy", "macro F1", "loss", "calibration error", "share answered at 90 % accuracy"]
    yield _table(["", *heads], rows)
    yield (
        f"With {CONFIDENCE:.0%} intervals (Wilson). The last column is the share of images that can be answered with"
        " nine in ten right, where answers of low confidence are withheld."
    )
    told = metrics["test_answered"]
    yield (
        f"Below a confidence of {told['unsure_below']:.2f}, chosen on validation, `emotion predict` and the demo say"
        f" *unsure*. That leaves {told['coverage']:.1%} of the test images, {told['accuracy']:.1%} of them right."
    )
    rows = [
        [emotion, str(int(row["support"])), _share(row["recall"], row["support"]), f"{row['precision']:.3f}"]
        for emotion, row in metrics["test_per_class"].items()
    ]
    yield _table(["emotion", "test images", "recall", "precision"], rows)
    rows = [
        [str(name), ", ".join(f"{r.accuracy:.3f} at {r.level:g}" for r in part.itertuples())]
        for name, part in robustness.groupby("corruption", sort=False)
    ]
    yield _table(["test images changed in", "accuracy at each strength (0: as they are)"], rows)
    if speed:
        yield (
            f"One image takes {speed['latency_ms_median']:.1f} ms (median); batches run at"
            f" {speed['images_per_second']:.0f} images/s. The SavedModel has {speed['saved_model_mib']:.1f} MiB."
        )


def _data(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterable[str]:
    yield "## Data and its limits"
    counts, settings = about["counts"], about["preprocess"]
    yield f"{metrics['data']}, split by the protocol `{settings['protocol']}`."
    splits, seen = counts["splits"], counts["seen_in_training"]
    yield _table(
        ["emotion", *SPLITS], [[emotion, *(str(splits[name][emotion]) for name in SPLITS)] for emotion in EMOTIONS]
    )
    limits = [
        f"**Leaks**: {seen['test']} test and {seen['validation']} validation images are, pixel by pixel, also in"
        " training; the figures without them stand above.",
        "**Unbalanced**: the rarest emotion has few images; see its recall, and how wide the interval is.",
    ]
    if about["source"]["source"] == "synthetic":
        limits.append("**Whose faces**: nobody's. Programs drew them from action units, so that labels have no noise.")
    else:
        limits += [
            f"**Label noise**: {counts['groups_with_conflicting_labels']} groups of identical images carry different"
            " labels. Of FER-2013's labels people themselves name about 65 % (Goodfellow et al., 2013).",
            "**Whose faces**: FER-2013 was gathered by a web search. Nobody was asked, and who is in it (age, skin,"
            " culture) was not recorded, so that fairness cannot be measured on it.",
        ]
    yield "\n".join(f"- {limit}" for limit in limits)


def _origin(facts: Mapping[str, str]) -> Iterable[str]:
    yield "## Where it comes from"
    names = {
        "run_id": "MLflow run",
        "git.commit": "commit",
        "git.dirty": "uncommitted changes",
        "data.sha256": "archive, SHA-256",
        "data.dvc_hash": "dataset, DVC's hash",
        "tune.run_id": "search",
        "tune.trial": "trial",
        "tune.score": "its score",
        "precision": "precision",
        "temperature": "temperature",
        "machine": "machine",
        "libraries": "libraries",
        "saved_model.sha256": "SavedModel, SHA-256",
        "dvc.lock.sha256": "dvc.lock, SHA-256",
        "registered_by": "registered by",
    }
    facts = {**facts, "libraries": ", ".join(" ".join(it) for it in json.loads(facts.get("libraries", "{}")).items())}
    yield _table(["", ""], [[name, f"`{facts[key]}`"] for key, name in names.items() if facts.get(key)])
    yield "`emotion trace VERSION` shows all of it with the parameters, `emotion reproduce VERSION` trains it again."


def _share(share: float, count: float) -> str:
    low, high = share_interval(round(share * count), int(count)) if count else (0.0, 1.0)
    return f"{share:.3f} ({low:.3f} to {high:.3f})"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(title: str, text: str) -> str:
    body = MarkdownIt("commonmark").enable("table").render(text)
    pictures = "".join(
        f'<img alt="{name.removesuffix(".png")}" src="data:image/png;base64,{_encoded(EVALUATION / name)}">'
        for name in FIGURES
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    page = f"<!doctype html><html lang='en'><head>{head}<style>{STYLE}</style></head>"
    return f"{page}<body>{body}<h2>Figures</h2>{pictures}</body></html>\n"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
