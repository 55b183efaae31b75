"""Turn the archive into one array and one table, with three splits.

    python -m emotion.preprocess

Reads data/raw/ and `params: preprocess` (and `train.augmentation`, which one figure shows);
writes data/faces/ (see `emotion.faces`) and reports/data/: counts.json, quarantine.csv,
figures, run.json (the MLflow run).
"""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from emotion import params
from emotion.decoding import UnreadableImageError, decode
from emotion.errors import UserError, exit_cleanly
from emotion.faces import open_faces
from emotion.labels import SIZE
from emotion.paths import ARCHIVE, DATA_REPORT, FACES, SOURCE, whole, write_json
from emotion.progress import track
from emotion.sources.archive import open_archive, parse
from emotion.splits import assign_splits, summarize

COLUMNS = ["name", "emotion", "usage", "split", "pixel_hash", "duplicate_group", "seen_in_training"]


@dataclass
class Decoded:
    """What is kept of every image while its pixels go to the disk."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, folder, emotion, usage
    pixel_hashes: list[str] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    quarantine: list[tuple[str, str]] = field(default_factory=list)  # name, reason

    def table(self) -> pd.DataFrame:
        """A row per image, in the order of the array."""
        table = pd.DataFrame(self.rows, columns=["name", "folder", "emotion", "usage"])
        return table.assign(pixel_hash=self.pixel_hashes, blank=self.blank)


def decode_archive(archive: zipfile.ZipFile, output: BinaryIO) -> Decoded:
    """Decode every labelled image, in the order of their names, and append its pixels."""
    decoded = Decoded()
    names = sorted(name for name in archive.namelist() if parse(name))
    for name in track(names, "Decoding", len(names)):
        entry = parse(name)
        assert entry is not None
        try:
            pixels = decode(archive.read(name))
        except UnreadableImageError as reason:
            decoded.quarantine.append((name, str(reason)))
            continue
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as reason:
            decoded.quarantine.append((name, f"damaged in the archive: {reason}"))
            continue
        content = pixels.tobytes()
        output.write(content)
        decoded.rows.append((name, entry.folder, entry.emotion, entry.usage))
        decoded.pixel_hashes.append(hashlib.blake2b(content, digest_size=16).hexdigest())
        decoded.blank.append(content.count(content[:1]) == len(content))
    return decoded


def write_images(archive: zipfile.ZipFile, path: Path) -> Decoded:
    """Write images.npy one image at a time, so that memory does not grow with their number."""
    with path.open("wb") as output:
        _write_header(output, len(archive.namelist()))
        start = output.tell()
        decoded = decode_archive(archive, output)
        output.seek(0)
        _write_header(output, len(decoded.rows))
        assert output.tell() == start, "numpy pads headers so that a shorter count fits"
    return decoded


def _write_header(output: BinaryIO, count: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIZE, SIZE)}
    np.lib.format.write_array_header_1_0(output, header)


def preprocess(settings: params.Preprocess, archive: Path, source: dict[str, Any], folder: Path, report: Path) -> None:
    """Decode, quarantine, split, and write the dataset and its counts.

    Raises:
        UserError: where too many images cannot be read, or the protocol does not fit.
    """
    report.mkdir(parents=True, exist_ok=True)
    with whole(folder) as part:
        part.mkdir()
        with open_archive(archive, str(archive)) as opened:
            decoded = write_images(opened, part / "images.npy")
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
    from emotion import records

    with records.stage_run("preprocess", settings):
        source = json.loads(SOURCE.read_text())
        preprocess(settings.preprocess, ARCHIVE, source, FACES, DATA_REPORT)
        from emotion import figures

        figures.data_figures(open_faces(), settings.train.augmentation, DATA_REPORT)


if __name__ == "__main__":
    exit_cleanly("preprocess", main)
