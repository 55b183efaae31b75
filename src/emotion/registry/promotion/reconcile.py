"""Keep the registry's aliases and tags consistent with the ledger.

The ledger is authoritative: each entry is written once, by one process. If a process dies before it updates the
aliases, the next command completes the change. Changes to the aliases by other programs are recorded.
"""

import sys
import time

from securesystemslib.signer import CryptoSigner

from emotion.registry.promotion.chain import newest_path, remember_newest
from emotion.registry.promotion.history import (
    ALIASES,
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    AliasState,
    Entry,
    existing_versions,
    replay,
)
from emotion.registry.promotion.ledger import (
    APPLIED_TAG,
    applied_entries,
    read_entries,
    replace_lost_ledger,
    set_applied_entries,
    write_entry,
)
from emotion.registry.signing.envelope import SignatureError
from emotion.registry.signing.keys import load_signer, trusted_keys
from emotion.registry.versions import SAVED_MODEL_TAG, find_aliases, get_aliases, list_versions, set_alias, tag_version
from emotion.runtime.errors import UserError
from emotion.runtime.text import printable

RECONCILE_DELAY = 1.0  # seconds that a running process gets to complete its change
MAX_ATTEMPTS = 10


class ConflictError(UserError):
    """Another process changed the history first."""


def current_state(name: str) -> AliasState:
    """The champion, its predecessors and the challenger according to the ledger."""
    return state_after(name, read_entries(name))


def state_after(name: str, entries: list[Entry]) -> AliasState:
    """The champion, its predecessors and the challenger after some entries."""
    saved_models = {number: version.tags.get(SAVED_MODEL_TAG, "") for number, version in list_versions(name).items()}
    return replay(entries, existing_versions(entries, saved_models))


def trusted_aliases(name: str) -> dict[str, str]:
    """Version numbers by alias; empty if there is no such model.

    If the project has keys, they follow from the signed history: what the registry says is not trusted.

    Raises:
        SignatureError: if the project has keys, and the history is not as a holder of one wrote it.
    """
    found = find_aliases(name)
    if not trusted_keys():
        return found or {}
    if found is None:
        if newest_path(name).exists():
            raise SignatureError(f"{newest_path(name)} remembers promotions of {name}, which MLflow does not have.")
        return {}
    entries = read_entries(name)
    state = state_after(name, entries)
    if missing := missing_champion(entries, state):
        raise SignatureError(f"{missing} Restore the registry from a backup, or promote another version.")
    return state.aliases()


def known_aliases(name: str) -> dict[str, str]:
    """`trusted_aliases`; empty, with a warning, if the history cannot be verified."""
    try:
        return trusted_aliases(name)
    except SignatureError as error:
        print(f"Warning: {printable(str(error))}", file=sys.stderr, flush=True)
        return {}


def missing_champion(entries: list[Entry], state: AliasState) -> str:
    """Why the champion of a signed history is missing, in a sentence; empty if it is not, or there are no keys."""
    named = {entry.version for entry in entries if entry.version}
    signed = replay(entries, named).champion if trusted_keys() else None
    if signed in (None, state.champion):
        return ""
    return f"version {signed}, the champion of the signed history, is missing or was changed."


def append_entry(name: str, entries: list[Entry], entry: Entry, signer: CryptoSigner | None) -> None:
    """Append an entry to those that a decision was based on, and update aliases and tags.

    Args:
        name: the name of the model.
        entries: the entries that the decision was based on.
        entry: the new one.
        signer: the private key, if the project has keys.

    Raises:
        ConflictError: if another change was first.
    """
    if not write_entry(name, entries, entry, signer):
        winner = read_entries(name)[len(entries)]
        action = {"rollback": "rolled back to", "external": "changed the alias to"}.get(winner.action, "promoted")
        raise ConflictError(
            f"nothing was changed: {winner.by} {action} version {winner.version or 'none'} at the same time. Check"
            " `emotion history` and try again."
        )
    reconcile(name)


