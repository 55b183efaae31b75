"""The card of a dataset."""

import json
import logging

import mlcroissant
import pytest

from support.project import Project


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # mlcroissant on its own use of rdflib
def test_the_croissant_file_is_valid_and_its_records_can_be_read(finished_project: Project) -> None:
    folder = finished_project.folder
    logging.getLogger("absl").setLevel(logging.ERROR)  # warnings are checked below
    dataset = mlcroissant.Dataset(jsonld=folder / "reports/data/croissant.json")
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert all("citeAs" in warning or "datePublished" in warning for warning in issues.warnings), issues.warnings
    assert json.loads((folder / "reports/data/croissant.json").read_text())["conformsTo"].endswith("/1.1")
    records = list(dataset.records("faces"))
    counts = finished_project.read_json("reports/data/counts.json")
    assert len(records) == counts["images"]
    assert {record["faces/split"].decode() for record in records} == set(counts["splits"])


@pytest.mark.parametrize(
    "text",
    [
        "# drawn faces, seed 0",
        "7 emotions (angry, disgust, fear, happy, neutral, sad, surprise), gray images of 48x48 pixels",
        "| license, as the data states it | Apache License 2.0 |",
        "| attributes | skin, hair, glasses, pose, light |",
        "| happy | happy | 88 |",
    ],
)
def test_the_card_tells_origin_license_and_counts(finished_project: Project, text: str) -> None:
    assert text in (finished_project.folder / "reports/data/card.md").read_text()


def test_the_card_tells_the_counted_leaks(finished_project: Project) -> None:
    seen = finished_project.read_json("reports/data/counts.json")["seen_in_training"]
    text = f"{seen['validation']} validation and {seen['test']} test images are identical to training images"
    assert text in (finished_project.folder / "reports/data/card.md").read_text()
    assert seen["test"] > 0
