"""`emotion summary`, with which `make repro` ends."""

from support.project import MODEL, ROOT, Project


def test_the_summary_gives_the_score_the_version_and_the_next_commands(finished_project: Project) -> None:
    shown = finished_project.run("emotion", "summary").stdout
    test = finished_project.read_json("reports/metrics.json")["test"]
    assert f"accuracy {test['accuracy']:.1%}" in shown
    assert f"on {test['images']} images" in shown
    assert f"{MODEL} version 1" in shown
    for command in ("make ui", ".venv/bin/emotion promote 1", "make demo"):
        assert f" {command} " in shown
    assert "\tdvc repro\n\t@emotion summary\n" in (ROOT / "Makefile").read_text()


def test_a_damaged_record_of_the_version_is_reported(logged_project: Project) -> None:
    (logged_project.folder / "models/registered.json").write_text('{"name": "facial-emotion"}')
    done = logged_project.run("emotion", "summary", check=False)
    assert done.returncode == 1
    assert done.stderr == "emotion: models/registered.json is damaged: version: Field required. Run `dvc repro`.\n"