def reconcile(name: str) -> list[str]:
    """Update aliases and tags from the ledger, and record changes by other programs.

    Returns:
        Descriptions of what was done; empty if there was nothing to do.

    Raises:
        UserError: if the aliases, read back, still differ from the ledger.
    """
    notes: list[str] = []
    recorded = None
    for _ in range(MAX_ATTEMPTS):  # other processes may write at the same time
        applied, entries = applied_entries(name), read_entries(name)  # in this order: entries are written first
        remember_newest(name, entries)
        state, found = state_after(name, entries), get_aliases(name)
        if applied is None or applied > len(entries):
            notes.append(f"the tag {APPLIED_TAG} was damaged; tags and aliases were set again from the history")
            set_applied_entries(name, 0)
            continue
        if applied < len(entries):
            if entries[-1].id != recorded and entries[-1].action != "unsigned" and not notes and (applied or found):
                notes.append(f"an interrupted {entries[-1].action} of version {entries[-1].version} was completed")
            _apply(name, entries, applied, state, found)
        elif state.aliases() == {alias: found[alias] for alias in ALIASES if alias in found}:
            return notes
        elif (state.champion, state.challenger) != (found.get(CHAMPION), found.get(CHALLENGER)):
            time.sleep(RECONCILE_DELAY)
            if get_aliases(name) != found or len(read_entries(name)) != len(entries):
                continue  # another process is changing them
            if trusted_keys():
                _update_aliases(name, state, found)
                notes.append("the aliases did not follow from the signed history, and were set again")
                continue
            entry = Entry(
                action="external", version=found.get(CHAMPION), challenger=found.get(CHALLENGER),
                before=state.champion, by="unknown",
            )  # fmt: skip
            if write_entry(name, entries, entry):
                recorded = entry.id
                notes.append(
                    f"the aliases were changed by another program: the champion is now {entry.version or 'none'}."
                    " The change was recorded in the history"
                )
        else:
            _update_aliases(name, state, found)
            notes.append(f"the alias previous was reset to {state.previous or 'none'}")
    raise UserError(
        f"the aliases of {name} differ from its history, because another program keeps changing them. Stop it, and run"
        " `emotion history`."
    )


def restart_history(name: str) -> list[Entry]:
    """Begin a new history, if the earlier one was deleted permanently; return its entries.

    It begins from the current aliases; if the project has keys, which did not sign them, it begins without a champion,
    with a signed entry.

    Raises:
        UserError: if there is no such model, or its history exists, or the project has keys and this machine has none.
    """
    signer = load_signer()
    found = {} if signer else get_aliases(name)
    previous, champion = found.get(PREVIOUS), found.get(CHAMPION)
    reason = "the earlier history was deleted permanently"
    entries = [Entry(action="external", version=previous, reason=reason)] if previous else []
    entries.append(
        Entry(action="external", version=champion, challenger=found.get(CHALLENGER), before=previous, reason=reason)
    )
    replace_lost_ledger(name, entries, signer)
    newest_path(name).unlink(missing_ok=True)  # it names an entry of the earlier history
    reconcile(name)
    return entries


def _apply(name: str, entries: list[Entry], applied: int, state: AliasState, found: dict[str, str]) -> None:
    """Update tags and aliases for the entries that they do not reflect yet."""
    for entry in [entry for entry in entries[applied:] if entry.action != "unsigned"]:
        _tag_version(name, entry)
    _update_aliases(name, state, found)
    if (applied_entries(name) or 0) < len(entries):
        set_applied_entries(name, len(entries))


def _update_aliases(name: str, state: AliasState, found: dict[str, str]) -> None:
    """Update the champion last, so that a rollback is always possible."""
    wanted = state.aliases()
    for alias in reversed(ALIASES):
        if found.get(alias) != wanted.get(alias):
            set_alias(name, alias, wanted.get(alias))


def _tag_version(name: str, entry: Entry) -> None:
    if entry.version in list_versions(name) and entry.verdict:
        alias = CHALLENGER if entry.action == "challenge" else CHAMPION
        tags = gate_tags(alias, entry.verdict, entry.forced, entry.by, entry.reason, entry.run_id)
        tag_version(name, str(entry.version), tags)


def gate_tags(alias: str, outcome: str, forced: bool, by: str, reason: str, run_id: str) -> dict[str, str]:
    """The tags of a version that describe the latest decision about an alias."""
    return {
        f"gate.{alias}": describe_decision(outcome, forced, by, reason),
        f"gate.{alias}.run_id": run_id,
    }


def describe_decision(outcome: str, forced: bool, by: str, reason: str) -> str:
    """A decision in one line, such as `HELD, promoted by force, by Ada@lab: the test images were relabelled`."""
    return f"{outcome}{', promoted by force' if forced else ''}, by {by}{f': {reason}' if reason else ''}"
