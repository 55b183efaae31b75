"""The entries of a ledger as stored texts: each names the digest of the one before, and is signed if there are keys."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import Field, ValidationError
from securesystemslib.signer import CryptoSigner, Key

from emotion.params.validation import Section
from emotion.registry.promotion.history import Entry
from emotion.registry.signing.envelope import ENTRY, SignatureError, is_envelope, sign, verify
from emotion.registry.signing.keys import keys_folder, withdrawn_keys
from emotion.runtime.errors import UserError
from emotion.runtime.files import bytes_digest, read_json, write_json
from emotion.tracking.client import connection

ADVICE = "Somebody without a key changed the registry: restore it from a backup."

UNSIGNED = Entry(action="unsigned", version=None, reason="not signed by a key in keys/", by="", at="", id="")


class Newest(Section):
    """The newest entry that this project has seen, so that it notices if the registry goes back to an older state."""

    entries: int = Field(ge=1)
    sha256: str


def newest_path(name: str) -> Path:
    """Where the newest entry of a model's history is remembered: a file to commit, like the keys."""
    return keys_folder() / f"{name}.history.json"


def entry_key(number: int) -> str:
    """The name of an entry in the ledger, from 1."""
    return f"{number:05d}"


def entry_text(name: str, entry: Entry, before: str, signer: CryptoSigner | None) -> str:
    """What is stored of an entry.

    Args:
        name: the name of the registered model.
        entry: the entry.
        before: the text of the entry before; empty if it is the first.
        signer: the private key, if the project has keys.
    """
    linked = entry.model_copy(update={"model": name, "previous": bytes_digest(before.encode()) if before else ""})
    return sign(linked.model_dump(), ENTRY, signer) if signer else linked.model_dump_json()


def parse_entries(name: str, texts: Mapping[str, str], trusted: Mapping[str, Key]) -> list[Entry]:
    """The entries of a ledger, in order.

    With keys, an entry has the action `unsigned`, and changes nothing, if it is from before the first signed entry, or
    if a key signed it that was withdrawn. Each signed entry names the digest of the one before it.

    Args:
        name: the name of the registered model.
        texts: the stored entries by name.
        trusted: the keys that may sign entries, by name; empty to accept unsigned ones.

    Raises:
        SignatureError: if a signed entry does not follow from the one before, or is about another model, or the newest
            entry that is remembered is missing.
        UserError: if an entry was not written by this program.
    """
    stored = [texts[key] for key in sorted(texts)]
    if not trusted:
        return [_parse(name, number, text) for number, text in enumerate(stored, start=1)]
    if set(texts) != {entry_key(number) for number in range(1, len(stored) + 1)}:
        raise SignatureError(f"entries of the history of {name} are missing, or were added. {ADVICE}")
    entries: list[Entry] = []
    for number, (before, text) in enumerate(pairwise(["", *stored]), start=1):
        if not is_envelope(text) and all(entry.action == "unsigned" for entry in entries):
            entries.append(_unsigned(text, text))
        else:
            entries.append(_verified(name, number, text, before, trusted))
    _check_newest(name, stored)
    return entries


def _parse(name: str, number: int, text: str) -> Entry:
    try:
        if is_envelope(text):
            raise SignatureError(
                f"the history of {name} is signed, but {keys_folder()} has no keys. Restore them with `git checkout`."
            )
        return Entry.model_validate_json(text).model_copy(update={"signed_by": "", "stored": text})
    except ValidationError:
        raise UserError(
            f"entry {entry_key(number)} of the history of {name} cannot be read. It was written by a newer release, or"
            " damaged: update this program, or restore the registry from a backup."
        ) from None


def _verified(name: str, number: int, text: str, before: str, trusted: Mapping[str, Key]) -> Entry:
    what = f"entry {number} of the history of {name}"
    withdrawn = withdrawn_keys()
    document, signer = verify(text, ENTRY, {**withdrawn, **trusted}, what)
    try:
        entry = Entry.model_validate(document)
    except ValidationError:
        raise UserError(f"{what} was written by a newer release. Update this program.") from None
    if entry.model != name:
        raise SignatureError(f"{what} belongs to the model {entry.model}. {ADVICE}")
    if entry.previous != (bytes_digest(before.encode()) if before else ""):
        raise SignatureError(f"{what} does not follow from the one before. {ADVICE}")
    if signer not in trusted:
        return _unsigned(entry.model_dump_json(), text)
    return entry.model_copy(update={"signed_by": signer, "stored": text})


def _unsigned(claim: str, text: str) -> Entry:
    """An entry that changes nothing, with what it claims."""
    try:
        claimed = Entry.model_validate_json(claim)
    except ValidationError:
        claimed = Entry(action="unsigned", version=None, by="", at="")
    reason = f"{claimed.action}: {claimed.reason}"
    return claimed.model_copy(update={"action": "unsigned", "reason": reason, "stored": text, "signed_by": ""})


def _check_newest(name: str, stored: list[str]) -> None:
    path = newest_path(name)
    if not path.exists():
        return
    newest = Newest.model_validate(read_json(path, "Restore it with `git checkout`.", Newest))
    if newest.entries > len(stored) or bytes_digest(stored[newest.entries - 1].encode()) != newest.sha256:
        raise SignatureError(
            f"the history of {name} has {len(stored)} entries, but {path} remembers entry {newest.entries}"
            f" ({newest.sha256[:8]}): the registry was set back to an older state, or this is another registry. Check"
            f" MLFLOW_TRACKING_URI, and restore the registry from a backup; if it is a new registry, delete {path}."
        )


def remember_newest(name: str, entries: Sequence[Entry]) -> None:
    """Remember the newest of some verified entries, if any is signed, and unless a later one is remembered."""
    if not any(entry.signed_by for entry in entries):
        return
    path = newest_path(name)
    with connection().restore_lock:
        known = read_json(path, "Restore it with `git checkout`.", Newest)["entries"] if path.exists() else 0
        if len(entries) > known:
            newest = Newest(entries=len(entries), sha256=bytes_digest(entries[-1].stored.encode()))
            write_json(path, newest.model_dump())
