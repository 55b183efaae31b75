"""Fetch the images as one validated ZIP archive, without unpacking it.

    python -m emotion.fetch

Reads `params: fetch`; writes data/raw/faces.zip, data/raw/source.json (a description of it) and
reports/runs/fetch.json (the record of its MLflow run).
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from emotion.data.sources.archive import check, fetch_archive
from emotion.data.sources.kaggle import fetch_kaggle
from emotion.data.sources.synthetic import fetch_synthetic
from emotion.params.load import load_params
from emotion.params.sections import Fetch
from emotion.runtime.errors import UserError, run_main
from emotion.runtime.files import atomic_write, file_digest, write_json
from emotion.runtime.paths import ARCHIVE, DOWNLOADS, SOURCE, project_root


def fetch(settings: Fetch, archive: Path) -> dict[str, Any]:
    """Fetch the archive and check it.

    Returns:
        Its description: source, origin, sha256, bytes, images, ignored.

    Raises:
        UserError: if the source is not available, or its archive is invalid.
    """
    with atomic_write(archive) as tmp:
        if settings.source == "synthetic":
            fetch_synthetic(settings.images, settings.seed, tmp)
            origin = shown = f"drawn faces, seed {settings.seed}"
        elif settings.source == "archive":
            path = project_root() / settings.archive
            fetch_archive(path, tmp)
            origin, shown = path.name, str(path)
        else:
            fetch_kaggle(settings.dataset, settings.version, project_root() / DOWNLOADS, tmp)
            origin = settings.dataset + (f", version {settings.version}" if settings.version else "")
            shown = f"the archive of {origin} on Kaggle"
        contents = check(tmp, shown)
        digest = file_digest(tmp)
        if settings.sha256 not in (None, digest):
            raise UserError(
                f"the archive's SHA-256 is {digest}, but fetch.sha256 is {settings.sha256}."
                " Fetch the file again, or update fetch.sha256 if this is the archive that you want."
            )
        size = tmp.stat().st_size
    return {"source": settings.source, "origin": origin, "sha256": digest, "bytes": size, **contents}


def main(exit_callbacks: ExitStack) -> None:
    """Run the stage."""
    params = load_params()
    from emotion.tracking.stage_runs import stage_run

    with stage_run("fetch", params, exit_callbacks):
        source = fetch(params.fetch, ARCHIVE)
        write_json(SOURCE, source)
        print(f"{source['images']} images: {source['origin']} ({source['ignored']} other files ignored)")


if __name__ == "__main__":
    run_main("fetch", main)
