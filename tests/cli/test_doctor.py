"""`emotion doctor`."""

import shutil

from support.project import Project


def test_the_doctor_reports_what_is_missing_and_how_to_fix_it(copied_project: Project) -> None:
    def examined(code: int, **environment: str) -> str:
        done = copied_project.run("emotion", "doctor", check=False, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join(done.stdout.replace("│", " ").split())  # cells have several lines

    shown = examined(0)
    for subject in ("Python", "git", "disk", "memory", "processor", "MLflow", "outbox", "Kaggle", "DVC"):
        assert subject in shown
    assert "schema" in shown
    copied_project.run("emotion", "restore")
    assert "schema" in examined(0)
    assert "cannot be used" in examined(1, MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    for password in ("9z9/8y8", "9z9@8y8", "9z9 8y8", "9z9%2F8y8"):
        shown = examined(1, MLFLOW_TRACKING_URI=f"http://user:{password}@127.0.0.1:9")
        assert "9z9" not in shown
        assert "8y8" not in shown
    token = "KGAT_very_secret"
    shown = examined(0, KAGGLE_API_TOKEN=token)
    assert "credentials in KAGGLE_API_TOKEN" in shown
    assert token not in shown
    shutil.rmtree(copied_project.folder / ".dvc/cache")
    shutil.rmtree(copied_project.folder / "data/faces")
    assert "neither here nor in the cache: data/faces" in examined(0)
    for content in ("no: [yaml", "", "{version: 99}"):
        (copied_project.folder / "dvc.lock").write_text(content)
        shown = examined(1)
        assert "is damaged" in shown
        assert "`git checkout dvc.lock`" in shown
