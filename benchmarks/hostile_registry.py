"""Attack a registry whose versions and history are signed, and see what the product loads and calls the champion.

    python benchmarks/hostile_registry.py [--attacks 10000] [--seed 0]

The adversary may change the database and the artifacts, has seen every earlier state of both, and has a key of their
own, but none of the project's. Each attack is a random combination of changes: of files, digests, tags, signed
statements, aliases, and entries of the history, which are changed, reordered, dropped, replayed from an older state,
or swapped between versions and models. After each, the program asks for the champion and loads it, as `emotion
predict` does, and sometimes repairs the aliases first, as `emotion history` does.

An attack succeeds if a model is loaded that no holder of a key promoted, or another version than theirs is called
the champion.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import typer
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.progress import track
from securesystemslib.signer import CryptoSigner

from emotion.registry.promotion.history import Entry
from emotion.registry.promotion.ledger import ledger_run, read_entries
from emotion.registry.promotion.reconcile import append_entry, reconcile, trusted_aliases
from emotion.registry.signature import saved_model_of
from emotion.registry.signing.envelope import ENTRY, STATEMENT, sign
from emotion.registry.signing.keys import PASSPHRASE_VARIABLE, create_key, load_signer
from emotion.registry.signing.provenance import PROVENANCE
from emotion.registry.signing.versions import Training, sign_version
from emotion.registry.versions import FILES, FILES_TAG, SAVED_MODEL_TAG, downloaded_digests, files_digest, tag_version
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_digest
from emotion.serving.model_source import champion_uri, open_model
from emotion.tracking.client import connection, reset_connection
from emotion.tracking.runs import start_run

ROOT = Path(__file__).parents[1]
MODEL, OTHER_MODEL = "facial-emotion", "another-model"
PROMOTED = ("1", "2", "3")  # then a rollback to 2; versions 4 and 5 are signed or not, and were never promoted
CHAMPION = "2"
SIGNED = ("1", "2", "3", "4")
MAX_CHANGES = 4  # in one attack


@dataclass
class Registry:
    """A project with a signed registry, and its earlier states."""

    folder: Path
    rng: np.random.Generator
    states: list[Path] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)  # of the SavedModels by version
    intruder: CryptoSigner = field(default_factory=lambda: CryptoSigner(Ed25519PrivateKey.generate()))

    @property
    def database(self) -> Path:
        """The tracking store."""
        return self.folder / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """The folder of all artifacts."""
        return self.folder / "mlartifacts"

    def save(self) -> None:
        """Keep the current state, as the adversary may."""
        state = self.folder / "states" / str(len(self.states))
        shutil.copytree(self.artifacts, state / "mlartifacts")
        _copy_database(self.database, state / "mlflow.db")
        self.states.append(state)

    def restore(self, state: Path) -> None:
        """Go back to an earlier state."""
        shutil.rmtree(self.artifacts)
        shutil.copytree(state / "mlartifacts", self.artifacts)
        _copy_database(state / "mlflow.db", self.database)

    def query(self, statement: str, *values: object) -> list[tuple[str, ...]]:
        """Read or change the database."""
        with closing(sqlite3.connect(self.database)) as database, database:
            return database.execute(statement, values).fetchall()

    def ledger(self, model: str = MODEL) -> str:
        """The run with a model's history."""
        where = "name = ? and key = 'history.run_id'"
        return self.query(f"select value from registered_model_tags where {where}", model)[0][0]  # noqa: S608

    def run_of(self, version: str, model: str = MODEL) -> str:
        """The run of a version."""
        return self.query("select run_id from model_versions where name = ? and version = ?", model, version)[0][0]

    def files_of(self, version: str) -> Path:
        """The folder of a version's files."""
        return self.artifacts / "models" / version

    def provenance_of(self, version: str, model: str = MODEL, state: Path | None = None) -> Path:
        """The signed statement about a version."""
        return (state or self.folder) / "mlartifacts" / self.run_of(version, model) / "artifacts" / PROVENANCE

    def choose(self, *choices: str) -> str:
        """One of some texts."""
        return str(self.rng.choice(choices))


def _copy_database(source: Path, target: Path) -> None:
    """Copy through SQLite, because connections to the target may be open."""
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)


