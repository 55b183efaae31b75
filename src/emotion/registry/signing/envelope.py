"""Sign JSON documents and verify them: DSSE envelopes (Dead Simple Signing Envelope) with Ed25519 signatures."""

import json
from collections.abc import Mapping
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, Key

from emotion.runtime.errors import UserError

STATEMENT = "application/vnd.in-toto+json"  # payload types, which are signed, too
ENTRY = "application/vnd.emotion.history-entry+json"
ANSWERS = "application/vnd.emotion.answers+json"


class SignatureError(UserError):
    """A document is not signed by a key that the project trusts."""


def is_envelope(text: str) -> bool:
    """Whether a text claims to be a signed document."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "payloadType" in content


def sign(document: Mapping[str, Any], kind: str, signer: CryptoSigner) -> str:
    """Sign a document; return the envelope as JSON.

    Args:
        document: what to sign.
        kind: its payload type.
        signer: the private key.
    """
    envelope = Envelope(json.dumps(document, sort_keys=True, ensure_ascii=False).encode(), kind, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict())


def verify(text: str, kind: str, trusted: Mapping[str, Key], what: str) -> tuple[dict[str, Any], str]:
    """Verify an envelope; return the document, and the name of the key that signed it.

    Args:
        text: the envelope.
        kind: the payload type that is expected.
        trusted: the keys that may sign, by name.
        what: the document, for messages.

    Raises:
        SignatureError: if none of the keys signed it, or it is of another kind, or damaged.
    """
    try:
        envelope = Envelope.from_dict(json.loads(text))
        accepted = envelope.verify(list(trusted.values()), 1)
        document = json.loads(envelope.payload)
    except Exception as error:
        raise SignatureError(
            f"{what} is not signed by a key in keys/. If its signer is new, run `git pull` to get the public key;"
            " otherwise it was changed: restore it from a backup."
        ) from error
    if envelope.payload_type != kind or not isinstance(document, dict):
        raise SignatureError(
            f"{what} has a signature of another kind of document: {envelope.payload_type[:80]}. Restore it"
            " from a backup."
        )
    return document, next(name for name, key in trusted.items() if key.keyid in accepted)
