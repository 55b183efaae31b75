"""Keys, signed versions and the signed history, in a real registry."""

import base64
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from emotion.params.sections import Params
from emotion.registry.promotion.chain import newest_path
from emotion.registry.promotion.history import Entry
from emotion.registry.promotion.ledger import LostLedgerError, ledger_run, read_entries
from emotion.registry.promotion.promote import promote, rollback
from emotion.registry.promotion.reconcile import append_entry, reconcile, restart_history, trusted_aliases
from emotion.registry.registration import register
from emotion.registry.signing.envelope import STATEMENT, SignatureError, is_envelope, sign, verify
from emotion.registry.signing.existing import sign_existing, verify_existing
from emotion.registry.signing.keys import (
    KEY_VARIABLE,
    PASSPHRASE_VARIABLE,
    create_key,
    load_signer,
    trusted_keys,
)
from emotion.registry.signing.provenance import PROVENANCE
from emotion.registry.versions import (
    FILES,
    FILES_TAG,
    SAVED_MODEL_TAG,
    downloaded_digests,
    files_digest,
    get_version,
    tag_version,
)
from emotion.runtime.errors import UserError
from emotion.tracking.client import connection
from emotion.tracking.runs import start_run
from support.project import ROOT
from support.versions import NAME, aliases, rule, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for private keys outside the project."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "hush")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return folder


@pytest.fixture
def key(home: Path, project: Path) -> Path:
    """A key of the project; the file of its private part."""
    private, _ = create_key("ada")
    return private


@pytest.fixture
def signed(add: Callable[..., str], key: Path) -> Callable[..., str]:
    """Registers and signs a version."""

    def add_signed(*arguments: Any, **options: Any) -> str:
        number = add(*arguments, **options)
        sign_existing(NAME, number)
        return number

    return add_signed


def provenance_file(project: Path, number: str) -> Path:
    (path,) = (path for path in project.rglob(PROVENANCE) if get_version(NAME, number).run_id in path.parts)
    return path


