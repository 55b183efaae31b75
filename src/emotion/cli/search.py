"""`emotion trials` and `preset`."""

from typing import Annotated

import typer

from emotion.runtime.errors import UserError

# Columns that the table of trials shows only on request.
DETAILS = {
    "accuracy",
    "duration",
    "epoch",
    "parameters",
    "run_id",
    "learning_rate",
    "loss",
    "score_spread",
    "training_seconds",
    "val_accuracy",
    "val_loss",
}


def trials(
    search: Annotated[str | None, typer.Option(help="The start of a search's run id. Default: the newest.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column to sort by instead of the score.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the first N trials.", metavar="N")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the search while it runs; Ctrl-C stops.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all columns as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
) -> None:
    """List the trials of a search, the best first."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.listing import ID_LENGTH
    from emotion.registry.names import find_runs
    from emotion.tracking import searches

    name = load_params().register_.name
    run = find_runs(name, search)[0] if search else searches.newest_search()
    if run is None:
        raise UserError("there is no search in MLflow yet. Run `dvc repro tune`.")
    if not searches.is_search(run):
        raise UserError(f"{search} is not a search. Give the start of the run id of a search; MLflow lists them.")
    if watch:
        tables.watch(lambda: tables.progress_table(searches.search_progress(run.id)))
        return
    table = searches.trials_table(run, sort)[:top]
    if as_json:
        print(table.to_json(orient="records", indent=2))
    elif as_csv:
        print(table.to_csv(index=False), end="")
    else:
        wanted = (sort, *searches.searched_params(run))
        table["id"] = table["run_id"].str[:ID_LENGTH]
        columns = [name for name in table if name not in DETAILS or name in wanted]
        tables.show_frame(table[columns], f"Search {run.id}, sorted by {sort or 'score'}")


def preset(name: Annotated[str, typer.Argument(help="The preset: quick, standard or record.")]) -> None:
    """Print a preset's parameters as options of `dvc exp run`."""
    from emotion.params.load import load_preset

    try:
        print(" ".join(f"-S {key}={value}" for key, value in load_preset(name).items()))
    except UserError:
        # In `dvc exp run $(emotion preset NAME)` the shell continues after an error. Without options, DVC would
        # train something else; this option makes it fail.
        print(f"--no-such-preset={name}")
        raise