@contextmanager
def registry_to_attack(folder: Path, seed: int, has_key: bool = True) -> Iterator[Registry]:
    """A project with five versions and a history, and another model; signed if it has a key."""
    folder.mkdir(parents=True, exist_ok=True)
    before, directory = dict(os.environ), Path.cwd()
    os.environ |= {
        "DVC_ROOT": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "XDG_CONFIG_HOME": str(folder.parent / f"{folder.name}-home"),
        PASSPHRASE_VARIABLE: "only for this campaign",
    }
    os.chdir(folder)
    reset_connection()
    try:
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        Path("params.yaml").write_text(yaml.safe_dump(content))
        registry = Registry(folder, np.random.default_rng(seed))
        if has_key:
            create_key("ada")
        _fill(registry)
        yield registry
    finally:
        os.chdir(directory)
        os.environ.clear()
        os.environ |= before
        reset_connection()


def _fill(registry: Registry) -> None:
    for model in (OTHER_MODEL, MODEL):
        ledger_run(model, create=True)
        for number in (*SIGNED, "5"):
            _register(registry, model, number)
    registry.save()
    for model in (OTHER_MODEL, MODEL):
        for number in PROMOTED:
            _append(registry, model, Entry(action="promote", version=number, files=registry.digests[number]))
            registry.save()
        _append(registry, model, Entry(action="rollback", version=CHAMPION, files=registry.digests[CHAMPION]))
    registry.save()


def _append(registry: Registry, model: str, entry: Entry) -> None:
    append_entry(model, read_entries(model), entry, load_signer())


def _register(registry: Registry, model: str, number: str) -> None:
    with start_run("train", {"stage": "train"}, {}) as run:
        pass
    folder = registry.files_of(number)
    saved_model = saved_model_of(folder)
    if not folder.exists():
        (saved_model / "variables").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
            (saved_model / name).write_bytes(registry.rng.bytes(200))
    registry.digests[number] = folder_digest(saved_model)
    connection().client.create_model_version(model, str(folder), run.id)
    files = downloaded_digests(folder)
    connection().client.log_text(run.id, json.dumps(files), FILES)
    tags = {FILES_TAG: files_digest(files), SAVED_MODEL_TAG: registry.digests[number], "test.accuracy": f"0.{number}"}
    tag_version(model, number, tags)
    if number in SIGNED and (signer := load_signer()):
        sign_version(model, number, files, Training({}, {}, {}, b""), signer)


def change_file(registry: Registry) -> None:
    """Change a file of a version, or take it from another one; or the list of its digests and its tags as well."""
    number = registry.choose("1", "2", "3", "4", "5")
    path = Path(registry.choose(*(str(path) for path in registry.files_of(number).rglob("*") if path.is_file())))
    match registry.choose("flip", "swap", "delete", "add"):
        case "flip":
            content = bytearray(path.read_bytes())
            content[registry.rng.integers(len(content))] ^= 1
            path.write_bytes(content)
        case "swap":
            other = registry.files_of(registry.choose("1", "2", "3", "4", "5"))
            source = other / path.relative_to(registry.files_of(number))
            if source.exists() and source != path:
                shutil.copy(source, path)
        case "delete":
            path.unlink()
        case "add":
            path.with_name("added.py").write_text("print('hello')")
    if registry.rng.random() < 0.5:  # and make the digests fit
        files = downloaded_digests(registry.files_of(number))
        run = registry.artifacts / registry.run_of(number) / "artifacts" / FILES
        run.write_text(json.dumps(files))
        for key, value in ((FILES_TAG, files_digest(files)), (SAVED_MODEL_TAG, _saved_model(registry, number))):
            _set_tag(registry, number, key, value)


def _saved_model(registry: Registry, number: str) -> str:
    folder = saved_model_of(registry.files_of(number))
    return folder_digest(folder) if folder.exists() else ""


def _set_tag(registry: Registry, number: str, key: str, value: str) -> None:
    registry.query(
        "insert or replace into model_version_tags (name, version, key, value) values (?, ?, ?, ?)",
        MODEL, number, key, value,
    )  # fmt: skip


def change_tag(registry: Registry) -> None:
    """Change, copy or delete a tag of a version."""
    number, key = registry.choose("1", "2", "3", "4", "5"), registry.choose(FILES_TAG, SAVED_MODEL_TAG, "test.accuracy")
    other = registry.query(
        "select value from model_version_tags where name = ? and version = ? and key = ?",
        MODEL, registry.choose("1", "2", "3", "4", "5"), key,
    )  # fmt: skip
    match registry.choose("set", "copy", "delete"):
        case "set":
            _set_tag(registry, number, key, registry.choose("0.99", "", "x" * 64))
        case "copy" if other:
            _set_tag(registry, number, key, other[0][0])
        case _:
            where = "name = ? and version = ? and key = ?"
            registry.query(f"delete from model_version_tags where {where}", MODEL, number, key)  # noqa: S608


