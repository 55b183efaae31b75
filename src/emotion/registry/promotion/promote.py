"""Who is champion: decided by the gate, recorded for good, and reversible.

The history is what counts: an entry is written once and by one process only. Aliases and tags
follow it; where a process died in between, the next command lets them catch up.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from emotion.data.dataset import open_faces
from emotion.params import Params
from emotion.registry import versions as registry
from emotion.registry.promotion.checks import examine, files_rule
from emotion.registry.promotion.history import (
    ALIASES,
    CHALLENGER,
    CHAMPION,
    LONGEST_REASON,
    Entry,
    Standing,
    person,
    standing,
)
from emotion.registry.promotion.rules import Verdict
from emotion.registry.versions import Version
from emotion.runtime.errors import UserError
from emotion.tracking import provenance
from emotion.tracking import runs as tracking
from emotion.tracking.stage_runs import flatten

CERTAIN = 1.0  # seconds after which what was seen is no longer the work of another process


class OvertakenError(UserError):
    """Of two changes at the same moment, the one that came second."""


@dataclass(frozen=True)
class Decision:
    """What came of a promotion."""

    verdict: Verdict | None  # None where nothing had to be decided
    outcome: str  # PROMOTED, HELD, REJECTED, or UNCHANGED where it is already
    forced: bool
    champion: str | None  # before it


def promote(
    settings: Params, number: str, to: str = CHAMPION, reason: str = "", force: bool = False, dry_run: bool = False
) -> Decision:
    """Examine a version, and make it champion or challenger where it passes or is forced.

    Args:
        settings: register and evaluate are used.
        number: of the version.
        to: champion or challenger.
        reason: kept with the decision.
        force: whether to do it in spite of bounds that are not met. What is no longer what was
            registered, or is not safe to load, is never promoted.
        dry_run: write nothing.

    Raises:
        UserError: where there is no such version or there are no test images.
        OvertakenError: where another change came first.
    """
    if force and not reason:
        raise UserError("--force needs a --reason, which is recorded.")
    _check(reason)
    name = settings.register_.name
    version = registry.version(name, number)
    if not dry_run:
        settle(name)
    entries = read(name)
    now = standing(entries, registry.versions(name))
    if dry_run and registry.applied(name) == len(entries):  # then aliases set by hand count
        found = registry.aliases(name)
        now = Standing((found.get(CHAMPION),), found.get(CHALLENGER))
    if to == CHALLENGER and number == now.champion:
        raise UserError(f"version {number} of {name} is the champion, and does not challenge itself.")
    if number == (now.champion if to == CHAMPION else now.challenger):
        return Decision(None, "UNCHANGED", False, now.champion)
    champion = registry.version(name, now.champion) if now.champion else None
    verdict = examine(settings, version, champion, open_faces().split("test"))
    outcome: str = verdict.outcome
    forced = force and outcome != "PROMOTED" and verdict.is_sound
    if forced:
        outcome = "PROMOTED"
    if not dry_run:
        run_id = record(settings, version, verdict, forced, reason)
        if outcome == "PROMOTED":
            entry = Entry(
                action="promote" if to == CHAMPION else "challenge",
                version=number, before=now.champion, verdict=verdict.outcome, forced=forced, reason=reason,
                commit=version.tags.get("git.commit", ""), files=version.tags.get("saved_model.sha256", ""),
                run_id=run_id,
            )  # fmt: skip
            change(name, entries, entry)
        else:
            registry.tag_version(name, number, gate_tags(outcome, False, reason, run_id))
    return Decision(verdict, outcome, forced, now.champion)


def _check(reason: str) -> None:
    if len(reason) > LONGEST_REASON:
        raise UserError(f"a reason has at most {LONGEST_REASON} characters, got {len(reason)}.")


def rollback(name: str, reason: str = "") -> Entry:
    """Make the champion before the champion again.

    Raises:
        UserError: where there is none, or its files are no longer those that were registered.
        OvertakenError: where another change came first.
    """
    _check(reason)
    settle(name)
    entries = read(name)
    now = standing(entries, registry.versions(name))
    if now.previous is None:
        raise UserError(f"{name} has no champion before {now.champion or 'none'} to go back to. See `emotion history`.")
    version = registry.version(name, now.previous)
    with tempfile.TemporaryDirectory() as folder:
        files = files_rule(version, registry.download(name, version.number, Path(folder)))
    if not files.passed:
        raise UserError(f"version {version.number} is not what was registered: {files.figure}. Promote another one.")
    entry = Entry(
        action="rollback", version=now.previous, before=now.champion, reason=reason,
        commit=version.tags.get("git.commit", ""), files=version.tags.get("saved_model.sha256", ""),
    )  # fmt: skip
    change(name, entries, entry)
    return entry


def current(name: str) -> Standing:
    """Who is champion, who was before, and who challenges."""
    return standing(read(name), registry.versions(name))


def read(name: str) -> list[Entry]:
    """A model's history."""
    entries: list[Entry] = []
    for text in registry.history(name):
        try:
            entries.append(Entry.model_validate_json(text))
        except ValidationError:
            raise UserError(
                f"entry {len(entries) + 1} of the history of {name} was not written by this program."
            ) from None
    return entries


