"""Inspect, promote and serve the models that `dvc repro` trains."""

import contextlib
import gc
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from emotion.cli import comparison, data, inference, lineage, promotion, runs, search, signing, system
from emotion.runtime.errors import run_main

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_given: bool) -> None:
    if is_given:
        print(f"emotion {version('emotion')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept the options that come before a command."""


for command in (  # in the order in which people need them
    system.doctor,
    search.preset,
    lineage.summary,
    runs.ui,
    comparison.runs,
    search.trials,
    comparison.versions,
    comparison.compare,
    promotion.promote,
    promotion.rollback,
    promotion.history,
    lineage.trace,
    signing.verify,
    lineage.reproduce,
    inference.predict,
    inference.demo,
    inference.export,
    inference.space,
    runs.restore,
    runs.sync,
    runs.cleanup_runs,
    runs.clean,
):
    app.command()(command)
app.add_typer(data.data, name="data")
app.add_typer(signing.keys, name="keys")


def main() -> None:
    """Run the command that the arguments name.

    Loading MLflow creates many objects that stay alive. Collecting garbage among them takes half a second, and
    freeing them at the end another half: a short command does neither.
    """
    gc.disable()
    code: object = 0
    try:
        run_main("emotion", lambda exit_callbacks: app())
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    with contextlib.suppress(BrokenPipeError):  # `emotion history | head`
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
