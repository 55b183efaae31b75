"""List, tag, download and alias the versions of the registered model."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from emotion.registry.signature import DOWNLOAD_METADATA
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digests
from emotion.tracking.client import connection
from emotion.tracking.queries import get_run, read_artifact

LOCK_TAG = "dvc.lock.sha256"
SAVED_MODEL_TAG = "saved_model.sha256"
FILES_TAG = "files.sha256"  # the digest of FILES, or FILES itself in versions of earlier releases
FILES = "source/files.json"  # an artifact of the run: the digest of each file of the version
UNSURE_BELOW_TAG = "unsure_below"  # the confidence below which the answer is "unsure"


@dataclass(frozen=True)
class Version:
    """A version as recorded in the registry."""

    number: str
    run_id: str
    created: int  # milliseconds since 1970
    tags: dict[str, str]
    description: str
    source: str = ""  # URI of its files

    @property
    def test_accuracy(self) -> str:
        """The accuracy on the test images, by the labels of FER+ if it learned from these; empty if it is unknown."""
        return self.tags.get("test.accuracy") or self.tags.get("ferplus_test.accuracy", "")

    @property
    def unsure_below(self) -> float:
        """The confidence below which the answer is "unsure", 0..1; 0 if the version has no such tag.

        Raises:
            UserError: if the tag is not such a number.
        """
        text = self.tags.get(UNSURE_BELOW_TAG, "0")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise UserError(
                f"the tag {UNSURE_BELOW_TAG} of version {self.number} should be a number from 0 to 1, got {text!r}."
                " Correct it in MLflow."
            )
        return value

    @property
    def files_digest(self) -> str:
        """The digest of all files at registration (see `files_digest`); empty if none was recorded."""
        recorded = self.tags.get(FILES_TAG, "")
        return files_digest(parse_json_tag(self.tags, FILES_TAG)) if recorded.startswith("{") else recorded


def files_digest(files: Mapping[str, str]) -> str:
    """The SHA-256 of the digests of files, given by path."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def changed_files(version: Version, folder: Path) -> list[str]:
    """The paths of a downloaded version's files that have changed since it was registered.

    If the list of the files, an artifact of the run, is lost or damaged, all files are returned.
    """
    found = downloaded_digests(folder)
    if files_digest(found) == version.files_digest:
        return []
    recorded = _recorded_files(version)
    if files_digest(recorded) != version.files_digest:
        return sorted(found) or [FILES]
    return sorted(path for path in {*recorded, *found} if recorded.get(path) != found.get(path))


def _recorded_files(version: Version) -> dict[str, str]:
    run = get_run(version.run_id) if version.files_digest and version.run_id else None
    try:
        content = json.loads(read_artifact(run.id, FILES) or b"{}") if run else {}
    except (ValueError, RecursionError):
        content = {}
    return content if isinstance(content, dict) else {}


def parse_json_tag(tags: Mapping[str, str], key: str) -> dict[str, str]:
    """A JSON object in a tag, which anyone can edit in MLflow's UI; empty if there is no such tag.

    Raises:
        UserError: if the tag is not a JSON object of texts.
    """
    try:
        content = json.loads(tags.get(key, "{}"))
    except (ValueError, RecursionError):
        content = None
    if not (isinstance(content, dict) and all(isinstance(value, str) for value in content.values())):
        raise UserError(f"the tag {key} of a version is damaged. Register the model again with `emotion restore`.")
    return content


def list_versions(name: str) -> dict[str, Version]:
    """All versions by number, the oldest first."""
    with connection().translate_errors():
        found = connection().client.search_model_versions(f"name = '{name}'")
    return {
        str(v.version): Version(
            str(v.version), v.run_id or "", v.creation_timestamp, v.tags, v.description or "", v.source or ""
        )
        for v in sorted(found, key=lambda version: int(version.version))
    }


def get_version(name: str, number: str) -> Version:
    """One version.

    Raises:
        UserError: if there is no version of that number.
    """
    known = list_versions(name)
    if not known:
        raise no_model_error(name)
    if number not in known:
        raise UserError(f"{name} has no version {number}. Its versions: {', '.join(known)}.")
    return known[number]


def format_timestamp(milliseconds: int) -> str:
    """Format milliseconds since 1970 as UTC in ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tag_version(name: str, number: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    with connection().translate_errors():
        for key, value in tags.items():
            connection().client.set_model_version_tag(name, number, key, value)


def download_version(name: str, number: str, folder: Path) -> Path:
    """Download a version's files into a folder and return where they are in it."""
    return download_model(f"models:/{name}/{number}", folder)


def download_model(uri: str, folder: Path) -> Path:
    """Download the files at an MLflow URI into a folder and return where they are in it."""
    _ = connection().client
    folder.mkdir(parents=True, exist_ok=True)
    with connection().translate_errors(f"cannot deliver {uri}", count_time=False):
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))


def downloaded_digests(folder: Path) -> dict[str, str]:
    """The digests of a downloaded version's files, without those that the download adds."""
    return {path: digest for path, digest in file_digests(folder).items() if path != DOWNLOAD_METADATA}


def get_aliases(name: str) -> dict[str, str]:
    """Version numbers by alias.

    Raises:
        UserError: if there is no such model.
    """
    aliases = find_aliases(name)
    if aliases is None:
        raise no_model_error(name)
    return aliases


def find_aliases(name: str) -> dict[str, str] | None:
    """Version numbers by alias; None if there is no such model."""
    if not connection().has_store:
        return None
    with connection().translate_errors():
        try:
            return {k: str(v) for k, v in connection().client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise


def no_model_error(name: str) -> UserError:
    """The error for a registered model that does not exist or has no versions."""
    return UserError(
        f"MLflow has no registered model {name} with a version. `dvc repro` or `emotion restore` creates one; if it was"
        " renamed in MLflow, set register.name in params.yaml to its new name."
    )


def set_alias(name: str, alias: str, number: str | None) -> None:
    """Give an alias to a version; None deletes the alias."""
    client = connection().client
    with connection().translate_errors():
        if number is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, number)
