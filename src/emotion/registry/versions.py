"""Versions of the model in MLflow's registry."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from emotion.data.labels import EMOTIONS, SIZE
from emotion.inference.op_allowlist import digests
from emotion.runtime.errors import UserError
from emotion.tracking import client as store
from emotion.tracking import runs as tracking

import mlflow  # isort: skip
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

LOCK = "dvc.lock.sha256"
FILES = "files.sha256"  # tag of a version: the digest of each of its files, as JSON
UNSURE_BELOW = "unsure_below"  # tag of a version: the confidence below which its answer is "unsure"
HISTORY_RUN = "history.run_id"  # tag of a model: the run whose parameters are the entries of its history
LONGEST_ENTRY = 6000  # characters: MLflow cuts what is longer
APPLIED = "history.applied"  # tag of a model: how many of them its aliases and tags show
WRITTEN_BY_DOWNLOAD = "registered_model_meta"  # by MLflow, into what it downloads
ABOUT_A_MODEL = {  # the files of a version beside its SavedModel
    "MLmodel", "classifier.keras", "conda.yaml", "data/keras_module.txt", "input_example.json", "python_env.yaml",
    "requirements.txt", "serving_input_example.json", WRITTEN_BY_DOWNLOAD,
}  # fmt: skip

SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, SIZE, SIZE, 1))]),
    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(EMOTIONS)))]),
)


@dataclass(frozen=True)
class Version:
    """What the registry knows of a version."""

    number: str
    run_id: str
    created: int  # milliseconds since 1970
    tags: dict[str, str]
    description: str

    @property
    def files(self) -> dict[str, str]:
        """The digest of each of its files when it was registered; empty where none were recorded."""
        return dict(json.loads(self.tags.get(FILES, "{}")))


def versions(name: str) -> dict[str, Version]:
    """All versions, by their numbers, the oldest first."""
    with store.explained():
        found = store.connect().search_model_versions(f"name = '{name}'")
    return {
        str(v.version): Version(str(v.version), v.run_id or "", v.creation_timestamp, v.tags, v.description or "")
        for v in sorted(found, key=lambda it: int(it.version))
    }


def version(name: str, number: str) -> Version:
    """One of them.

    Raises:
        UserError: where there is none of that number.
    """
    known = versions(name)
    if number not in known:
        listed = ", ".join(known) or "none; `dvc repro` or `emotion restore` makes one"
        raise UserError(f"{name} has no version {number}. It has: {listed}.")
    return known[number]


def when(milliseconds: int) -> str:
    """UTC, ISO 8601, of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tag_version(name: str, number: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    with store.explained():
        for key, value in tags.items():
            store.connect().set_model_version_tag(name, number, key, value)


def download(name: str, number: str, folder: Path) -> Path:
    """Bring a version's files from the registry into a folder, and say where they lie in it."""
    return download_from(f"models:/{name}/{number}", folder)


def download_from(address: str, folder: Path) -> Path:
    """Bring the files at an address of MLflow's into a folder, and say where they lie in it."""
    store.connect()
    folder.mkdir(parents=True, exist_ok=True)
    with store.explained(f"has no {address}", patient=True):
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))


def addressed(address: str) -> tuple[str, Version] | None:
    """The name and version that models:/NAME/NUMBER, /latest or @ALIAS means; None for other addresses.

    Raises:
        UserError: where there is no such version.
    """
    parts = re.fullmatch(r"models:/([^/@]+)(?:/(\d+|latest)|@(.+))", address)
    if not parts:
        return None
    name, number, alias = parts.groups()
    if alias:
        number = aliases(name).get(alias)
    elif number == "latest":
        number = next(reversed(versions(name)), "latest")
    if number is None:
        raise UserError(
            f"{name} has no {alias}. `emotion promote VERSION` makes a version the champion;"
            f" models:/{name}/VERSION names any."
        )
    return name, version(name, number)


def file_digests(folder: Path) -> dict[str, str]:
    """Of a version's files as they were downloaded, without what the download adds."""
    return {path: content for path, content in digests(folder).items() if path != WRITTEN_BY_DOWNLOAD}


def saved_model_of(folder: Path) -> Path:
    """Where a downloaded version has its SavedModel."""
    return folder / "data" / "model"


def classifier_of(folder: Path) -> Path:
    """Where a downloaded version has the trained network, as Keras has it."""
    return folder / "classifier.keras"


