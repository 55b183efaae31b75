"""Keep the registry's aliases and tags consistent with the ledger.

The ledger is authoritative: each entry is written once, by one process. If a process dies before it updates the
aliases, the next command completes the change. Changes to the aliases by other programs are recorded.
"""

import time

from securesystemslib.signer import CryptoSigner

from emotion.registry.promotion.chain import newest_path
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
from emotion.registry.signing.keys import trusted_keys
from emotion.registry.versions import SAVED_MODEL_TAG, find_aliases, get_aliases, list_versions, set_alias, tag_version
from emotion.runtime.errors import UserError

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
    if found is None or not trusted_keys():
        return found or {}
    return current_state(name).aliases()


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
    if not write_entry(name, len(entries) + 1, entry, signer):
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
        state, found = state_after(name, entries), get_aliases(name)
        if applied is None or applied > len(entries):
            notes.append(f"the tag {APPLIED_TAG} was damaged; tags and aliases were set again from the history")
            set_applied_entries(name, 0)
            continue
        if applied < len(entries):
            if entries[-1] != recorded and not notes and (applied or found):
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
            if write_entry(name, len(entries) + 1, entry):
                recorded = entry
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

    It begins from the current aliases; if the project has keys, which did not sign them, it begins without a champion.

    Raises:
        UserError: if there is no such model, or its history exists.
    """
    found = {} if trusted_keys() else get_aliases(name)
    previous, champion = found.get(PREVIOUS), found.get(CHAMPION)
    reason = "the earlier history was deleted permanently"
    entries = [Entry(action="external", version=previous, reason=reason)] if previous else []
    if found:
        entries.append(
            Entry(action="external", version=champion, challenger=found.get(CHALLENGER), before=previous, reason=reason)
        )
    replace_lost_ledger(name, entries)
    newest_path(name).unlink(missing_ok=True)
    reconcile(name)
    return entries


def _apply(name: str, entries: list[Entry], applied: int, state: AliasState, found: dict[str, str]) -> None:
    """Update tags and aliases for the entries that they do not reflect yet."""
    for entry in entries[applied:]:
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
