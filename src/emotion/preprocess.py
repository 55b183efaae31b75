"""Turn the archive into one array and one table, with three splits.

    python -m emotion.preprocess

Reads data/raw/ and `params: preprocess` (and `train.augmentation`, which one figure shows);
writes data/faces/ (see `emotion.data.dataset`) and reports/data/: counts.json, quarantine.csv,
figures, run.json (the MLflow run).
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from emotion import params
from emotion.data.dataset import open_faces
from emotion.data.preparation.decode import decode_archive
from emotion.data.preparation.splits import assign_splits, summarize
from emotion.data.sources.archive import open_archive
from emotion.runtime.errors import UserError, exit_cleanly
from emotion.runtime.paths import ARCHIVE, DATA_REPORT, FACES, SOURCE, whole, write_json

COLUMNS = ["name", "emotion", "usage", "split", "pixel_hash", "duplicate_group", "seen_in_training"]


def preprocess(settings: params.Preprocess, archive: Path, source: dict[str, Any], folder: Path, report: Path) -> None:
    """Decode, quarantine, split, and write the dataset and its counts.

    Raises:
        UserError: where too many images cannot be read, or the protocol does not fit.
    """
    report.mkdir(parents=True, exist_ok=True)
    with whole(folder) as part:
        part.mkdir()
        with open_archive(archive, str(archive)) as opened:
            decoded = decode_archive(opened, part / "images.npy")
        bad = decoded.quarantine
        pd.DataFrame(bad, columns=["name", "reason"]).to_csv(report / "quarantine.csv", index=False)
        _refuse_too_many(bad, len(bad) + len(decoded.rows), settings.max_bad_fraction, report / "quarantine.csv")
        index = assign_splits(
            decoded.table(), settings.protocol, settings.validation_fraction, settings.drop_leaked, settings.seed
        )
        index[COLUMNS].to_csv(part / "index.csv", index=False)
        counts = {**summarize(index), "quarantined": len(bad)}
        write_json(report / "counts.json", counts)
        write_json(part / "dataset.json", {"source": source, "preprocess": settings.model_dump(), "counts": counts})
    print(f"{len(index)} images, {len(bad)} quarantined; also in training: {counts['seen_in_training']}")


def _refuse_too_many(bad: list[tuple[str, str]], total: int, allowed: float, listed: Path) -> None:
    if len(bad) > allowed * total:
        name, reason = bad[0]
        raise UserError(
            f"{len(bad)} of {total} images cannot be read, more than preprocess.max_bad_fraction ="
            f" {allowed} allows. The first is {name} ({reason}); all are in {listed}."
            " Mend the archive or raise the bound."
        )


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.tracking import stage_runs as records

    with records.stage_run("preprocess", settings):
        source = json.loads(SOURCE.read_text())
        preprocess(settings.preprocess, ARCHIVE, source, FACES, DATA_REPORT)
        from emotion.evaluation.figures import base as figures

        figures.data_figures(open_faces(), settings.train.augmentation, DATA_REPORT)


if __name__ == "__main__":
    exit_cleanly("preprocess", main)