def has_the_signature(folder: Path) -> bool:
    """Whether a downloaded version says that it takes and gives what every version does."""
    return bool(Model.load(str(folder)).signature == SIGNATURE)


def serves_its_saved_model(folder: Path) -> bool:
    """Whether MLflow, asked to serve a downloaded version, runs the SavedModel and no other code."""
    flavors = Model.load(str(folder)).flavors
    keras, pyfunc = flavors.get("keras", {}), flavors.get("python_function", {})
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return (
        set(flavors) == {"keras", "python_function"}
        and pyfunc.get("loader_module") == "mlflow.keras"
        and not {"code", "data", "model_path"} & set(pyfunc)
        and (keras.get("data"), keras.get("save_exported_model")) == ("data", True)
        and all(path in ABOUT_A_MODEL or path.startswith("data/model/") for path in files)
    )


def history_run(name: str, make: bool = False) -> str:
    """The run whose parameters, which MLflow writes once and never again, are a model's history.

    Args:
        name: of the model.
        make: the model, where there is none. Its creation is the one moment that only one of two
            processes can win, so that there are never two histories.

    Raises:
        UserError: where there is no such model.
    """
    client = store.connect()
    with store.explained():
        known = _tag_of_model(name, HISTORY_RUN)
        if known is None and make:
            made = _make_history_run(name)
            try:
                client.create_registered_model(name, tags={HISTORY_RUN: made})
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                client.delete_run(made)  # another process was first
            known = _tag_of_model(name, HISTORY_RUN)
        if known is None:
            raise UserError(f"MLflow has no registered model {name}. `dvc repro` makes one.")
        if not known:  # the model was registered by something else
            _make_history_run(name)
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            ordered = ["attributes.start_time ASC", "attributes.run_id ASC"]
            oldest = client.search_runs(experiments, f"tags.`history.of` = '{name}'", order_by=ordered, max_results=1)
            known = str(oldest[0].info.run_id)
            client.set_registered_model_tag(name, HISTORY_RUN, known)
    return known


def _tag_of_model(name: str, key: str) -> str | None:
    """A tag of a registered model, empty where it has none; None where there is no such model."""
    try:
        return str(store.connect().get_registered_model(name).tags.get(key, ""))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _make_history_run(name: str) -> str:
    with tracking.run(f"history of {name}", {"history.of": name}, {}) as run_id:
        tracking.describe("Who was champion when: `emotion history` shows it. Every parameter is an entry.")
    return run_id


def history(name: str) -> list[str]:
    """The entries of a model's history, in their order."""
    with store.explained():
        entries = store.connect().get_run(history_run(name)).data.params
    return [entries[number] for number in sorted(entries)]


def append_to_history(name: str, number: int, entry: str) -> bool:
    """Write an entry, where nobody has written that one.

    Args:
        name: of the model.
        number: of the entry, from 1.
        entry: its text, unlike any other.

    Returns:
        Whether it is ours that was written.
    """
    client, run_id, key = store.connect(), history_run(name), f"{number:05d}"
    if len(entry) > LONGEST_ENTRY:
        raise UserError(f"an entry of the history has at most {LONGEST_ENTRY} characters, got {len(entry)}.")
    with store.explained():
        try:
            client.log_param(run_id, key, entry)
        except MlflowException as error:
            run = client.get_run(run_id)
            if run.info.lifecycle_stage == "deleted":
                raise UserError(
                    f"the run with the history of {name} was deleted. `mlflow runs restore --run-id {run_id}`"
                    " brings it back."
                ) from error
            if key not in run.data.params:
                raise
        return bool(client.get_run(run_id).data.params[key] == entry)


def applied(name: str) -> int:
    """How many entries of the history the aliases show."""
    with store.explained():
        return int(store.connect().get_registered_model(name).tags.get(APPLIED, 0))


def set_applied(name: str, entries: int) -> None:
    """Say that the aliases show so many entries."""
    with store.explained():
        store.connect().set_registered_model_tag(name, APPLIED, str(entries))


def aliases(name: str) -> dict[str, str]:
    """Version numbers by alias.

    Raises:
        UserError: where there is no such model.
    """
    with store.explained(f"has no model {name}"):
        return {k: str(v) for k, v in store.connect().get_registered_model(name).aliases.items()}


def set_alias(name: str, alias: str, number: str | None) -> None:
    """Give an alias to a version, or to none."""
    client = store.connect()
    with store.explained():
        if number is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, number)
