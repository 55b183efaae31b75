"""`emotion doctor`."""

import json
from dataclasses import asdict

import typer

from emotion.cli.promotion import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Check that this machine has what the pipeline needs, and suggest fixes.

    Exit code 1 if any check fails.
    """
    from emotion.cli import tables
    from emotion.cli.doctor import run_checks

    findings = list(run_checks())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        tables.show(tables.findings_table(findings))
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(1)
