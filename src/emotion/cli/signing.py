"""`emotion keys` and `verify`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from emotion.cli.promotion import JsonOption, VersionArgument
from emotion.runtime.text import printable

keys = typer.Typer(no_args_is_help=True, help="Create and list keys, and sign versions.")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Your name, as the name of the public key's file in keys/.")],
    no_passphrase: Annotated[
        bool,
        typer.Option("--no-passphrase", help="Do not encrypt the private key, for unattended machines such as CI."),
    ] = False,
) -> None:
    """Create your private key outside the repository, and its public key in keys/. Commit the public key.

    From the first key on, only versions and promotions that a key signed count: until you sign a version and promote
    it again, there is no champion.
    """
    from emotion.registry.signing.keys import create_key, trusted_keys

    is_first = not trusted_keys()
    private, public = create_key(name, not no_passphrase)
    print(f"Private key: {private}, which only you can read. Public key: {public}. Commit the public key.")
    if is_first:
        print(
            "From now on, only signed versions and promotions count. There is no champion until you sign a version with"
            " `emotion keys sign VERSION` and promote it; until then, the reference model answers."
        )


@keys.command(name="list")
def list_keys() -> None:
    """List the public keys of the project."""
    from emotion.registry.signing.keys import keys_folder, trusted_keys

    found = trusted_keys()
    for name, key in found.items():
        print(f"{name}  {key.keyid[:16]}")
    if not found:
        print(f"No keys in {keys_folder()}: versions are not signed. `emotion keys create NAME` creates one.")


@keys.command()
def sign(
    version: VersionArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Sign a version that was registered without a key, after showing where MLflow says that it comes from.

    Its files must be as registered, and its model the one that was promoted, if it was.
    """
    from emotion.params.load import load_params
    from emotion.registry.names import find_version
    from emotion.registry.signing.existing import sign_existing
    from emotion.registry.versions import get_version
    from emotion.runtime.errors import UserError
    from emotion.tracking.client import connection

    name = load_params().register_.name
    connection().disable_offline_mode()
    number = find_version(name, version)
    found = get_version(name, number)
    tags = {**found.tags, "test.accuracy": found.test_accuracy or "none"}
    for key in ("registered_by", "git.commit", "git.dirty", "data", "test.accuracy", "saved_model.sha256"):
        print(f"  {key:<20} {printable(tags.get(key, 'none'))}")
    if not (yes or (sys.stdin.isatty() and typer.confirm(f"Sign {name} version {number}?"))):
        raise UserError("nothing was signed. If this is the version that you trust, use --yes.")
    statement = sign_existing(name, number)
    print(
        f"Signed {name} version {number}: {len(statement.files)} files, commit {statement.source('git')[:8] or 'none'}."
    )


def verify(
    version: VersionArgument,
    offline: Annotated[
        Path | None,
        typer.Option(
            help="Verify only this file, source/provenance.json of the run, without a server. VERSION is its number."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify who signed a version, that nothing has changed since, and what it states about its origin."""
    from emotion.params.load import load_params
    from emotion.registry.signing.keys import trusted_keys
    from emotion.registry.signing.provenance import read_statement
    from emotion.runtime.errors import UserError

    name, trusted = load_params().register_.name, trusted_keys()
    if not trusted:
        raise UserError("this project lists no keys in keys/, so nothing is signed. See `emotion keys create --help`.")
    if offline:
        statement, signer = read_statement(offline.read_text(errors="replace"), trusted, str(offline))
        about = statement.facts
        if (about.model, about.version) != (name, version):
            raise UserError(
                f"{offline} is about {about.model} version {about.version}, not {name} version {version}. Give the"
                " number of the version that the file is about."
            )
    else:
        from emotion.registry.names import find_version
        from emotion.registry.signing.existing import verify_existing

        statement, signer = verify_existing(name, find_version(name, version), trusted)
    if as_json:
        print(json.dumps({"signed_by": signer, **statement.model_dump(by_alias=True, mode="json")}, indent=2))
        return
    facts = {
        "signed by": f"{signer} ({trusted[signer].keyid[:16]})",
        "files": f"{len(statement.files)}{', not compared' if offline else ', as signed'}",
        "run": statement.run_id,
        "machine": statement.predicate.run_details.builder.id,
        **{source.name: ", ".join(source.digest.values())
           for source in statement.predicate.build_definition.resolved_dependencies},
        **{key: statement.facts.tags.get(key, "") for key in ("test.accuracy", "use.area", "use.purpose")},
    }  # fmt: skip
    print(f"{statement.facts.model} version {statement.facts.version}: verified")
    for title, value in facts.items():
        print(f"  {title:<14} {value}")
