"""Log the verdict of the gate as an MLflow run with a readable report."""

import pandas as pd

from emotion.params.sections import Params
from emotion.registry.promotion.gate.rules import Verdict
from emotion.registry.promotion.gate.wear import IMAGES_TAG
from emotion.registry.promotion.history import Entry, current_time, current_user
from emotion.registry.promotion.reconcile import describe_decision
from emotion.registry.version_page import describe_verdict
from emotion.registry.versions import Version, format_timestamp
from emotion.tracking import provenance
from emotion.tracking.queries import search_runs
from emotion.tracking.runs import start_run
from emotion.tracking.stage_runs import flatten


def log_verdict(params: Params, version: Version, alias: str, verdict: Verdict, forced: bool, reason: str) -> str:
    """Log a verdict as a separate run and in the version's description; return the run's id."""
    user = current_user()
    thresholds = flatten({"gate": params.register_.gate.model_dump()})
    tags = {
        "stage": "promote",
        "alias": alias,
        "version": version.number,
        "model": params.register_.name,
        IMAGES_TAG: verdict.images,
        "data.dvc_hash": provenance.data_hash(),
        "champion": verdict.champion or "",
        "verdict": verdict.outcome,
        "forced": str(forced).lower(),
        "reason": reason,
        "by": user,
    }
    name = f"promote {version.number} · {verdict.outcome}{', forced' if forced else ''}"
    with start_run(name, tags, thresholds, purpose="promotions") as run:
        run.log_metrics(verdict.metrics)
        run.log_text(verdict.model_dump_json(indent=2), "verdict.json")
        run.log_text(to_markdown(verdict), "verdict.md")
        passed = len(verdict.rules) - len(verdict.failed)
        decision = describe_decision(verdict.outcome, forced, user, reason)
        run.set_description(f"{decision}. {passed} of {len(verdict.rules)} rules passed.")
    describe_verdict(params.register_.name, version, alias, verdict, f"{decision}, {current_time()}", run.id)
    return run.id


def refusals() -> list[Entry]:
    """The verdicts that changed nothing, from their runs."""
    runs = [run for run in search_runs("promote") if run.tags.get("verdict") != "PROMOTED"]
    return [
        Entry(
            action="refuse", version=run.tags.get("version"), before=run.tags.get("champion"),
            verdict=run.tags.get("verdict", ""), reason=run.tags.get("reason", ""), run_id=run.id,
            by=run.tags.get("by", "unknown"), at=format_timestamp(run.start),
        )
        for run in runs if run.tags.get("forced") != "true"
    ]  # fmt: skip


def to_markdown(verdict: Verdict) -> str:
    """The verdict as a Markdown report."""
    champion = f"compared with version {verdict.champion}" if verdict.champion else "there is no champion yet"
    rules = pd.DataFrame(
        [
            {
                "rule": rule.name,
                "value": rule.value,
                "threshold": rule.threshold,
                "outcome": rule.outcome if rule.passed else f"**{rule.outcome}**",
            }
            for rule in verdict.rules
        ]
    )
    parts = [f"# Version {verdict.version}: {verdict.outcome}, {champion}", _table(rules)]
    parts += [f"- {note}" for note in verdict.notes]
    if verdict.subsets:
        subsets = pd.DataFrame(
            [
                {
                    "": subset.name if subset.kind == "emotion" else f"{subset.kind}: {subset.name}",
                    "images": subset.images,
                    "needed": subset.needed,
                    "recall": f"{subset.recall:.4f}",
                    "champion's recall": f"{subset.champion_recall:.4f}",
                    "p of a loss (corrected)": f"{subset.p_value:.3g}",
                }
                for subset in verdict.subsets
            ]
        )
        parts.append(_table(subsets))
    return "\n\n".join(parts) + "\n"


def _table(rows: pd.DataFrame) -> str:
    return str(rows.to_markdown(index=False, disable_numparse=True))
