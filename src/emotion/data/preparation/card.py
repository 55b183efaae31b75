"""The card of a dataset: as Markdown for people, and as Croissant 1.1 for machines (mlcommons.org/croissant)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from emotion.data.dataset import VOTES, Dataset, describe_images, is_drawn
from emotion.data.labels import GATE, SPLITS, UNUSED
from emotion.runtime.files import atomic_write, file_digest, write_json

CARD, CROISSANT = "card.md", "croissant.json"
KAGGLE = "https://www.kaggle.com/datasets/"
APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_LANGUAGE = {"@container": "@language"}
_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Mapping[str, Any] = {  # of Croissant 1.1
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "name": _LANGUAGE, "description": _LANGUAGE, **{term: f"cr:{term}" for term in _TERMS},
}  # fmt: skip
SPLIT_URLS = {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
TYPES = {"duplicate_group": "sc:Integer", "seen_in_training": "sc:Boolean"}  # of columns; the others are texts


def write_card(dataset: Dataset, files: Path, folder: Path) -> None:
    """Write card.md and croissant.json.

    Args:
        dataset: the dataset.
        files: the folder with its index.csv and images.npy.
        folder: the folder to write to.
    """
    metadata = dataset.metadata
    environment = Environment(
        loader=PackageLoader("emotion.data.preparation"),
        autoescape=False,  # noqa: S701  Markdown, in which `cell` escapes what comes from the data
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    text = environment.get_template("dataset_card.md.j2").render(
        origin=_cell(metadata["source"]["origin"]),
        image=describe_images(dataset.input_shape),
        emotions=dataset.emotions,
        is_drawn=is_drawn(metadata),
        splits=[split for split in (*SPLITS, GATE, UNUSED) if split in metadata["counts"]["splits"]],
        **{key: metadata[key] for key in ("source", "protocol", "preprocess", "counts", "corrections")},
    )
    with atomic_write(folder / CARD) as tmp:
        tmp.write_text(text, encoding="utf-8")
    write_json(folder / CROISSANT, croissant(dataset, files))


def _cell(text: str) -> str:
    """A text from the data, for a cell of a table in Markdown."""
    escaped = "".join(f"\\{it}" if it in "\\`*_[]<>|#" else it for it in text)
    return " ".join(escaped.split())


def croissant(dataset: Dataset, files: Path) -> dict[str, Any]:
    """The description of a dataset as Croissant 1.1 (JSON-LD); what the data does not state is left out.

    Args:
        dataset: the dataset.
        files: the folder with its index.csv and images.npy.
    """
    source, counts = dataset.metadata["source"], dataset.metadata["counts"]
    title = f"{source['origin']}: {describe_images(dataset.input_shape)}"
    emotions = ", ".join(dataset.emotions)
    text = f"{counts['images']} images of faces, labelled {emotions}. They came as {source['layout']}."
    stated = source["license"] or (APACHE if is_drawn(dataset.metadata) else "")
    kinds = {"index.csv": "text/csv", "images.npy": "application/octet-stream"}
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": title,
        "description": text,
        "version": "1.0.0",
        **({"license": stated} if stated else {}),
        **({"url": KAGGLE + source["origin"].partition(",")[0]} if source["source"] == "kaggle" else {}),
        "distribution": [
            {
                "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": f"../../data/faces/{name}",
                "encodingFormat": kind, "sha256": file_digest(files / name),
            }
            for name, kind in kinds.items()
        ],
        "recordSet": [_splits(sorted(counts["splits"])), _faces([str(column) for column in dataset.index])],
    }  # fmt: skip


def _splits(names: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet", "@id": "splits", "name": "splits", "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits/name", "sc:Text"), _field("splits/url", ["sc:URL", "cr:Split"])],
        "data": [{"splits/name": name, "splits/url": SPLIT_URLS.get(name, "cr:Split")} for name in names],
    }  # fmt: skip


def _faces(columns: Sequence[str]) -> dict[str, Any]:
    fields = []
    for column in columns:
        kind = TYPES.get(column, "sc:Float" if column.startswith(VOTES) else "sc:Text")
        source = {"fileObject": {"@id": "index.csv"}, "extract": {"column": column}}
        split = {"references": {"field": {"@id": "splits/name"}}} if column == "split" else {}
        fields.append(_field(f"faces/{column}", kind, source=source, **split))
    return {"@type": "cr:RecordSet", "@id": "faces", "name": "faces", "key": {"@id": "faces/name"}, "field": fields}


def _field(identifier: str, kind: str | list[str], **more: object) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": identifier, "name": identifier.split("/")[1], "dataType": kind, **more}
