"""Sign and verify a version in the registry, with all its files."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from securesystemslib.signer import Key

from emotion.registry.lineage import PATCH, run_of_version
from emotion.registry.promotion.ledger import read_entries
from emotion.registry.signature import saved_model_of
from emotion.registry.signing.keys import load_signer
from emotion.registry.signing.provenance import Statement
from emotion.registry.signing.versions import Training, sign_version, verify_version
from emotion.registry.versions import (
    SAVED_MODEL_TAG,
    Version,
    changed_files,
    download_version,
    downloaded_digests,
    get_version,
)
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_digest
from emotion.tracking.queries import read_artifact


def sign_existing(name: str, number: str) -> Statement:
    """Sign a version whose files are as registered.

    Raises:
        UserError: if they are not, or the project has no keys, or this machine has none of them.
    """
    signer = load_signer()
    if signer is None:
        raise UserError("this project lists no keys in keys/. Create one with `emotion keys create NAME`.")
    version = get_version(name, number)
    run = run_of_version(number, version.run_id)
    with tempfile.TemporaryDirectory() as folder:
        downloaded = download_version(name, number, Path(folder))
        if changed := changed_files(version, downloaded):
            raise UserError(
                f"{changed[0]} of version {number} has changed since it was registered, or no digests were recorded."
                " Restore its files from a backup, or train again with `dvc repro --force train`."
            )
        _check_saved_model(name, version, folder_digest(saved_model_of(downloaded)))
        files = downloaded_digests(downloaded)
    metrics = {key: value for key, value in run.metrics.items() if key.startswith("test")}
    training = Training(run.params, metrics, run.tags, read_artifact(run.id, PATCH) or b"")
    return sign_version(name, number, files, training, signer)


def _check_saved_model(name: str, version: Version, digest: str) -> None:
    """Check that a version's model is the one that it was registered with, and that was promoted."""
    known = {version.tags.get(SAVED_MODEL_TAG, digest)}
    known |= {entry.files for entry in read_entries(name) if entry.version == version.number and entry.files}
    if known != {digest}:
        raise UserError(
            f"the SavedModel of version {version.number} is not the one that was registered or promoted. Do not sign"
            " it: restore its files from a backup, or train again with `dvc repro --force train`."
        )


def verify_existing(name: str, number: str, trusted: Mapping[str, Key]) -> tuple[Statement, str]:
    """Verify a version and all its files; return what was signed, and the name of the key.

    Args:
        name: the name of the registered model.
        number: of the version.
        trusted: the keys of the project, at least one.

    Raises:
        SignatureError: if it is not signed, or something that was signed has changed.
    """
    version = get_version(name, number)
    with tempfile.TemporaryDirectory() as folder:
        files = downloaded_digests(download_version(name, number, Path(folder)))
    verified = verify_version(name, version, files, trusted)
    assert verified is not None, "there are keys"
    return verified
