"""The `emotion` command: what people do beside `dvc repro`."""

import contextlib
import gc
import json
import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emotion.runtime.errors import UserError, exit_cleanly

# By what came of a promotion.
EXIT_CODES = {"PROMOTED": 0, "HELD": 3, "REJECTED": 4}
OVERTAKEN = 5
DIFFERENT = 3  # a reproduction

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)


class Place(StrEnum):
    """What a version can be promoted to."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class Format(StrEnum):
    """What `export` writes."""

    LITERT = "litert"
    INT8 = "int8"
    ONNX = "onnx"


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A version of the registered model, such as 3.")],
    to: Annotated[Place, typer.Option(help="What it becomes.")] = Place.CHAMPION,
    reason: Annotated[str, typer.Option(help="Why; kept for good.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="In spite of bounds that are not met; needs a reason.")
    ] = False,
) -> None:
    """Make a registered version the champion, if the gate lets it.

    Exit codes: 0 promoted, 3 held (sound, but worse than the champion), 4 rejected (by itself),
    5 overtaken by another change at the same moment, 1 anything else.
    """
    from emotion import params
    from emotion.cli import tables
    from emotion.registry.promotion import promote as promotion
    from emotion.tracking import client as store

    settings = params.load()
    name = settings.register_.name
    store.without_journal()
    try:
        decision = promotion.promote(settings, version, to.value, reason, force, dry_run)
    except promotion.OvertakenError as error:
        print(f"emotion: {error}", file=sys.stderr)
        raise typer.Exit(OVERTAKEN) from None
    if decision.verdict is None:
        print(f"{name} version {version} is the {to} already.")
        return
    tables.show(tables.verdict(decision.verdict))
    forced = ", forced" if decision.forced else ""
    print(
        f"{name} version {version}: {decision.outcome}{forced}{' (dry run: nothing was changed)' if dry_run else ''}."
    )
    if decision.outcome == "PROMOTED" and not dry_run:
        before = f"it replaced version {decision.champion}" if decision.champion else "there was none before"
        print(f"It is the {to}{f'; {before}' if to == Place.CHAMPION else ''}.")
    raise typer.Exit(EXIT_CODES[decision.outcome])


@app.command()
def rollback(reason: Annotated[str, typer.Option(help="Why; kept for good.")] = "") -> None:
    """Return to the champion before this one; again, one step further back."""
    from emotion import params
    from emotion.registry.promotion import promote as promotion
    from emotion.tracking import client as store

    name = params.load().register_.name
    store.without_journal()
    try:
        entry = promotion.rollback(name, reason)
    except promotion.OvertakenError as error:
        print(f"emotion: {error}", file=sys.stderr)
        raise typer.Exit(OVERTAKEN) from None
    print(f"{name} version {entry.version} is the champion again, in place of version {entry.before}.")


@app.command()
def history(as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False) -> None:
    """Show who was champion when, why, by whom, and from which commit."""
    from emotion import params
    from emotion.cli import tables
    from emotion.registry.promotion import promote as promotion
    from emotion.tracking import client as store

    name = params.load().register_.name
    store.without_journal()
    for line in promotion.settle(name):
        print(f"Note: {line}.", file=sys.stderr)
    entries = promotion.read(name)
    if as_json:
        print(json.dumps([entry.model_dump() for entry in entries], indent=2))
        return
    tables.show(tables.history(name, entries))
    now = promotion.current(name)
    if now.champion is None:
        print("There is no champion.")
    print(", ".join(f"{alias}: version {number}" for alias, number in now.aliases().items()))


@app.command()
def trace(
    version: Annotated[str, typer.Argument(help="A version of the registered model, such as 3.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Show where a version comes from: code, data, search, training, parameters, decisions."""
    from emotion import params
    from emotion.cli import tables
    from emotion.registry import lineage

    found = lineage.trace(params.load().register_.name, version)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        tables.show(tables.trace(found))


@app.command()
def reproduce(version: Annotated[str, typer.Argument(help="A version of the registered model, such as 3.")]) -> None:
    """Train a version again, from its commit, patch and data, and compare the metrics.

    Everything happens in a temporary folder. Exit codes: 0 the same metrics, 3 others.
    """
    from emotion import params
    from emotion.cli import tables
    from emotion.registry import reproduce as reproduction

    result = reproduction.reproduce(params.load().register_.name, version)
    if not result.is_the_same:
        tables.show(tables.reproduction(result))
    for library, (then, now) in result.libraries.items():
        print(f"{library} was {then} and is {now} here.")
    metric, difference = result.largest
    print(f"The data came from {result.data_from}.")
    if not result.is_the_same:
        print(f"Not the same: {metric} differs most, by {difference:.6f}.")
        raise typer.Exit(DIFFERENT)
    print(f"The same: all {len(result.metrics)} metrics are those on record.")


