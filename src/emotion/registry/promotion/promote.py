"""Promotion and rollback: decided by the gate, recorded in the ledger, and reversible."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from emotion.data.dataset import Split, open_dataset
from emotion.data.labels import GATE
from emotion.params.sections import Params
from emotion.registry.events import Event, notify
from emotion.registry.promotion.gate.checks import files_rule, provenance_rule
from emotion.registry.promotion.gate.rules import Verdict
from emotion.registry.promotion.gate.run import run_gate
from emotion.registry.promotion.history import (
    CHALLENGER,
    CHAMPION,
    MAX_REASON,
    MAX_USE,
    AliasState,
    Entry,
    current_user,
    former_champions,
)
from emotion.registry.promotion.ledger import applied_entries, read_entries
from emotion.registry.promotion.reconcile import append_entry, gate_tags, missing_champion, reconcile, state_after
from emotion.registry.promotion.verdict_report import log_verdict
from emotion.registry.signing.keys import load_signer, trusted_keys
from emotion.registry.versions import (
    Version,
    download_version,
    get_aliases,
    get_version,
    list_versions,
    tag_version,
)
from emotion.runtime.errors import UserError

EVENTS: dict[str, Event] = {"PROMOTED": "promoted", "HELD": "held", "REJECTED": "rejected"}


@dataclass(frozen=True)
class Decision:
    """The outcome of a promotion."""

    verdict: Verdict | None  # None if nothing had to be decided
    outcome: str  # PROMOTED, HELD, REJECTED, or UNCHANGED if the version already has the alias
    forced: bool
    champion: str | None  # before the promotion


def promote(
    params: Params, number: str, to: str = CHAMPION, reason: str = "", force: bool = False, dry_run: bool = False
) -> Decision:
    """Run the gate for a version, and make it champion or challenger if it passes or is forced.

    Args:
        params: only the sections `register` and `evaluate` are used.
        number: the number of the version.
        to: the alias to assign, "champion" or "challenger".
        reason: recorded with the decision.
        force: promote even if thresholds are not met. A version whose files have changed, or that is not safe
            to load, is never promoted.
        dry_run: run the gate without writing anything.

    Raises:
        UserError: if there is no such version, or there are no test images.
        ConflictError: if another change was first.
    """
    if force and not reason:
        raise UserError("--force needs a --reason, which is recorded.")
    _check_reason(reason)
    name = params.register_.name
    signer = None if dry_run else load_signer()
    version = get_version(name, number)
    if not dry_run:
        reconcile(name)
    entries, versions = read_entries(name), list_versions(name)
    state = state_after(name, entries)
    # A dry run reconciles nothing, so it respects aliases that were set manually.
    if dry_run and not trusted_keys() and applied_entries(name) == len(entries):
        found = get_aliases(name)
        state = AliasState((found.get(CHAMPION),), found.get(CHALLENGER))
    if to == CHALLENGER and number == state.champion:
        raise UserError(f"version {number} is already the champion, so it cannot be the challenger.")
    if number == (state.champion if to == CHAMPION else state.challenger):
        return Decision(None, "UNCHANGED", False, state.champion)
    compared = state.champion if to == CHAMPION else None
    champion = get_version(name, compared) if compared else None
    others = {*versions} - {number, compared} if to == CHAMPION else set()
    formers = [versions[former] for former in former_champions(entries) if former in others]
    missing = missing_champion(entries, state) if to == CHAMPION else ""
    verdict = run_gate(params, version, champion, formers, _gate_images(), dry_run, signer, missing)
    if to == CHALLENGER:
        verdict = verdict.without_comparison()
    forced = force and verdict.outcome != "PROMOTED" and verdict.has_integrity
    outcome = "PROMOTED" if forced else verdict.outcome
    if not dry_run:
        run_id = log_verdict(params, version, to, verdict, forced, reason)
        if outcome == "PROMOTED":
            entry = _entry(
                "promote" if to == CHAMPION else "challenge", version, state, reason,
                verdict=verdict.outcome, forced=forced, run_id=run_id, images=verdict.images, uses=verdict.uses,
            )  # fmt: skip
            append_entry(name, entries, entry, signer)
        else:
            tag_version(name, number, gate_tags(to, outcome, False, current_user(), reason, run_id))
        notify(
            EVENTS[outcome], name, number,
            {"alias": to, "forced": forced, "before": state.champion, "reason": reason, "by": current_user()},
        )  # fmt: skip
    return Decision(verdict, outcome, forced, state.champion)


def _gate_images() -> Split:
    """The images that only the gate looks at; all test images if none are reserved."""
    dataset = open_dataset()
    own = dataset.split(GATE)
    return own if len(own) else dataset.split("test")


def rollback(name: str, reason: str = "") -> Entry:
    """Make the previous champion the champion again.

    Raises:
        UserError: if there is none, or its files have changed since it was registered.
        ConflictError: if another change was first.
    """
    _check_reason(reason)
    signer = load_signer()
    reconcile(name)
    entries = read_entries(name)
    state = state_after(name, entries)
    if missing := missing_champion(entries, state):
        raise UserError(f"{missing} Restore the registry from a backup, or promote a version.")
    if state.previous is None:
        raise UserError(f"{name} has no previous champion to roll back to. See `emotion history`.")
    version = get_version(name, state.previous)
    with tempfile.TemporaryDirectory() as folder:
        downloaded = download_version(name, version.number, Path(folder))
        files, signed = files_rule(name, version, downloaded), provenance_rule(name, version, downloaded)
    if not files.passed:
        raise UserError(
            f"the files of version {version.number} have changed since it was registered ({files.value})."
            " Promote another version."
        )
    if not signed.passed:
        raise UserError(signed.value)
    entry = _entry("rollback", version, state, reason)
    append_entry(name, entries, entry, signer)
    notify("rolled_back", name, version.number, {"before": state.champion, "reason": reason, "by": entry.by})
    return entry


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON:
        raise UserError(f"a reason can have at most {MAX_REASON} characters, got {len(reason)}. Shorten it.")


def _entry(
    action: str, version: Version, state: AliasState, reason: str,
    verdict: str = "", forced: bool = False, run_id: str = "", images: str = "", uses: int = 0,
) -> Entry:  # fmt: skip
    return Entry.model_validate(
        {
            "action": action,
            "version": version.number,
            "before": state.champion,
            "reason": reason,
            "commit": version.tags.get("git.commit", ""),
            "intended_use": ": ".join(version.tags.get(f"use.{key}", "") for key in ("area", "purpose"))[:MAX_USE],
            "files": version.tags.get("saved_model.sha256", ""),
            "verdict": verdict,
            "forced": forced,
            "run_id": run_id,
            "images": images,
            "uses": uses,
        }
    )
