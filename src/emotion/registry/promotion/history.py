"""The entries of a model's history, and the aliases that follow from them."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from emotion.params.validation import Section
from emotion.runtime.processes import login_name

CHAMPION, PREVIOUS, CHALLENGER = ALIASES = ("champion", "previous", "challenger")
MAX_REASON, MAX_USE = 500, 200  # characters, so that an entry fits into the ledger


def current_time() -> str:
    """UTC to the second, in ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def current_user() -> str:
    """The user who runs this program, as known to git, MLflow or the system, and the machine."""
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True)
        name = done.stdout.strip()
    except OSError:
        name = ""
    return f"{name or os.environ.get('MLFLOW_TRACKING_USERNAME') or login_name()}@{socket.gethostname()}"


class Entry(Section):
    """One change of the champion or the challenger."""

    # external: the aliases were changed by another program; refuse: the gate changed nothing (not in the ledger);
    # unsigned: not signed by a key in keys/, so it changes nothing
    action: Literal["promote", "challenge", "rollback", "external", "refuse", "unsigned"]
    model: str = ""  # the name of the registered model
    stored: str = Field(default="", exclude=True, repr=False)  # its verified text in the ledger
    signed_by: str = ""  # the name of the key, known by verifying the signature
    previous: str = ""  # SHA-256 of the entry before, as it is stored
    version: str | None  # the new champion; with `challenge`, the new challenger
    challenger: str | None = None  # with `external`: the challenger that was found
    before: str | None = None  # the champion before
    verdict: str = ""
    forced: bool = False
    reason: str = ""
    commit: str = ""  # the commit that the version was trained from
    files: str = ""  # SHA-256 of the version's SavedModel
    run_id: str = ""  # of the run with the gate's verdict
    intended_use: str = ""  # of the version: its area and purpose
    images: str = ""  # SHA-256 of the test images that decided
    uses: int = 0  # how often they had decided about the model, this time included
    by: str = Field(default_factory=current_user)
    at: str = Field(default_factory=current_time)
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)  # no two entries are equal


@dataclass(frozen=True)
class AliasState:
    """The champions and the challenger after all entries of a history."""

    champions: tuple[str | None, ...] = ()  # the current champion, preceded by those that rollbacks return to
    challenger: str | None = None

    @property
    def champion(self) -> str | None:
        """The champion."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> str | None:
        """The version that a rollback returns to."""
        return next(
            (version for version in reversed(self.champions[:-1]) if version and version != self.champion), None
        )

    def aliases(self) -> dict[str, str]:
        """The aliases that the registry should have."""
        wanted = zip(ALIASES, (self.champion, self.previous, self.challenger), strict=True)
        return {alias: version for alias, version in wanted if version}


def former_champions(entries: Iterable[Entry]) -> list[str]:
    """The versions that were ever the champion, in the order of their first promotion."""
    changes = [entry for entry in entries if entry.action not in ("challenge", "unsigned")]
    return list(dict.fromkeys(entry.version for entry in changes if entry.version))


def existing_versions(entries: Iterable[Entry], saved_models: Mapping[str, str]) -> set[str]:
    """The versions that exist as the entries know them; MLflow gives the number of a deleted version away again.

    Args:
        entries: of a history.
        saved_models: the SHA-256 of each existing version's SavedModel, by number.
    """
    counting = [entry for entry in entries if entry.action != "unsigned"]
    named = {entry.version: entry.files for entry in counting if entry.version and entry.files}
    return {number for number, digest in saved_models.items() if named.get(number, digest) == digest}


def replay(entries: Iterable[Entry], existing: Iterable[str]) -> AliasState:
    """Apply all entries of a history.

    Args:
        entries: in order.
        existing: the versions that were not deleted.
    """
    champions: list[str | None] = []
    challenger: str | None = None
    available = {None, *existing}
    for entry in entries:
        if entry.action == "unsigned":
            continue
        if entry.action == "challenge":
            challenger = entry.version
            continue
        if entry.action == "rollback":
            while champions and champions[-1] != entry.version:
                champions.pop()
        if not champions or champions[-1] != entry.version:
            champions.append(entry.version)
        if entry.action == "external":
            challenger = entry.challenger
        if challenger == entry.version:
            challenger = None
    kept = [version for version in champions if version in available]
    if kept[-1:] != champions[-1:]:
        kept.append(None)  # the champion was deleted: there is none
    return AliasState(tuple(kept) if champions else (), challenger if challenger in available else None)
