"""`emotion doctor`."""

import typer


def doctor() -> None:
    """Check that this machine has what the pipeline needs, and suggest fixes.

    Exit code 1 if any check fails.
    """
    from emotion.cli import tables
    from emotion.cli.doctor import run_checks

    findings = list(run_checks())
    tables.show(tables.findings_table(findings))
    if any(finding.state == "error" for finding in findings):
        raise typer.Exit(1)