def change(name: str, entries: list[Entry], entry: Entry) -> None:
    """Write the entry after those that a decision was made on, and let aliases and tags follow.

    Raises:
        OvertakenError: where another change came first.
    """
    if not registry.append_to_history(name, len(entries) + 1, entry.model_dump_json()):
        winner = read(name)[len(entries)]
        raise OvertakenError(
            f"nothing was changed: while this was decided, {winner.by} made another change first ({winner.action},"
            f" version {winner.version or 'none'}). See `emotion history`, then decide anew."
        )
    settle(name)


def settle(name: str) -> list[str]:
    """Let aliases and tags follow the history, and take note of what was changed outside of it.

    Returns:
        What was done, in words; nothing where all was well.
    """
    said: list[str] = []
    noted = None
    for _ in range(10):  # others may write meanwhile
        entries, shown = read(name), registry.applied(name)
        now, found = standing(entries, registry.versions(name)), registry.aliases(name)
        if shown < len(entries):
            if entries[-1] != noted and (shown or found):
                said.append(f"the last change, {entries[-1].action} of version {entries[-1].version}, was completed")
            for entry in entries[shown:]:
                _tag(name, entry)
            _follow(name, now, found)
            if registry.applied(name) < len(entries):
                registry.set_applied(name, len(entries))
        elif now.aliases() == {alias: found[alias] for alias in ALIASES if alias in found}:
            return said
        elif (now.champion, now.challenger) != (found.get(CHAMPION), found.get(CHALLENGER)):
            time.sleep(CERTAIN)
            if registry.aliases(name) != found or len(read(name)) != len(entries):
                continue  # another process is at it
            entry = Entry(
                action="outside", version=found.get(CHAMPION), challenger=found.get(CHALLENGER),
                before=now.champion, by="unknown",
            )  # fmt: skip
            if registry.append_to_history(name, len(entries) + 1, entry.model_dump_json()):
                noted = entry
                said.append(
                    "the aliases were changed outside of `emotion`: the champion is now"
                    f" {entry.version or 'none'}, which the history takes note of"
                )
        else:
            _follow(name, now, found)
            said.append(f"the alias previous was put back to {now.previous or 'none'}")
    return said


def _follow(name: str, now: Standing, found: dict[str, str]) -> None:
    """Previous first: at no moment is there a champion whose way back is lost."""
    wanted = now.aliases()
    for alias in reversed(ALIASES):
        if found.get(alias) != wanted.get(alias):
            registry.set_alias(name, alias, wanted.get(alias))


def _tag(name: str, entry: Entry) -> None:
    if entry.version in registry.versions(name) and entry.verdict:
        tags = gate_tags(entry.verdict, entry.forced, entry.reason, entry.run_id) | {"gate.by": entry.by}
        registry.tag_version(name, str(entry.version), tags)


def gate_tags(outcome: str, forced: bool, reason: str, run_id: str) -> dict[str, str]:
    """What a version says of the last decision about it."""
    return {
        "gate.verdict": outcome,
        "gate.forced": str(forced).lower(),
        "gate.reason": reason,
        "gate.run_id": run_id,
        "gate.by": person(),
    }


def record(settings: Params, version: Version, verdict: Verdict, forced: bool, reason: str) -> str:
    """A run with the verdict; its id."""
    bounds = flatten({"gate": settings.register_.gate.model_dump()})
    tags = {
        "stage": "promote",
        "version": version.number,
        "data.dvc_hash": provenance.data_hash(),
        "champion": verdict.champion or "",
        "verdict": verdict.outcome,
        "forced": str(forced).lower(),
        "reason": reason,
        "by": person(),
    }
    with tracking.run(f"promote {version.number}", tags, bounds) as run_id:
        tracking.log_metrics(verdict.figures)
        tracking.log_text(verdict.model_dump_json(indent=2), "verdict.json")
        tracking.log_text(as_markdown(verdict), "verdict.md")
        passed = len(verdict.rules) - len(verdict.failed)
        tracking.describe(f"{verdict.outcome}: {passed} of {len(verdict.rules)} rules passed.")
    return run_id


def as_markdown(verdict: Verdict) -> str:
    """The verdict, to read."""
    rules = [
        f"| {rule.name} | {rule.figure} | {rule.bound} | {'passed' if rule.passed else '**failed**'} |"
        for rule in verdict.rules
    ]
    against = f"against version {verdict.champion}" if verdict.champion else "there is no champion yet"
    lines = [
        f"# Version {verdict.version}: {verdict.outcome}, {against}",
        "| rule | figure | bound | outcome |\n|---|---|---|---|\n" + "\n".join(rules),
    ]
    if verdict.emotions:
        rows = [
            f"| {row['emotion']} | {row['images']} | {row['recall']:.4f} | {row['champion_recall']:.4f} |"
            f" {row['p_value']:.3g} |"
            for row in verdict.emotions
        ]
        lines.append(
            "| emotion | images | recall | champion's recall | p (McNemar) |\n|---|---|---|---|---|\n" + "\n".join(rows)
        )
    return "\n\n".join(lines) + "\n"