@app.command()
def doctor() -> None:
    """Check what is needed to work here, and say how to mend what is not there.

    Exit code 1 where something is ill.
    """
    from emotion.cli import tables
    from emotion.cli.doctor import examine

    findings = list(examine())
    tables.show(tables.findings(findings))
    if any(finding.state == "ill" for finding in findings):
        raise typer.Exit(1)


@app.command()
def trials(
    search: Annotated[str | None, typer.Option(help="The search's run; the newest, if not given.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column to sort by, in place of the score.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All columns, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All columns, as CSV.")] = False,
) -> None:
    """List the trials of a search, the best first."""
    from emotion.cli import tables
    from emotion.tracking import compare as comparison

    run = comparison.find(search)[0] if search else comparison.newest_search()
    table = comparison.trials(run, sort)[:top]
    if as_json:
        print(table.to_json(orient="records", indent=2))
    elif as_csv:
        print(table.to_csv(index=False), end="")
    else:
        shown = [name for name in table if name not in comparison.DETAILS or name in (sort, *comparison.searched(run))]
        tables.show_frame(table[shown], f"Search {run.id}, by {sort or run.params.get('tune.objective')}")


@app.command()
def compare(runs: Annotated[list[str], typer.Argument(help="Ids, beginnings of ids, or names as trial-003.")]) -> None:
    """Set runs against the first of them: parameters that differ, metrics, and whether it is chance."""
    from emotion.cli import tables
    from emotion.tracking import compare as comparison

    result = comparison.compare(comparison.find(*runs))
    tables.show_frame(result.params.reset_index(names="parameter"), "Parameters that differ")
    differences = result.metrics.iloc[:, 1:].sub(result.metrics.iloc[:, 0], axis=0)
    both = result.metrics.join(differences.add_prefix("difference of "))
    tables.show_frame(both.reset_index(names="metric"), "Metrics")
    if result.paired.empty:
        print("No two of them have answers to the same validation images.")
    else:
        tables.show_frame(result.paired, "On the same validation images, against the first (McNemar's exact test)")


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
    from emotion import params
    from emotion.registry import registration
    from emotion.tracking import client as store
    from emotion.tracking import restore as restoring
    from emotion.tracking import stage_runs as records

    settings = params.load()
    store.without_journal()
    with store.explained():
        for stage in records.RUN_FILES:
            print(f"{stage}: run {restoring.restore(stage)}")
    with tempfile.TemporaryDirectory() as folder:  # the pipeline's own card is an output of DVC, and stays
        registered = registration.register_trained(settings, Path(folder) / "model_card")
    print(f"register: {registered['name']} version {registered['version']}")


@app.command()
def sync(
    drop_first: Annotated[
        bool, typer.Option("--drop-first", help="Give up what is next: it cannot be delivered.")
    ] = False,
) -> None:
    """Deliver to MLflow what waits because the server did not answer."""
    from emotion.tracking import client as store
    from emotion.tracking import operations as delivery

    if drop_first and (dropped := store.waiting().drop_first()):
        print(f"Dropped: {dropped['kind']} of run {dropped['run_id']}.")
    print(f"{delivery.sync()} operations were delivered; {len(store.waiting())} wait.")


@app.command()
def reap() -> None:
    """Mark runs as KILLED that are RUNNING by processes that are gone."""
    from emotion.tracking import client as store
    from emotion.tracking import runs as tracking

    store.without_journal()
    gone, left = tracking.reap()
    for run in gone:
        print(f"{run.name} {run.id}: KILLED")
    for run in left:
        print(f"{run.name} {run.id}: left alone, by {run.tags.get(tracking.PROCESS, 'an unknown process')}")
    print(f"{len(gone)} runs were marked KILLED, {len(left)} left alone.")