def change_provenance(registry: Registry) -> None:
    """Change, delete, replace or forge the signed statement about a version."""
    number = registry.choose(*SIGNED, "5")
    path = registry.provenance_of(number)
    other = registry.provenance_of(registry.choose(*SIGNED), registry.choose(MODEL, OTHER_MODEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    source = json.loads(other.read_text()) if other.exists() else {}
    match registry.choose("delete", "copy", "flip", "strip", "forge", "retype", "junk"):
        case "delete":
            path.unlink(missing_ok=True)
        case "copy" if other.exists() and other != path:
            shutil.copy(other, path)
        case "flip" if path.exists():
            content = bytearray(path.read_bytes())
            content[registry.rng.integers(len(content))] ^= 1
            path.write_bytes(content)
        case "strip" if source:
            path.write_text(json.dumps(source | {"signatures": []}))
        case "forge":
            path.write_text(sign(_forged_statement(registry, number), STATEMENT, registry.intruder))
        case "retype" if source:
            path.write_text(json.dumps(source | {"payloadType": ENTRY}))
        case _:
            path.write_bytes(registry.rng.bytes(50))


def _forged_statement(registry: Registry, number: str) -> dict[str, object]:
    files = downloaded_digests(registry.files_of(number))
    parameters = {"model": MODEL, "version": number, "parameters": {}, "tags": {}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:emotion:dvc-repro:v1", "externalParameters": parameters, "resolvedDependencies": [],
            },
            "runDetails": {
                "builder": {"id": "x"}, "metadata": {"invocationId": registry.run_of(number)}, "byproducts": [],
            },
        },
    }  # fmt: skip


def change_alias(registry: Registry) -> None:
    """Move or delete an alias, and claim that the history is applied."""
    alias = registry.choose("champion", "previous", "challenger")
    registry.query("delete from registered_model_aliases where name = ? and alias = ?", MODEL, alias)
    if registry.rng.random() < 0.8:
        registry.query(
            "insert into registered_model_aliases (name, alias, version) values (?, ?, ?)",
            MODEL, alias, int(registry.choose("1", "2", "3", "4", "5")),
        )  # fmt: skip
    count = registry.choose("0", "3", "4", "5", "99", "many")
    where = "name = ? and key = 'history.applied'"
    registry.query(f"update registered_model_tags set value = ? where {where}", count, MODEL)  # noqa: S608


def change_history(registry: Registry) -> None:
    """Change, reorder, drop, repeat, replay or forge entries of the history."""
    ledger = registry.ledger()
    rows = sorted(registry.query("select key, value from params where run_uuid = ?", ledger))
    texts = [value for _, value in rows]
    position = int(registry.rng.integers(len(texts)))
    match registry.choose("reorder", "drop", "drop tail", "repeat", "flip", "replace", "add"):
        case "reorder":
            registry.rng.shuffle(texts)
        case "drop":
            del texts[position]
        case "drop tail":
            del texts[position:]
        case "repeat":
            texts.append(texts[position])
        case "flip":
            content = bytearray(texts[position].encode())
            content[registry.rng.integers(len(content))] ^= 1
            texts[position] = content.decode(errors="replace")
        case "replace":
            texts = [_forged_entry(registry)]
        case "add":
            texts.append(_forged_entry(registry))
    registry.query("delete from params where run_uuid = ?", ledger)
    for number, text in enumerate(texts, start=1):
        registry.query("insert into params (key, value, run_uuid) values (?, ?, ?)", f"{number:05d}", text, ledger)


def _forged_entry(registry: Registry) -> str:
    """An entry that is unsigned, or signed by the adversary, or by a holder of a key for another model."""
    target = registry.choose("3", "4", "5")
    entry = Entry(action="promote", version=target, model=MODEL, files=registry.digests[target])
    other = registry.query("select value from params where run_uuid = ?", registry.ledger(OTHER_MODEL))
    return registry.choose(
        entry.model_dump_json(),
        sign(entry.model_dump(), ENTRY, registry.intruder),
        *(row[0] for row in other),
    )


