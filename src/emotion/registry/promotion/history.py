"""Who was champion when: entries that are written once, and what follows from them."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from emotion.params import Section
from emotion.runtime import processes

CHAMPION, PREVIOUS, CHALLENGER = ALIASES = ("champion", "previous", "challenger")
LONGEST_REASON = 500  # characters: an entry must not be cut, and MLflow cuts at 6000


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def person() -> str:
    """Who is at work: git's name of them, or the system's, and the machine."""
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True)
        name = done.stdout.strip()
    except OSError:
        name = ""
    return f"{name or os.environ.get('MLFLOW_TRACKING_USERNAME') or processes.user()}@{socket.gethostname()}"


class Entry(Section):
    """One change of who is champion or challenger."""

    # outside: the aliases were changed by something else, and the history takes note
    action: Literal["promote", "challenge", "rollback", "outside"]
    version: str | None  # champion from now on; of `challenge`, the challenger
    challenger: str | None = None  # outside: the challenger that was found
    before: str | None = None  # champion until now
    verdict: str = ""
    forced: bool = False
    reason: str = ""
    commit: str = ""  # that the version was trained from
    files: str = ""  # SHA-256 over the version's files
    run_id: str = ""  # that holds the gate's verdict
    by: str = Field(default_factory=person)
    at: str = Field(default_factory=now)
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)  # no two entries are equal


@dataclass(frozen=True)
class Standing:
    """What a history amounts to."""

    champions: tuple[str | None, ...] = ()  # each with those that a rollback leads to before it
    challenger: str | None = None

    @property
    def champion(self) -> str | None:
        """The champion."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> str | None:
        """The one that a rollback leads to."""
        return next(
            (version for version in reversed(self.champions[:-1]) if version and version != self.champion), None
        )

    def aliases(self) -> dict[str, str]:
        """What the registry's aliases should be."""
        wanted = zip(ALIASES, (self.champion, self.previous, self.challenger), strict=True)
        return {alias: version for alias, version in wanted if version}


def standing(entries: Iterable[Entry], existing: Iterable[str]) -> Standing:
    """What follows from a history.

    Args:
        entries: in their order.
        existing: the versions that were not deleted.
    """
    champions: list[str | None] = []
    challenger: str | None = None
    there = {None, *existing}
    for entry in entries:
        if entry.action == "challenge":
            challenger = entry.version
            continue
        if entry.action == "rollback":
            while champions and champions[-1] != entry.version:
                champions.pop()
        if not champions or champions[-1] != entry.version:
            champions.append(entry.version)
        if entry.action == "outside":
            challenger = entry.challenger
        if challenger == entry.version:
            challenger = None
    kept = [version for version in champions if version in there]
    if kept[-1:] != champions[-1:]:
        kept.append(None)  # the champion was deleted: there is none
    return Standing(tuple(kept) if champions else (), challenger if challenger in there else None)
