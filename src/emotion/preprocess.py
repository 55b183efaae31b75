"""Turn the archive into one array and one table, with three splits.

    python -m emotion.preprocess

Reads data/raw/, `params: preprocess`, and `train.augmentation`, which a figure shows; writes data/faces/ (see
`emotion.data.dataset`), reports/data/ (a card, counts, figures) and reports/runs/preprocess.json (its MLflow run).
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from emotion.data.dataset import INDEX_COLUMNS, VOTES, SourceMetadata, open_dataset
from emotion.data.labels import GATE, SPLITS, UNUSED
from emotion.data.layouts.recognized import columns_of, read_faces
from emotion.data.preparation.card import write_card
from emotion.data.preparation.corrections import Action, apply_corrections
from emotion.data.preparation.decode import decode_archive
from emotion.data.preparation.splits import (
    Fractions,
    assign_splits,
    choose_protocol,
    mark_duplicates,
    require_every_split,
    summarize,
)
from emotion.data.sources.archive import open_archive
from emotion.params.load import load_params
from emotion.params.sections import Preprocess
from emotion.runtime.errors import UserError, run_main
from emotion.runtime.files import atomic_write, read_json, write_json
from emotion.runtime.paths import ARCHIVE, CORRECTIONS, DATA_REPORT, DATASET, FACES, SOURCE


def preprocess(
    settings: Preprocess, archive: Path, faces: Path, source: dict[str, Any], folder: Path, report: Path
) -> None:
    """Decode, quarantine, split, and write the dataset and its counts.

    Args:
        settings: the parameters of the stage.
        archive: from `fetch`.
        faces: the table from `fetch`.
        source: the content of source.json.
        folder: the folder for the dataset.
        report: the folder for counts.json and quarantine.csv.

    Raises:
        UserError: if too many images cannot be read, or the protocol does not fit the data.
    """
    shape = (settings.image_size, settings.image_size, 3 if settings.colors == "rgb" else 1)
    labelled = read_faces(faces)
    report.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder) as tmp:
        tmp.mkdir()
        with open_archive(archive, str(archive)) as opened:
            decoded = decode_archive(opened, labelled, tmp / "images.npy", shape, settings.detect_faces)
        bad = decoded.quarantine
        pd.DataFrame(bad, columns=["name", "reason"]).to_csv(report / "quarantine.csv", index=False)
        _refuse_too_many(bad, len(labelled), settings.max_bad_fraction, report / "quarantine.csv")
        table = decoded.table(labelled)
        protocol = choose_protocol(table, settings.protocol)
        fractions = Fractions(settings.validation_fraction, settings.test_fraction, settings.gate_fraction)
        index = assign_splits(table, protocol, fractions, settings.drop_leaked, settings.seed)
        corrections: dict[str, Any] = {}
        if settings.corrections:
            index, corrections = apply_corrections(index, CORRECTIONS)
            done = ", ".join(f"{action} {corrections[action]}" for action in Action)
            print(f"Corrections: {done}; {corrections['about_other_images']} are about images that are not here.")
            require_every_split(index, (*SPLITS, GATE) if settings.gate_fraction else SPLITS)
        index = mark_duplicates(index)
        others = [*columns_of(labelled, "attributes"), *(name for name in index if str(name).startswith(VOTES))]
        index[[*INDEX_COLUMNS, *others]].to_csv(tmp / "index.csv", index=False)
        counts = {**summarize(index), "quarantined": len(bad)}
        write_json(report / "counts.json", counts)
        metadata = {
            "emotions": sorted(set(index["emotion"])),
            "source": source,
            "protocol": protocol,
            "preprocess": settings.model_dump(),
            "counts": counts,
            "corrections": corrections,
        }
        write_json(tmp / "dataset.json", metadata)
    if settings.detect_faces:
        without, several = (sum(reason.endswith(end) for _, reason in bad) for end in ("face found", "faces found"))
        print(f"Of {len(labelled)} photographs, {without} show no face that was found, and {several} show several.")
    seen = ", ".join(f"{count} {split}" for split, count in counts["seen_in_training"].items())
    order = [name for name in (*SPLITS, GATE, UNUSED) if name in counts["splits"]]
    sizes = ", ".join(f"{name} {sum(counts['splits'][name].values())}" for name in order)
    print(f"{len(index)} images ({sizes}), {len(bad)} quarantined. Images that are also in training: {seen}.")


def _refuse_too_many(bad: list[tuple[str, str]], total: int, max_bad_fraction: float, listed: Path) -> None:
    if len(bad) > max_bad_fraction * total:
        name, reason = bad[0]
        raise UserError(
            f"{len(bad)} of {total} images cannot be used, more than preprocess.max_bad_fraction = {max_bad_fraction}"
            f" allows. The first is {name} ({reason}); all are in {listed}. Fix the data or raise this parameter."
        )


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.evaluation.figures.dataset import draw_dataset
    from emotion.tracking.stage_runs import stage_run

    with stage_run("preprocess", params, exit_callbacks):
        source = read_json(SOURCE, "Run `dvc repro --force fetch`.", SourceMetadata)
        preprocess(params.preprocess, ARCHIVE, FACES, source, DATASET, DATA_REPORT)
        dataset = open_dataset()
        draw_dataset(dataset, params.train.augmentation, DATA_REPORT)
        write_card(dataset, DATASET, DATA_REPORT)


if __name__ == "__main__":
    run_main("preprocess", main)
