"""The model card."""

import json
import re

from support.project import MODEL, Project


def test_the_model_card_describes_data_limits_use_figures_and_origin(finished_project: Project) -> None:
    folder = finished_project.folder / "models/model_card"
    text = re.sub(" +", " ", (folder / "model_card.md").read_text())  # tables are padded
    page = (folder / "model_card.html").read_text()
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert text.startswith(f"# {MODEL} version 1\n")
    accuracy = f"{metrics['test']['accuracy']:.3f}"
    assert re.search(rf"\| test \| {metrics['test']['images']} \| {accuracy} \(0\.\d+ to 0\.\d+\)", text)
    assert re.search(r"\| photographs of faces \| 100 \| \d\.\d+ \(\d\.\d+ to \d\.\d+\) \| \d\.\d+ \|", text)
    for words in ("**Intended**", "**Not intended**", "**drawings**", "**Leaks**", "**Imbalanced**", "**Whose faces**"):
        assert words in text
    run_id = json.loads((finished_project.folder / "models/registered.json").read_text())["run_id"]
    assert f"| MLflow run | `{run_id}` |" in text
    assert page.count("data:image/png;base64,") == 6
    assert "<table>" in page
    assert 'src="http' not in page
    logged = {file.path for file in finished_project.client.list_artifacts(run_id, "model_card")}
    assert logged == {"model_card/model_card.md", "model_card/model_card.html"}
