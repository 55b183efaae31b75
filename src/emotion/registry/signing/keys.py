"""Keys: a private one of each person, outside the repository, and the public ones of the project, in `keys/`."""

import getpass
import os
import re
import stat
import sys
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from emotion.runtime.errors import UserError
from emotion.runtime.paths import project_root

KEY_VARIABLE, PASSPHRASE_VARIABLE = "EMOTION_SIGNING_KEY", "EMOTION_SIGNING_PASSPHRASE"
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
NAME = "[A-Za-z0-9._-]{1,60}"


def keys_folder() -> Path:
    """The folder of the project's public keys."""
    return project_root() / "keys"


def private_key_path() -> Path:
    """Where this user's private key is."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(os.environ.get(KEY_VARIABLE) or home / "emotion/signing-key.pem")


def trusted_keys() -> dict[str, Key]:
    """The project's public keys by name; empty if it does not sign.

    Raises:
        UserError: if a file is not an Ed25519 public key.
    """
    return {path.stem: _read_public_key(path) for path in sorted(keys_folder().glob("*.pem"))}


def withdrawn_keys() -> dict[str, Key]:
    """The public keys in keys/withdrawn/: what they signed does not count, but is told from damage."""
    return {path.stem: _read_public_key(path) for path in sorted((keys_folder() / "withdrawn").glob("*.pem"))}


def _read_public_key(path: Path) -> Key:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path} is not an Ed25519 public key. Restore it with `git checkout`, or remove it.")
    return SSlibKey.from_crypto(key)


def create_key(name: str, with_passphrase: bool = True) -> tuple[Path, Path]:
    """Create this user's private key, and write its public key to the project.

    Args:
        name: of the person, as the file name of the public key.
        with_passphrase: encrypt the private key with a passphrase, from EMOTION_SIGNING_PASSPHRASE or the terminal.

    Returns:
        The files of the private and of the public key.

    Raises:
        UserError: if one of the files exists, or there is no passphrase.
    """
    private, public = private_key_path(), keys_folder() / f"{name}.pem"
    if not re.fullmatch(NAME, name):
        raise UserError(f"the name of a key can have letters, digits, '.', '_' and '-', 1 to 60 of them, got {name!r}.")
    if private.resolve().is_relative_to(project_root().resolve()):
        raise UserError(f"{private} is inside the repository. Set {KEY_VARIABLE} to a path outside it.")
    if public.exists():
        raise UserError(f"{public} exists and is not replaced. Choose another name.")
    if private.exists():
        raise UserError(
            f"{private} exists and is not replaced. To use it in this project, write its public key with"
            f" `openssl pkey -in {private} -pubout -out {public}`; for another key, set {KEY_VARIABLE} to a new path."
        )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if with_passphrase:
        encryption = serialization.BestAvailableEncryption(_ask_new_passphrase())
    key = Ed25519PrivateKey.generate()
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(PEM, PKCS8, encryption))
    public.parent.mkdir(exist_ok=True)
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def _ask_new_passphrase() -> bytes:
    known = os.environ.get(PASSPHRASE_VARIABLE)
    if not known and sys.stdin.isatty():
        known = getpass.getpass("Passphrase for the new key: ")
        if known != getpass.getpass("Again: "):
            raise UserError("the passphrases differ. Try again.")
    if not known:
        raise UserError(f"a passphrase is needed. Set {PASSPHRASE_VARIABLE}, or use --no-passphrase.")
    return known.encode()


def load_signer(ask: bool = True) -> CryptoSigner | None:
    """This user's private key; None if the project has no keys.

    Args:
        ask: ask for the passphrase in a terminal.

    Raises:
        UserError: if the project has keys, and there is no private key that belongs to one of them.
    """
    trusted = trusted_keys()
    if not trusted:
        return None
    path = private_key_path()
    if not path.exists():
        raise UserError(
            f"this project signs its versions and its history (see {keys_folder().name}/), but there is no private key"
            f" at {path}. Set {KEY_VARIABLE} to its path, create one with `emotion keys create NAME`, or let a"
            " holder of a key run this command."
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(f"{path} can be read by others (mode {mode:o}). Run `chmod 600 {path}`.")
    signer = CryptoSigner(_read_private_key(path, ask))
    if signer.public_key.keyid not in {key.keyid for key in trusted.values()}:
        raise UserError(
            f"the public key of {path} is not in {keys_folder()}. Ask the project to add it, or set {KEY_VARIABLE}."
        )
    return signer


def _read_private_key(path: Path, ask: bool) -> Ed25519PrivateKey:
    content = path.read_bytes()
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if b"ENCRYPTED" in content and not passphrase:
        if not ask or not sys.stdin.isatty():
            raise UserError(f"{path} has a passphrase. Set {PASSPHRASE_VARIABLE}.")
        passphrase = getpass.getpass(f"Passphrase of {path}: ")
    is_encrypted = b"ENCRYPTED" in content
    try:
        key = serialization.load_pem_private_key(content, passphrase.encode() if passphrase and is_encrypted else None)
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "the passphrase is wrong" if is_encrypted else str(error).splitlines()[0].rstrip(".")
        fix = f"Correct {PASSPHRASE_VARIABLE}, or try again" if is_encrypted else f"Restore it, or set {KEY_VARIABLE}"
        raise UserError(f"{path} cannot be read: {reason}. {fix}.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path} is not an Ed25519 private key. Set {KEY_VARIABLE} to one.")
    return key
