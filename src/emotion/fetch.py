"""Fetch the faces as one checked zip, never unpacked.

    python -m emotion.fetch

Reads `params: fetch`; writes data/raw/faces.zip, data/raw/source.json (what it is) and
data/raw/run.json (the MLflow run).
"""

import hashlib
from pathlib import Path
from typing import Any

from emotion import params
from emotion.data.sources.archive import check, fetch_archive
from emotion.data.sources.kaggle import fetch_kaggle
from emotion.data.sources.synthetic import fetch_synthetic
from emotion.runtime.errors import UserError, exit_cleanly
from emotion.runtime.paths import ARCHIVE, DOWNLOADS, SOURCE, project_root, whole, write_json


def fetch(settings: params.Fetch, archive: Path) -> dict[str, Any]:
    """Bring the archive and check it.

    Returns:
        What it is: source, origin, sha256, bytes, images, ignored.

    Raises:
        UserError: where the source cannot be had, or its archive is refused.
    """
    with whole(archive) as part:
        if settings.source == "synthetic":
            fetch_synthetic(settings.images, settings.seed, part)
            origin = shown = f"drawn faces, seed {settings.seed}"
        elif settings.source == "archive":
            path = project_root() / settings.archive
            fetch_archive(path, part)
            origin, shown = path.name, str(path)
        else:
            fetch_kaggle(settings.dataset, settings.version, project_root() / DOWNLOADS, part)
            origin = settings.dataset + (f", version {settings.version}" if settings.version else "")
            shown = f"the archive of {origin} on Kaggle"
        contents = check(part, shown)
        digest = _sha256(part)
        if settings.sha256 not in (None, digest):
            raise UserError(
                f"the archive's SHA-256 is {digest}, but fetch.sha256 is {settings.sha256}."
                " It is another file, or was changed on its way."
            )
        size = part.stat().st_size
    return {"source": settings.source, "origin": origin, "sha256": digest, "bytes": size, **contents}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.tracking import stage_runs as records

    with records.stage_run("fetch", settings):
        source = fetch(settings.fetch, ARCHIVE)
        write_json(SOURCE, source)
        print(f"{source['images']} images: {source['origin']} ({source['ignored']} other files ignored)")


if __name__ == "__main__":
    exit_cleanly("fetch", main)
