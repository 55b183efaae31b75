"""What was understood about a source, for source.json and in words."""

from collections.abc import Mapping
from typing import Any

from emotion.data.layouts.folders import image_files
from emotion.data.layouts.recognized import columns_of
from emotion.data.layouts.source import Source
from emotion.runtime.text import printable


def describe(source: Source) -> dict[str, Any]:
    """The fields of `SourceMetadata` that describe the content."""
    recognized = source.recognized
    faces = recognized.faces
    others = len(source.files.names) - len(image_files(source.files)) - len(recognized.tables)
    return {
        "images": len(faces),
        "other_files": others - bool(recognized.pixels),
        "layout": recognized.layout,
        "annotation": recognized.annotation,
        "license": source.license,
        "labels": recognized.label_map,
        "label_counts": {str(label): int(count) for label, count in faces["label"].value_counts().sort_index().items()},
        "given_splits": {str(split): int(n) for split, n in faces["given_split"].value_counts().items() if split},
        "attributes": columns_of(faces, "attributes"),
        "votes": bool(columns_of(faces, "votes")),
        "left_out": recognized.left_out,
        "notes": list(recognized.notes),
    }


def report(source: Mapping[str, Any]) -> str:
    """What was understood, in a few lines.

    Args:
        source: the content of source.json.
    """
    counts: dict[str, int] = {}
    for label, emotion in source["labels"].items():
        counts[emotion] = counts.get(emotion, 0) + source["label_counts"][label]
    lines = [title(source), "Emotions: " + ", ".join(f"{emotion} {count}" for emotion, count in sorted(counts.items()))]
    renamed = {label: emotion for label, emotion in source["labels"].items() if label != emotion}
    if renamed:
        lines.append("Labels: " + ", ".join(f"{label} means {emotion}" for label, emotion in renamed.items()))
    if source["given_splits"]:
        lines.append("Splits in the data: " + ", ".join(f"{name} {n}" for name, n in source["given_splits"].items()))
    return "\n".join(printable(line) for line in [*lines, *notes(source)])


def title(source: Mapping[str, Any]) -> str:
    """What the faces are, in a line."""
    return f"{source['images']:,} images: {source['origin']} ({source['layout']})"


def notes(source: Mapping[str, Any]) -> list[str]:
    """What else is known, and what is not used."""
    found = [*source["notes"]]
    if source["attributes"]:
        found.append(f"Attributes: {', '.join(source['attributes'])}.")
    if source["votes"]:
        found.append("The votes of annotators are known: train.targets says what to do with them.")
    left_out = [f"{reason} ({count})" for reason, count in source["left_out"].items()]
    if source["other_files"]:
        left_out.append(f"other files ({source['other_files']})")
    found.append(f"Left out: {', '.join(left_out) or 'nothing'}.")
    return [printable(note) for note in found]
