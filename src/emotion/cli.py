"""The `emotion` command: what people do beside `dvc repro`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion.errors import UserError, exit_cleanly

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)


@app.command()
def promote(version: Annotated[str, typer.Argument(help="A version of the registered model, such as 3.")]) -> None:
    """Make a registered version the champion."""
    from emotion import params, registry

    name = params.load().register_.name
    previous = registry.promote(name, version)
    if previous == version:
        print(f"{name} version {version} was the champion already.")
    elif previous:
        print(f"{name} version {version} is the champion; it replaced version {previous}.")
    else:
        print(f"{name} version {version} is the champion; there was none before.")


@app.command()
def trials(
    search: Annotated[str | None, typer.Option(help="The search's run; the newest, if not given.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column to sort by, in place of the score.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All columns, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All columns, as CSV.")] = False,
) -> None:
    """List the trials of a search, the best first."""
    from emotion import comparison

    run = comparison.find(search)[0] if search else comparison.newest_search()
    table = comparison.trials(run, sort)[:top]
    if as_json:
        print(table.to_json(orient="records", indent=2))
    elif as_csv:
        print(table.to_csv(index=False), end="")
    else:
        shown = [name for name in table if name not in comparison.DETAILS or name in (sort, *comparison.searched(run))]
        _print(table[shown], f"Search {run.id}, by {sort or run.params.get('tune.objective')}")


@app.command()
def compare(runs: Annotated[list[str], typer.Argument(help="Ids, beginnings of ids, or names as trial-003.")]) -> None:
    """Set runs against the first of them: parameters that differ, metrics, and whether it is chance."""
    from emotion import comparison

    result = comparison.compare(comparison.find(*runs))
    _print(result.params.reset_index(names="parameter"), "Parameters that differ")
    differences = result.metrics.iloc[:, 1:].sub(result.metrics.iloc[:, 0], axis=0)
    both = result.metrics.join(differences.add_prefix("difference of "))
    _print(both.reset_index(names="metric"), "Metrics")
    if result.paired.empty:
        print("No two of them have answers to the same validation images.")
    else:
        _print(result.paired, "On the same validation images, against the first (McNemar's exact test)")


def _print(table: Any, title: str) -> None:
    """A table, as wide as the terminal; whole where there is none."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 250)
    shown = Table(*map(str, table.columns), title=title, title_justify="left")
    for row in table.itertuples(index=False):
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


@app.command()
def preset(name: Annotated[str, typer.Argument(help="quick, standard or record.")]) -> None:
    """Print a preset's parameters as options of `dvc exp run`."""
    from emotion import params

    try:
        print(" ".join(f"-S {key}={value}" for key, value in params.preset(name).items()))
    except UserError:
        # In `dvc exp run $(emotion preset NAME)` the shell goes on after a failure: with no
        # options DVC would train something else, so that it gets one that it refuses.
        print(f"--no-preset-is-named={name}")
        raise


@app.command()
def restore() -> None:
    """Fill MLflow from the pipeline's files, for what is not there yet.

    After `dvc pull`, or with a new tracking store: the runs of fetch, preprocess, tune, train
    and evaluate are logged again, marked as restored, and the model is registered again.
    """
    from emotion import params, records, registry, restoring, tracking

    settings = params.load()
    with tracking.explained():
        for stage in records.RUN_FILES:
            print(f"{stage}: run {restoring.restore(stage)}")
    registered = registry.register_trained(settings)
    print(f"register: {registered['name']} version {registered['version']}")


@app.command()
def ui(port: Annotated[int, typer.Option(help="The port to listen on.")] = 5000) -> None:
    """Browse runs and models in MLflow's UI."""
    from emotion import tracking

    store = tracking.store_uri()
    if store.startswith("http"):
        raise UserError(f"the runs are on a server: open {tracking.without_password(store)} in a browser.")
    tracking.connect()  # creates an empty store, whose first use must not be a race of workers
    # MLflow's front page is about language models; connecting told it which experiment is ours.
    runs = f"experiments/{os.environ['MLFLOW_EXPERIMENT_ID']}/runs?workflowType=machine_learning"
    print(f"Open http://127.0.0.1:{port}/#/{runs}", flush=True)
    # One worker and no job runner: a project's store has one reader and little memory to spare.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    program = str(Path(sys.executable).with_name("mlflow"))
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store  # not an argument, for all to see: it may hold a password
    os.execv(program, [program, "server", "--workers", "1", "--port", str(port)])


def main() -> None:
    """The entry point."""
    exit_cleanly("emotion", app)


if __name__ == "__main__":
    main()
