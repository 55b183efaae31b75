"""Fetch labelled faces from wherever they are, recognize what their labels mean, and keep them as one ZIP archive.

    python -m emotion.fetch

Reads `params: fetch`; writes data/raw/faces.zip (the images), data/raw/faces.csv (what each image's label means),
data/raw/source.json (a description of both) and reports/runs/fetch.json (the record of its MLflow run).
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.data.layouts.describe import describe, report
from emotion.data.layouts.source import open_source, write_archive
from emotion.data.layouts.words import LabelMap
from emotion.data.sources.download import download, is_url, url_shown
from emotion.data.sources.kaggle import fetch_kaggle
from emotion.data.sources.synthetic import fetch_synthetic
from emotion.params.load import load_params
from emotion.params.sections import Fetch
from emotion.runtime.errors import UserError, run_main
from emotion.runtime.files import atomic_write, file_digest, write_json
from emotion.runtime.paths import ARCHIVE, DOWNLOADS, FACES, SOURCE, project_root


def fetch(settings: Fetch, archive: Path, faces: Path) -> dict[str, Any]:
    """Fetch the faces and recognize their layout.

    Args:
        settings: the parameters of the stage.
        archive: the ZIP file to write.
        faces: the table to write, a row per face.

    Returns:
        The description of the source, see `SourceMetadata`.

    Raises:
        UserError: if the source is not available, damaged or not safe, or the meaning of its labels is not certain.
    """
    with tempfile.TemporaryDirectory() as scratch:
        located = _locate(settings, Path(scratch))
        with (
            atomic_write(archive) as tmp,
            atomic_write(faces) as table,
            open_source(located.path, LabelMap.from_parameter(settings.labels), located.shown) as source,
        ):
            # The digest is that of the file, or of the archive that is made of a folder, or of a table with images.
            is_file = located.path.is_file() and bool(source.archive or source.recognized.pixels)
            if is_file:
                _check_digest(settings, located.path, located.shown)
            write_archive(source, tmp)
            if not is_file:
                _check_digest(settings, tmp, f"the archive made of {located.shown}")
            source.recognized.faces.to_csv(table, index=False)
            file = located.path if is_file else tmp
            facts = {"sha256": file_digest(file), "bytes": file.stat().st_size}
            described = {"source": settings.source, "origin": located.origin, **facts, **describe(source)}
        if located.is_download:
            located.path.unlink()  # the archive has it now
    return described


@dataclass(frozen=True)
class Located:
    """Where the data is, what to call it in records and in messages, and whether this program downloaded it."""

    path: Path
    origin: str
    shown: str
    is_download: bool = False


def _locate(settings: Fetch, scratch: Path) -> Located:
    if settings.source == "synthetic":
        path = scratch / "drawn.zip"
        fetch_synthetic(settings.images, settings.seed, path)
        return Located(path, f"drawn faces, seed {settings.seed}", "the drawn faces")
    if settings.source == "kaggle":
        path = fetch_kaggle(settings.dataset, settings.version, project_root() / DOWNLOADS)
        origin = settings.dataset + (f", version {settings.version}" if settings.version else "")
        return Located(path, origin, f"the archive of {origin} on Kaggle", is_download=True)
    if is_url(settings.path):
        path = download(settings.path, settings.sha256, project_root() / DOWNLOADS)
        return Located(path, url_shown(settings.path), url_shown(settings.path), is_download=True)
    path = project_root() / Path(settings.path)
    if not path.exists():
        raise UserError(
            f"there is nothing at {path.resolve()}. Put a folder, a zip or tar file, or a table there, or set another"
            " path with `dvc exp run -S fetch.path=PATH`."
        )
    return Located(path, path.name, str(path))


def _check_digest(settings: Fetch, path: Path, shown: str) -> None:
    if settings.sha256 is not None and (digest := file_digest(path)) != settings.sha256:
        raise UserError(
            f"the SHA-256 of {shown} is {digest}, but fetch.sha256 is {settings.sha256}."
            " Fetch the file again, or update fetch.sha256 if this is the one that you want."
        )


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.tracking.stage_runs import stage_run

    with stage_run("fetch", params, exit_callbacks):
        source = fetch(params.fetch, ARCHIVE, FACES)
        write_json(SOURCE, source)
        print(report(source))


if __name__ == "__main__":
    run_main("fetch", main)
