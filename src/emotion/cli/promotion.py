"""`emotion promote`, `rollback` and `history`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from emotion.runtime.text import printable

EXIT_CODES = {"PROMOTED": 0, "UNCHANGED": 0, "HELD": 3, "REJECTED": 4}
NEXT_STEPS = {  # by the rule that failed, or by the outcome; the first that applies is printed
    "provenance": "If you trust this version, run `emotion keys sign {number}`, and promote it again.",
    "integrity": "The version is damaged or was changed, and --force does not change that. Restore its files from a"
    " backup, or train again with `dvc repro --force train`.",
    "training data": "Train on the current data with `dvc repro`, or promote it anyway with `--force --reason WHY`.",
    "integrity of the champion": "`emotion rollback` returns to the champion before; or restore the champion's files"
    " from a backup.",
    "HELD": "`emotion compare champion {number} --html FILE` shows the differences; `--force --reason WHY` promotes it"
    " anyway.",
    "REJECTED": "Train a better version, change register.gate in params.yaml, or promote it anyway with"
    " `--force --reason WHY`.",
}
CONFLICT = 5

VersionArgument = Annotated[
    str, typer.Argument(help="A version: its number, alias, DVC experiment, or the start of its run id.")
]
ReasonOption = Annotated[str, typer.Option(help="The reason, which is recorded in the history.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


class Alias(StrEnum):
    """The aliases that a version can be promoted to."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


@contextmanager
def _exit_on_conflict() -> Iterator[None]:
    from emotion.registry.promotion.reconcile import ConflictError

    try:
        yield
    except ConflictError as error:
        print(f"emotion: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(CONFLICT) from None


def promote(
    context: typer.Context,
    version: VersionArgument,
    to: Annotated[Alias, typer.Option(help="The alias to assign.")] = Alias.CHAMPION,
    reason: ReasonOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the decision without writing anything.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if threshold or comparison rules fail; needs --reason.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a registered version the champion, if it passes the gate.

    Exit codes: 0 promoted (or it already has the alias), 3 held (a comparison rule failed), 4 rejected (not good enough
    on its own), 5 conflict (another change was made first), 1 any other error.
    """
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.backup import version_warnings
    from emotion.registry.names import find_version
    from emotion.registry.promotion import promote as promotion
    from emotion.registry.versions import get_version
    from emotion.tracking.client import connection
    from emotion.tracking.runs import fail_open_runs

    params = load_params()
    name = params.register_.name
    connection().disable_offline_mode()
    context.call_on_close(fail_open_runs)
    number = find_version(name, version)
    with _exit_on_conflict():
        decision = promotion.promote(params, number, to.value, reason, force, dry_run)
    is_new = decision.outcome == "PROMOTED" and not dry_run
    if as_json:
        verdict = decision.verdict.model_dump() if decision.verdict else None
        facts = {"version": number, "alias": to.value, **asdict(decision), "verdict": verdict}
        if is_new:
            facts["warnings"] = version_warnings(get_version(name, number))
        print(json.dumps(facts, indent=2))
        raise typer.Exit(EXIT_CODES[decision.outcome])
    if decision.verdict is None:
        print(f"{name} version {number} is already the {to}.")
        return
    tables.show(tables.verdict_table(decision.verdict))
    for note in decision.verdict.notes:
        print(printable(note))
    forced = ", forced" if decision.forced else ""
    print(f"{name} version {number}: {decision.outcome}{forced}{' (dry run: nothing was changed)' if dry_run else ''}.")
    if is_new:
        before = f"it replaces version {decision.champion}" if decision.champion else "there was none before"
        print(f"It is now the {to}{f'; {before}' if to == Alias.CHAMPION else ''}.")
        _remind_to_commit(name)
        sys.stdout.flush()  # a remote may take its time
        for warning in version_warnings(get_version(name, number)):
            print(f"Warning: {printable(warning)}")
    if decision.outcome != "PROMOTED":
        failed = decision.verdict.failed
        print(f"Failed: {'; '.join(rule.name for rule in failed)}.")
        applying = {*(rule.name for rule in failed), *(rule.kind for rule in failed), decision.outcome}
        print(next(step for key, step in NEXT_STEPS.items() if key in applying).format(number=number))
    raise typer.Exit(EXIT_CODES[decision.outcome])


def rollback(reason: ReasonOption = "") -> None:
    """Make the previous champion the champion again; repeat to go further back."""
    from emotion.params.load import load_params
    from emotion.registry.promotion import promote as promotion
    from emotion.tracking.client import connection

    name = load_params().register_.name
    connection().disable_offline_mode()
    with _exit_on_conflict():
        entry = promotion.rollback(name, reason)
    replaced = f"it replaces version {entry.before}" if entry.before else "there was no champion"
    print(f"{name} version {entry.version} is the champion again; {replaced}.")
    _remind_to_commit(name)


def _remind_to_commit(name: str) -> None:
    """Name the file that remembers the newest signed entry of the history, if the project has keys."""
    from emotion.registry.promotion.chain import newest_path

    if newest_path(name).exists():
        print(f"Commit and push {newest_path(name)}, which remembers this decision.")


def history(
    as_json: JsonOption = False,
    show_all: Annotated[bool, typer.Option("--all", help="Also show the verdicts that changed nothing.")] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Begin again, if the history is lost: from the current aliases, or, with keys, without a champion.",
        ),
    ] = False,
) -> None:
    """Show every change of champion: when, why and by whom.

    --json also has the commit, the intended use, and the key that signed the entry.
    """
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.promotion.ledger import read_entries
    from emotion.registry.promotion.reconcile import current_state, reconcile, restart_history
    from emotion.registry.promotion.verdict_report import refusals
    from emotion.registry.versions import no_model_error
    from emotion.tracking.client import connection

    name = load_params().register_.name
    if not connection().has_store:
        raise no_model_error(name)
    connection().disable_offline_mode()
    if restart:
        restart_history(name)
    for note in reconcile(name):
        print(f"Note: {note}.", file=sys.stderr)
    entries = read_entries(name)
    if show_all:
        entries = sorted([*entries, *refusals()], key=lambda entry: entry.at)
    if as_json:
        print(json.dumps([entry.model_dump() for entry in entries], indent=2))
        return
    if entries:
        tables.show(tables.history_table(name, entries))
    else:
        print(f"No version of {name} was ever promoted. `emotion versions` lists the versions.")
    state = current_state(name)
    if state.champion is None:
        print("There is no champion.")
    if aliases := state.aliases():
        print(", ".join(f"{alias}: version {number}" for alias, number in aliases.items()))
