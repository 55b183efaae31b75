"""A comparison of runs as an HTML page that contains everything it shows."""

import base64
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emotion.data.dataset import open_dataset
from emotion.evaluation import predictions
from emotion.evaluation.figures.comparison import (
    CURVES,
    draw_confusions,
    draw_curves,
    draw_disagreements,
    draw_recalls,
)
from emotion.evaluation.significance import CONFIDENCE, format_interval
from emotion.registry.comparison.compare import Comparison
from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write
from emotion.tracking import provenance
from emotion.tracking.client import connection

MAX_IMAGES = 32  # on which the models disagree


def write_page(comparison: Comparison, code: Mapping[str, str], path: Path) -> None:
    """Write the page.

    Args:
        comparison: what to show.
        code: the differences between the code of the first run and that of others, by their labels.
        path: the HTML file to write.
    """
    templates = Environment(loader=PackageLoader("emotion.registry"), autoescape=True, undefined=StrictUndefined)
    facts = pd.DataFrame(
        {
            label: {
                "run": run.name,
                "id": run.id,
                "commit": run.tags.get("mlflow.source.git.commit", "unknown"),
                "uncommitted changes": run.tags.get("git.dirty", "unknown"),
                "data": run.tags.get("mlflow.note.content", "unknown").removeprefix("Faces: "),
                "machine": run.tags.get("machine", "unknown"),
            }
            for label, run in zip(comparison.labels, comparison.runs, strict=True)
        }
    )
    accuracies = {
        label: format_interval(predictions.is_correct(table).mean(), len(table))
        for label, table in comparison.predictions.items()
    }
    row = f"accuracy on {comparison.split} images"
    text = templates.get_template("comparison.html.j2").render(
        title=f"{comparison.labels[0]} compared with {', '.join(comparison.labels[1:])}",
        runs=_html(facts),
        sentences=[test.sentence for test in comparison.tests],
        params=_html(comparison.params) if len(comparison.params) else "",
        confidence=CONFIDENCE,
        intervals=_html(pd.DataFrame([accuracies], index=[row])) if accuracies else "",
        metrics=_html(comparison.metrics),
        figures=list(_figures(comparison)),
        code=[{"title": f"{label} compared with {comparison.labels[0]}", "text": text} for label, text in code.items()],
    )
    with atomic_write(path) as tmp:
        tmp.write_text(text)


def _html(table: pd.DataFrame) -> str:
    return str(table.to_html(na_rep="", border=0, float_format=lambda value: f"{value:.4g}"))


def _figures(comparison: Comparison) -> Iterator[dict[str, str]]:
    histories = {
        label: history
        for label, run in zip(comparison.labels, comparison.runs, strict=True)
        if len(history := _history(run.id))
    }
    if histories:
        yield _figure("Curves", "By epoch of each run.", lambda path: draw_curves(histories, path))
    tables = comparison.predictions
    if len(tables) > 1:
        images = f"{comparison.split} images"
        yield _figure("Recall by emotion", f"On {images}.", lambda path: draw_recalls(tables, path))
        yield _figure(
            "Confusion", f"Shares of the actual emotion, on {images}.", lambda path: draw_confusions(tables, path)
        )
        yield _disagreements(comparison)


def _figure(title: str, caption: str, draw: Callable[[Path], None]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return {"title": title, "caption": caption, "data": base64.b64encode(path.read_bytes()).decode()}


def _history(run_id: str) -> pd.DataFrame:
    """A row per epoch, with the columns epoch and CURVES; empty if the run logged none."""
    client = connection().client
    with connection().translate_errors():
        curves = {
            name: {metric.step: metric.value for metric in client.get_metric_history(run_id, f"train/{name}")}
            for name in CURVES
        }
    return pd.DataFrame(curves).rename_axis("epoch").sort_index().reset_index()


def _disagreements(comparison: Comparison) -> dict[str, str]:
    """The images on which the models disagree, if they are here and are drawings."""
    tables = comparison.predictions
    answers = pd.DataFrame({label: table["predicted"] for label, table in tables.items()})
    first = tables[comparison.labels[0]]
    rows = answers.index[answers.nunique(axis=1) > 1]
    title, count = "Images on which they disagree", f"{len(rows)} of {len(first)} {comparison.split} images"
    try:
        dataset = open_dataset()
    except UserError:
        return {"title": title, "caption": f"{count}. They are not shown: data/faces is not here.", "data": ""}
    if comparison.runs[0].tags.get("data.dvc_hash") != provenance.data_hash():
        return {"title": title, "caption": f"{count}. They are not shown: data/faces has other images.", "data": ""}
    if not dataset.is_drawn:
        return {"title": title, "caption": f"{count}. Photographs of people are not shown.", "data": ""}
    if not len(rows):
        return {"title": title, "caption": "None.", "data": ""}
    rows = rows[:MAX_IMAGES]
    index = dataset.index.reset_index().set_index("name")["index"]
    images = dataset.images[index.loc[first["name"][rows]].to_numpy()]
    titles = [
        "\n".join([f"{first['actual'][row]}:", *(f"{label}: {answers[label][row]}" for label in answers)])
        for row in rows
    ]
    shown = f"{count}; the first {len(rows)}, with the label and each answer."
    return _figure(title, shown, lambda path: draw_disagreements(images, titles, path))