@app.command()
def predict(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, patterns, videos; - for standard input.")],
    model: Annotated[
        str | None, typer.Option(help="models:/NAME/VERSION, a SavedModel's folder, a LiteRT file; not the champion.")
    ] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Each picture is a face already.")] = False,
    unsure_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="The confidence below which to say so; not the model's own.")
    ] = None,
    every: Annotated[float, typer.Option(min=0, help="Seconds between the frames of a video.")] = 1.0,
    annotate: Annotated[Path | None, typer.Option(help="A folder for the pictures with boxes and scores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores, as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All scores, as CSV.")] = False,
) -> None:
    """Find faces in pictures and name their emotions, by the champion.

    Exit codes: 0 all were read, 1 something could not be; the rest is answered all the same.
    """
    from rich import progress
    from rich.console import Console

    from emotion.cli import tables
    from emotion.serving import batch as answers
    from emotion.serving import inputs
    from emotion.serving.predictor import Predictor

    names = inputs.files(paths)
    predictor = Predictor.from_address(model, unsure_below)
    gc.enable()  # there may be many pictures
    shown = progress.track(names, "Reading", console=Console(stderr=True), disable=not sys.stderr.isatty())
    found = list(answers.of(predictor, inputs.read(shown, every), crop, annotate))
    if as_json:
        print(json.dumps([answer.as_json() for answer in found], indent=2))
    elif as_csv:
        print(answers.table(found).to_csv(index=False), end="")
    else:
        tables.show(tables.answers(found))
    bad = [answer for answer in found if answer.error]
    for answer in bad:
        print(f"emotion: {answer.name}: {answer.error}", file=sys.stderr)
    if bad:
        raise typer.Exit(1)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    to_format: Annotated[Format, typer.Option("--format", help="int8 is LiteRT with 8-bit numbers.")],
    model: Annotated[
        str | None, typer.Option(help="models:/NAME/VERSION or a SavedModel's folder; not the champion.")
    ] = None,
) -> None:
    """Write the champion for another runtime, and show that it answers as before.

    What is measured needs data/faces: parity, accuracy and speed on validation images.
    """
    from emotion.cli import tables
    from emotion.data.dataset import open_faces
    from emotion.inference import convert as exporting
    from emotion.serving import model_source as served

    faces = open_faces()
    with served.brought(model) as it:
        it.check()
        parity = exporting.export(it.model, to_format.value, target, faces)
        tables.show(tables.parity(it.title, target, parity))


@app.command()
def demo(
    model: Annotated[
        str | None, typer.Option(help="models:/NAME/VERSION or a SavedModel's folder; not the champion.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 7860,
    unsure_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="The confidence below which to say so; not the model's own.")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Open a public address through Gradio's servers.")] = False,
) -> None:
    """Show the champion at work, in a browser; a new champion takes over by itself."""
    import threading

    from emotion import params
    from emotion.registry import versions as registry
    from emotion.serving.hot_reload import Fixed, Followed, load

    name = params.load().register_.name
    models: Fixed | Followed = (
        Fixed(load(model, unsure_below))
        if model
        else Followed(name, lambda: registry.aliases(name), lambda address: load(address, unsure_below))
    )
    from emotion.serving.demo.app import launched

    gc.enable()  # this may last for months
    with launched(models, host, port, share) as address:
        print(f"Open {address}; Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@app.command()
def space(
    folder: Annotated[Path, typer.Argument(help="To write; it must not be there yet.")],
    model: Annotated[str | None, typer.Option(help="models:/NAME/VERSION; not the champion.")] = None,
) -> None:
    """Write a folder that a Hugging Face Space, or any machine, runs the demo from."""
    from emotion.serving import model_source as served
    from emotion.serving.demo.space import write

    with served.brought(model) as it:
        write(it, folder)
        print(
            f"{folder} shows {it.title}. `hf upload --repo-type space USER/NAME {folder} .` publishes it, once you have"
            " signed in with `hf auth login`."
        )


@app.command()
def ui(port: Annotated[int, typer.Option(help="The port to listen on.")] = 5000) -> None:
    """Browse runs and models in MLflow's UI."""
    from emotion.tracking import client as store

    uri = store.store_uri()
    if uri.startswith("http"):
        raise UserError(f"the runs are on a server: open {store.without_password(uri)} in a browser.")
    store.connect()  # creates an empty store, whose first use must not be a race of workers
    # MLflow's front page is about language models; connecting told it which experiment is ours.
    runs = f"experiments/{os.environ['MLFLOW_EXPERIMENT_ID']}/runs?workflowType=machine_learning"
    print(f"Open http://127.0.0.1:{port}/#/{runs}", flush=True)
    # One worker and no job runner: a project's store has one reader and little memory to spare.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    program = str(Path(sys.executable).with_name("mlflow"))
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not an argument, for all to see: it may hold a password
    os.execv(program, [program, "server", "--workers", "1", "--port", str(port)])


def main() -> None:
    """The entry point.

    Loading MLflow makes many objects that all stay. To look for garbage among them meanwhile takes
    half a second, to take them apart at the end another half: a command does neither, unless it lasts.
    """
    gc.disable()
    code: object = 0
    try:
        exit_cleanly("emotion", app)
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
