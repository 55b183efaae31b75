"""Sign the versions of a registered model, and verify them, where the project lists keys."""

from collections.abc import Mapping
from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner, Key

from emotion.registry.signing.envelope import STATEMENT, SignatureError, sign
from emotion.registry.signing.keys import keys_folder, trusted_keys
from emotion.registry.signing.provenance import PROVENANCE, Statement, read_statement, state_provenance
from emotion.registry.versions import LOCK_TAG, Version, get_version
from emotion.runtime.files import bytes_digest
from emotion.tracking import delivery
from emotion.tracking.client import connection
from emotion.tracking.queries import get_run, read_artifact

UNSIGNED = "unsigned: the project lists no keys"


@dataclass(frozen=True)
class Training:
    """What a run recorded about the training of a version."""

    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    patch: bytes  # the uncommitted changes


def sign_version(
    name: str, number: str, files: Mapping[str, str], training: Training, signer: CryptoSigner
) -> Statement:
    """Sign a version as the registry shows it now, with files that the caller has checked.

    Args:
        name: the name of the registered model.
        number: of the version.
        files: the SHA-256 of each file by path.
        training: of the version.
        signer: the private key.
    """
    version = get_version(name, number)
    sources = {
        "git": {"gitCommit": version.tags.get("git.commit", "")},
        "train.patch": {"sha256": bytes_digest(training.patch) if training.patch else ""},
        "dvc.lock": {"sha256": version.tags.get(LOCK_TAG, "").replace("unknown", "")},
        "archive": {"sha256": version.tags.get("data.sha256", "")},
        "data/faces": {"dvcMd5": version.tags.get("data.dvc_hash", "").replace("unknown", "")},
    }
    document = state_provenance(
        name,
        number,
        version.run_id,
        files,
        version.tags,
        sources,
        training.parameters,
        training.metrics,
        training.tags.get("machine", "unknown"),
    )
    with connection().translate_errors():
        run_id = delivery.resolve_run_id(version.run_id) or version.run_id
        connection().client.log_text(run_id, sign(document, STATEMENT, signer), PROVENANCE)
    return Statement.model_validate(document)


def verify_version(
    name: str, version: Version, files: Mapping[str, str] | None = None, trusted: Mapping[str, Key] | None = None
) -> tuple[Statement, str] | None:
    """Verify that a key of the project signed a version as it is; None if the project lists no keys.

    Args:
        name: the name of the registered model.
        version: as the registry shows it.
        files: the SHA-256 of each downloaded file by path; None to verify all but the files.
        trusted: the keys; None for those of the project.

    Returns:
        The statement, and the name of the key.

    Raises:
        SignatureError: if the version is not signed, or something that was signed has changed.
    """
    trusted = trusted_keys() if trusted is None else trusted
    if not trusted:
        return None
    run = get_run(version.run_id) if version.run_id else None
    content = read_artifact(run.id, PROVENANCE) if run else None
    what = f"{name} version {version.number}"
    if content is None:
        raise SignatureError(
            f"{what} is not signed, and this project lists keys in {keys_folder().name}/. If you trust it,"
            f" `emotion keys sign {version.number}` signs it."
        )
    statement, signer = read_statement(content.decode(errors="replace"), trusted, f"the provenance of {what}")
    statement.check(name, version.number, version.run_id, version.tags)
    if files is not None and (changed := _differing(statement.files, files)):
        raise SignatureError(
            f"the file {changed[0]} of {what} was changed, added or removed after it was signed. Restore it from a"
            " backup."
        )
    return statement, signer


def _differing(signed: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return sorted(path for path in {*signed, *found} if signed.get(path) != found.get(path))