def test_a_private_key_is_encrypted_and_readable_by_its_owner_alone(key: Path, project: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in key.read_bytes()
    assert not key.is_relative_to(project)
    public = project / "keys/ada.pem"
    assert b"PUBLIC KEY" in public.read_bytes()
    signer, listed = load_signer(), trusted_keys()
    assert signer
    assert {name: it.keyid for name, it in listed.items()} == {"ada": signer.public_key.keyid}


def test_no_key_is_replaced_or_created_in_the_repository(
    key: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key.read_bytes()
    with pytest.raises(UserError, match="exists and is not replaced"):
        create_key("bob")
    monkeypatch.setenv(KEY_VARIABLE, str(key.with_name("other.pem")))
    with pytest.raises(UserError, match=r"ada\.pem exists and is not replaced"):
        create_key("ada")
    assert key.read_bytes() == before
    monkeypatch.setenv(KEY_VARIABLE, str(project / "mine.pem"))
    with pytest.raises(UserError, match="is inside the repository"):
        create_key("bob")
    with pytest.raises(UserError, match="the name of a key can have letters"):
        create_key("../bob")


def test_a_key_that_cannot_be_used_is_explained(key: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    with pytest.raises(UserError, match="the passphrase is wrong"):
        load_signer()
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    with pytest.raises(UserError, match=rf"has a passphrase. Set {PASSPHRASE_VARIABLE}"):
        load_signer(ask=False)
    key.chmod(0o644)
    with pytest.raises(UserError, match=r"can be read by others \(mode 644\)\. Run `chmod 600"):
        load_signer()
    key.unlink()
    with pytest.raises(UserError, match="there is no private key at"):
        load_signer()
    create_key("bob", with_passphrase=False)
    assert load_signer(ask=False)
    (project / "keys/bob.pem").unlink()
    with pytest.raises(UserError, match=r"the public key of .* is not in "):
        load_signer()
    (project / "keys/bob.pem").write_text("not a key")
    with pytest.raises(UserError, match=r"bob\.pem is not an Ed25519 public key"):
        trusted_keys()
    rsa = generate_private_key(65537, 2048).public_key()
    pem = rsa.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (project / "keys/bob.pem").write_bytes(pem)
    with pytest.raises(UserError, match=r"bob\.pem is not an Ed25519 public key"):
        trusted_keys()


def test_an_envelope_is_accepted_only_from_a_trusted_key_and_as_the_same_kind_of_document(
    key: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    signer, trusted = load_signer(), trusted_keys()
    assert signer
    text = sign({"a": 1}, STATEMENT, signer)
    assert verify(text, STATEMENT, trusted, "it") == ({"a": 1}, "ada")
    with pytest.raises(SignatureError, match="another kind of document"):
        verify(text, "another", trusted, "it")
    content = json.loads(text)
    forged = base64.b64encode(b'{"a": 2}').decode()
    changes: list[dict[str, Any]] = [{"payload": forged}, {"signatures": []}, {"payloadType": "x"}, {"payload": None}]
    for changed in changes:
        with pytest.raises(SignatureError, match="it is not signed by a key in keys/"):
            verify(json.dumps({**content, **changed}), STATEMENT, trusted, "it")
    for damaged in ("", "[]", "null", text[:-10]):
        with pytest.raises(SignatureError):
            verify(damaged, STATEMENT, trusted, "it")
    (home / "emotion/signing-key.pem").unlink()
    create_key("eve")
    intruder = load_signer()
    assert intruder
    with pytest.raises(SignatureError):
        verify(sign({"a": 1}, STATEMENT, intruder), STATEMENT, trusted, "it")


def test_without_keys_everything_works_and_says_that_it_is_unsigned(add: Any, lenient: Params) -> None:
    decision = promote(lenient, add(wrong_in(0.1)))
    assert decision.outcome == "PROMOTED"
    assert rule(decision, "provenance").value == "unsigned: the project lists no keys"
    assert [entry.signed_by for entry in read_entries(NAME)] == [""]


def test_a_signed_version_is_promoted_and_the_history_is_signed(signed: Any, lenient: Params) -> None:
    for share in (0.2, 0.1):
        decision = promote(lenient, signed(wrong_in(share)))
        assert decision.outcome == "PROMOTED"
        assert rule(decision, "provenance").value == "signed by ada"
    rollback(NAME)
    entries = read_entries(NAME)
    assert [(entry.action, entry.version, entry.signed_by) for entry in entries] == [
        ("promote", "1", "ada"), ("promote", "2", "ada"), ("rollback", "1", "ada"),
    ]  # fmt: skip
    assert aliases() == trusted_aliases(NAME) == {"champion": "1"}
    newest = json.loads(newest_path(NAME).read_text())
    assert newest["entries"] == 3


def test_a_version_without_a_signature_is_rejected_even_by_force(add: Any, key: Path, lenient: Params) -> None:
    decision = promote(lenient, add(wrong_in(0.1)), force=True, reason="trust me")
    assert decision.outcome == "REJECTED"
    assert "`emotion keys sign 1` signs it" in rule(decision, "provenance").value
    assert trusted_aliases(NAME) == {}


@pytest.mark.parametrize("change", ["tag", "statement", "copy", "file"])
def test_a_change_after_signing_is_found(signed: Any, lenient: Params, project: Path, change: str) -> None:
    number, other = signed(wrong_in(0.1), **{"test.accuracy": "0.9"}), signed(wrong_in(0.2))
    path = provenance_file(project, number)
    match change:
        case "tag":
            tag_version(NAME, number, {"test.accuracy": "0.99"})
            expected = "the tag test.accuracy of facial-emotion version 1 should be '0.9', as signed, got '0.99'"
        case "statement":
            path.write_text(path.read_text().replace("A", "B", 1))
            expected = "is not signed by a key in keys/"
        case "copy":
            path.write_bytes(provenance_file(project, other).read_bytes())
            expected = "the signed provenance of facial-emotion version 1 is that of facial-emotion version 2"
        case "file":
            (graph,) = (project / "models" / get_version(NAME, number).run_id).rglob("saved_model.pb")
            graph.write_bytes(graph.read_bytes() + b"\0")
            expected = "the file data/model/saved_model.pb of facial-emotion version 1 was changed"
    with pytest.raises(SignatureError) as found:
        verify_existing(NAME, number, trusted_keys())
    assert expected in str(found.value)
    assert promote(lenient, number).outcome == "REJECTED"


def test_a_tag_that_a_person_adds_in_mlflow_does_not_break_the_signature(signed: Any) -> None:
    number = signed(wrong_in(0.1))
    tag_version(NAME, number, {"note": "looks good", "gate.champion": "PROMOTED"})
    assert verify_existing(NAME, number, trusted_keys())[1] == "ada"


def test_an_alias_that_was_changed_without_a_key_is_set_again(signed: Any, add: Any, lenient: Params) -> None:
    promote(lenient, signed(wrong_in(0.1)))
    connection().client.set_registered_model_alias(NAME, "champion", add(wrong_in(0.05)))
    assert trusted_aliases(NAME) == {"champion": "1"}
    notes = reconcile(NAME)
    assert notes == ["the aliases did not follow from the signed history, and were set again"]
    assert aliases() == {"champion": "1"}
    assert [entry.action for entry in read_entries(NAME)] == ["promote"]


def test_earlier_entries_do_not_count_once_a_project_has_keys(add: Any, home: Path, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    promote(lenient, number, reason="the first")
    create_key("ada")
    assert trusted_aliases(NAME) == {}
    sign_existing(NAME, number)
    assert promote(lenient, number).outcome == "PROMOTED"
    assert [entry.action for entry in read_entries(NAME)] == ["unsigned", "promote"]
    assert trusted_aliases(NAME) == {"champion": "1"}
    assert "promote: the first" in [entry.reason for entry in read_entries(NAME)]


def test_a_registry_that_was_set_back_is_noticed_where_the_newest_entry_is_remembered(
    signed: Any, lenient: Params
) -> None:
    for share in (0.2, 0.1):
        promote(lenient, signed(wrong_in(share)))
    run = connection().client.get_run(ledger_run(NAME)).data.params
    remembered = newest_path(NAME).read_text()
    newest_path(NAME).write_text(remembered.replace('"entries": 2', '"entries": 3'))
    with pytest.raises(SignatureError, match="remembers entry 3"):
        read_entries(NAME)
    newest_path(NAME).unlink()  # without it, an older state that was signed cannot be told from the newest
    assert len(read_entries(NAME)) == len(run) == 2


def test_what_a_withdrawn_key_signed_does_not_count_anymore(
    signed: Any, lenient: Params, project: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    promote(lenient, signed(wrong_in(0.2)))
    monkeypatch.setenv(KEY_VARIABLE, str(home / "bob.pem"))
    create_key("bob")
    promote(lenient, signed(wrong_in(0.1)))
    monkeypatch.delenv(KEY_VARIABLE)
    promote(lenient, signed(wrong_in(0.02)))
    assert trusted_aliases(NAME) == {"champion": "3", "previous": "2"}
    (project / "keys/withdrawn").mkdir()
    (project / "keys/ada.pem").rename(project / "keys/withdrawn/ada.pem")
    assert [entry.action for entry in read_entries(NAME)] == ["unsigned", "promote", "unsigned"]
    assert trusted_aliases(NAME) == {"champion": "2"}
    monkeypatch.setenv(KEY_VARIABLE, str(home / "bob.pem"))
    assert promote(lenient, "3").outcome == "REJECTED"
    sign_existing(NAME, "3")
    assert promote(lenient, "3").outcome == "PROMOTED"
    assert trusted_aliases(NAME) == {"champion": "3", "previous": "2"}


def test_a_lost_history_begins_again_without_a_champion(signed: Any, lenient: Params, project: Path) -> None:
    promote(lenient, signed(wrong_in(0.1)))
    run_id = ledger_run(NAME)
    connection().client.delete_run(run_id)
    SqlAlchemyStore(f"sqlite:///{project}/mlflow.db", str(project))._hard_delete_run(run_id)  # as `mlflow gc` does
    with pytest.raises(LostLedgerError, match="--restart"):
        promote(lenient, "1")
    assert [(entry.action, entry.version) for entry in restart_history(NAME)] == [("external", None)]
    assert read_entries(NAME)[0].signed_by == "ada"
    assert trusted_aliases(NAME) == aliases() == {}
    assert promote(lenient, "1").outcome == "PROMOTED"


def test_a_signed_history_is_refused_if_the_keys_are_gone(signed: Any, lenient: Params, project: Path) -> None:
    promote(lenient, signed(wrong_in(0.1)))
    (project / "keys/ada.pem").unlink()
    with pytest.raises(SignatureError, match=r"is signed, but .* has no keys\. Restore them with `git checkout`"):
        read_entries(NAME)


def test_the_statement_has_the_form_of_in_toto_and_slsa(signed: Any, project: Path) -> None:
    number = signed(wrong_in(0.1), **{"data.sha256": "d" * 64})
    envelope = json.loads(provenance_file(project, number).read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert "data/model/saved_model.pb" in {file["name"] for file in statement["subject"]}
    sources = {it["name"]: it["digest"] for it in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert sources["git"] == {"gitCommit": "c0ffee"}
    assert sources["archive"] == {"sha256": "d" * 64}


def test_kept_answers_of_others_are_not_used(signed: Any, lenient: Params, project: Path) -> None:
    promote(lenient, signed(wrong_in(0.2)))
    (answers,) = project.rglob("answers-*.npy")
    original = answers.read_bytes()
    answers.write_bytes(original[:-2800] + original[-1400:] + original[-1400:])
    decision = promote(lenient, signed(wrong_in(0.1)), dry_run=True)
    assert decision.verdict
    assert decision.verdict.metrics["champion/accuracy"] == pytest.approx(1 - wrong_in(0.2).mean())


def test_an_entry_is_linked_only_to_what_was_verified(signed: Any, lenient: Params, project: Path) -> None:
    for share in (0.2, 0.1):
        promote(lenient, signed(wrong_in(share)))
    entries = read_entries(NAME)
    with closing(sqlite3.connect(project / "mlflow.db")) as database, database:
        database.execute("update params set value = 'junk' where key = '00002'")
    before = newest_path(NAME).read_text()
    with pytest.raises(SignatureError):
        append_entry(NAME, entries, Entry(action="rollback", version="1"), load_signer())
    with pytest.raises(SignatureError):
        trusted_aliases(NAME)
    assert newest_path(NAME).read_text() == before


def test_a_model_that_was_exchanged_is_not_signed(add: Any, key: Path, project: Path) -> None:
    number, other = add(wrong_in(0.1)), add(wrong_in(0.2))
    folders = [project / "models" / get_version(NAME, it).run_id for it in (number, other)]
    shutil.rmtree(folders[0])
    shutil.copytree(folders[1], folders[0])
    digests = downloaded_digests(folders[0])
    connection().client.log_text(get_version(NAME, number).run_id, json.dumps(digests), FILES)
    tag_version(NAME, number, {FILES_TAG: files_digest(digests)})
    with pytest.raises(UserError, match="is not the one that was registered or promoted"):
        sign_existing(NAME, number)


def test_a_tag_that_something_depends_on_cannot_be_added_after_signing(signed: Any) -> None:
    number = signed(wrong_in(0.1))
    tag_version(NAME, number, {"dvc.experiment": "good"})
    with pytest.raises(SignatureError, match=r"the tag dvc\.experiment of facial-emotion version 1 should be None"):
        verify_existing(NAME, number, trusted_keys())


def test_a_changed_former_champion_or_a_missing_champion_holds_a_version(
    signed: Any, lenient: Params, project: Path
) -> None:
    for share in (0.3, 0.2, 0.1):
        promote(lenient, signed(wrong_in(share)))
    better = signed(wrong_in(0.02))
    tag_version(NAME, "1", {"test.accuracy": "0.1"})
    held = promote(lenient, better, dry_run=True)
    assert held.outcome == "HELD"
    assert not rule(held, "integrity of version 1 (former champion)").passed
    tag_version(NAME, "3", {SAVED_MODEL_TAG: "other"})
    assert not rule(promote(lenient, better, dry_run=True), "integrity of the champion").passed
    with pytest.raises(SignatureError, match="version 3, the champion of the signed history, is missing"):
        trusted_aliases(NAME)
    connection().client.delete_registered_model(NAME)
    with pytest.raises(SignatureError, match="remembers promotions of facial-emotion, which MLflow does not have"):
        trusted_aliases(NAME)


def test_the_longest_reason_and_purpose_fit_into_a_signed_entry(signed: Any, lenient: Params) -> None:
    number = signed(wrong_in(0.1), **{"use.area": "research", "use.purpose": "Я" * 600})
    assert promote(lenient, number, reason="😀" * 500).outcome == "PROMOTED"
    assert read_entries(NAME)[0].reason == "😀" * 500


def test_a_machine_without_a_key_does_not_break_a_signature(
    project: Path, registered_model: Path, tmp_path: Path, key: Path
) -> None:
    classifier, saved_model = tmp_path / "classifier.keras", registered_model / "data/model"
    shutil.copy(registered_model / "classifier.keras", classifier)
    with start_run("train", {}, {}) as run:
        register(NAME, run.id, classifier, saved_model, {"use.purpose": "studying"})
        sign_existing(NAME, "1")
        key.unlink()
        register(NAME, run.id, classifier, saved_model, {"use.purpose": "studying"})
        with pytest.raises(UserError, match=r"version 1 of facial-emotion is signed, and use\.purpose would change"):
            register(NAME, run.id, classifier, saved_model, {"use.purpose": "hiring"})
    assert verify_existing(NAME, "1", trusted_keys())


@pytest.mark.parametrize("change", ["network", "added file"])
def test_files_that_differ_from_the_pipelines_are_not_signed_again(
    project: Path, registered_model: Path, tmp_path: Path, change: str
) -> None:
    classifier, saved_model = tmp_path / "classifier.keras", registered_model / "data/model"
    shutil.copy(registered_model / "classifier.keras", classifier)
    with start_run("train", {}, {}) as run:
        register(NAME, run.id, classifier, saved_model, {})
        (stored,) = (path for path in project.rglob("classifier.keras") if "artifacts" in path.parts)
        if change == "network":
            stored.write_bytes(b"evil")
        else:
            stored.with_name("evil.py").write_text("")
        with pytest.raises(UserError, match=r"or from its network|has other files or code"):
            register(NAME, run.id, classifier, saved_model, {})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"payloadType": ' * 50_000])
def test_deeply_nested_json_is_damage_not_a_crash(key: Path, text: str) -> None:
    assert not is_envelope(text)
    with pytest.raises(SignatureError):
        verify(text, STATEMENT, trusted_keys(), "it")


def test_a_provenance_file_is_verified_offline_without_mlflow_or_tensorflow(
    signed: Any, project: Path, tmp_path: Path
) -> None:
    number = signed(wrong_in(0.1))
    file = tmp_path / "provenance.json"
    file.write_bytes(provenance_file(project, number).read_bytes())
    program = (
        "import sys; from emotion.cli.main import app; app(standalone_mode=False);"
        "assert not {'mlflow', 'tensorflow', 'pandas', 'numpy'} & set(sys.modules), 'a large library was loaded'"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", number, "--offline", str(file)],
        capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "facial-emotion version 1: verified" in done.stdout
    assert "signed by      ada" in done.stdout
