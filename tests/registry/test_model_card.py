"""The model card."""

import json
import re

import yaml

from emotion.registry.model_card.write import FIGURES
from emotion.runtime.text import without_front_matter
from support.project import MODEL, Project


def test_the_model_card_describes_data_limits_use_figures_and_origin(finished_project: Project) -> None:
    folder = finished_project.folder / "models/model_card"
    text = re.sub(" +", " ", (folder / "model_card.md").read_text())  # tables are padded
    page = (folder / "model_card.html").read_text()
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert without_front_matter(text).startswith(f"# {MODEL} version 1\n")
    facts = yaml.safe_load((folder / "model_card.md").read_text().split("---")[1])
    (result,) = facts["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "accuracy", "value": round(metrics["test"]["accuracy"], 4)}
    accuracy = f"{metrics['test']['accuracy']:.3f}"
    assert re.search(rf"\| test \| {metrics['test']['images']} \| {accuracy} \(0\.\d+ to 0\.\d+\)", text)
    assert re.search(r"\| photographs of faces \| 100 \| \d\.\d+ \(\d\.\d+ to \d\.\d+\) \| \d\.\d+ \|", text)
    for words in ("**Intended**", "**Not intended**", "**drawings**", "**Leaks**", "**Imbalanced**", "**Whose faces**"):
        assert words in text
    run_id = json.loads((finished_project.folder / "models/registered.json").read_text())["run_id"]
    assert f"| MLflow run | `{run_id}` |" in text
    assert page.count("data:image/png;base64,") == len(FIGURES)
    assert "<table>" in page
    assert 'src="http' not in page
    logged = {file.path for file in finished_project.client.list_artifacts(run_id, "model_card")}
    assert logged == {"model_card/model_card.md", "model_card/model_card.html", "model_card/figures"}
    assert {path.name for path in (folder / "figures").iterdir()} == {path.name for path in FIGURES}
    for words in (
        "**Compared with the champion**: there was none",
        "**not measured**",
        "MTCNN",
        "`train.epochs`",
        "Apache",
    ):
        assert words in text