def redirect(registry: Registry) -> None:
    """Exchange the runs, files or histories that the registry's rows name."""
    first, second = (registry.choose("1", "2", "3", "4", "5") for _ in range(2))
    match registry.choose("run", "source", "ledger", "no ledger", "delete version"):
        case "run":
            run = registry.run_of(second, registry.choose(MODEL, OTHER_MODEL))
            registry.query("update model_versions set run_id = ? where name = ? and version = ?", run, MODEL, first)
        case "source":
            source = str(registry.files_of(second))
            for column in ("source", "storage_location"):
                change = f"update model_versions set {column} = ? where name = ? and version = ?"  # noqa: S608
                registry.query(change, source, MODEL, first)
        case "ledger":
            registry.query(
                "update registered_model_tags set value = ? where name = ? and key = 'history.run_id'",
                registry.ledger(OTHER_MODEL), MODEL,
            )  # fmt: skip
        case "no ledger":
            where = "name = ? and key = 'history.run_id'"
            registry.query(f"delete from registered_model_tags where {where}", MODEL)  # noqa: S608
        case "delete version":
            stage = "Deleted_Internal"
            change = "update model_versions set current_stage = ? where name = ? and version = ?"
            registry.query(change, stage, MODEL, first)


def replay_state(registry: Registry) -> None:
    """Go back to an older state of the whole registry, or of its artifacts or its database alone."""
    state = registry.states[int(registry.rng.integers(len(registry.states)))]
    part = registry.choose("all", "database", "artifacts")
    if part != "artifacts":
        _copy_database(state / "mlflow.db", registry.database)
    if part != "database":
        shutil.rmtree(registry.artifacts)
        shutil.copytree(state / "mlartifacts", registry.artifacts)


CHANGES: tuple[Callable[[Registry], None], ...] = (
    change_file, change_tag, change_provenance, change_alias, change_history, redirect, replay_state,
)  # fmt: skip


def attack(registry: Registry) -> tuple[list[str], str]:
    """Make random changes to the last state, and use the registry; return the changes, and the outcome.

    Returns:
        The outcome is `loaded` (the champion of the holders of keys), `none` (no champion), `refused` (with a
        message), or begins with `SUCCESS` or `CRASH`.
    """
    registry.restore(registry.states[-1])
    reset_connection()
    names = []
    for _ in range(registry.rng.integers(1, MAX_CHANGES + 1)):
        change = CHANGES[int(registry.rng.integers(len(CHANGES)))]
        names.append(change.__name__)
        try:
            change(registry)
        except (IndexError, FileNotFoundError, ValueError):  # an earlier change removed what this one needs
            names.append("(impossible)")
    try:
        if registry.rng.random() < 0.3:
            reconcile(MODEL)
        return names, _use(registry)
    except UserError:
        return names, "refused"
    except Exception as error:  # noqa: BLE001  the campaign goes on
        return names, f"CRASH {type(error).__name__}: {str(error)[:200]}"


def _use(registry: Registry) -> str:
    named = trusted_aliases(MODEL).get("champion")
    if named not in (None, CHAMPION):
        return f"SUCCESS: version {named} is called the champion"
    if champion_uri() is None:
        return "none"
    with open_model(None) as bundle:
        if folder_digest(bundle.model) != registry.digests[CHAMPION]:
            return f"SUCCESS: {bundle.info.title} was loaded with other files"
    return "loaded"


def campaign(folder: Path, attacks: int, seed: int, has_key: bool = True) -> Iterator[tuple[list[str], str]]:
    """Attack a new registry many times; yield the changes and the outcome of each attack."""
    with registry_to_attack(folder, seed, has_key) as registry:
        for _ in range(attacks):
            yield attack(registry)


def main(attacks: int = 10_000, seed: int = 0) -> None:
    """Run the campaign and print how many attacks ended in which way."""
    outcomes: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder) / "project", attacks, seed)
        for names, outcome in track(found, "Attacks", total=attacks):
            outcomes[outcome.split(":")[0].split(" ")[0]] += 1
            changes.update(names)
            if outcome.startswith(("SUCCESS", "CRASH")):
                print(f"{outcome}, after {', '.join(names)}")
    print(f"{attacks} attacks: {dict(outcomes)}\nChanges: {dict(changes)}")
    raise typer.Exit(1 if outcomes["SUCCESS"] or outcomes["CRASH"] else 0)


if __name__ == "__main__":
    typer.run(main)
