"""Who is champion: decided by the gate, recorded for good, and reversible.

The history is what counts: an entry is written once and by one process only. Aliases and tags
follow it; where a process died in between, the next command lets them catch up.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from emotion import gate, provenance, registry, tracking
from emotion.errors import UserError
from emotion.faces import Split, open_faces
from emotion.gate import Answers, Rule, Verdict
from emotion.history import ALIASES, CHALLENGER, CHAMPION, LONGEST_REASON, Entry, Standing, person, standing
from emotion.labels import EMOTIONS, SIZE
from emotion.params import Params
from emotion.records import flatten
from emotion.registry import Version
from emotion.saved_model import forbidden_operations, size

CERTAIN = 1.0  # seconds after which what was seen is no longer the work of another process
QUERIES = 100  # of the latency


class OvertakenError(UserError):
    """Of two changes at the same moment, the one that came second."""


@dataclass(frozen=True)
class Decision:
    """What came of a promotion."""

    verdict: Verdict | None  # None where nothing had to be decided
    outcome: str  # PROMOTED, HELD, REJECTED, or UNCHANGED where it is already
    forced: bool
    champion: str | None  # before it


def promote(
    settings: Params, number: str, to: str = CHAMPION, reason: str = "", force: bool = False, dry_run: bool = False
) -> Decision:
    """Examine a version, and make it champion or challenger where it passes or is forced.

    Args:
        settings: register and evaluate are used.
        number: of the version.
        to: champion or challenger.
        reason: kept with the decision.
        force: whether to do it in spite of bounds that are not met. What is no longer what was
            registered, or is not safe to load, is never promoted.
        dry_run: write nothing.

    Raises:
        UserError: where there is no such version or there are no test images.
        OvertakenError: where another change came first.
    """
    if force and not reason:
        raise UserError("--force needs a --reason, which is recorded.")
    _check(reason)
    name = settings.register_.name
    version = registry.version(name, number)
    if not dry_run:
        settle(name)
    entries = read(name)
    now = standing(entries, registry.versions(name))
    if dry_run and registry.applied(name) == len(entries):  # then aliases set by hand count
        found = registry.aliases(name)
        now = Standing((found.get(CHAMPION),), found.get(CHALLENGER))
    if number in (now.champion, now.challenger if to == CHALLENGER else None):
        return Decision(None, "UNCHANGED", False, now.champion)
    champion = registry.version(name, now.champion) if now.champion else None
    verdict = examine(settings, version, champion, open_faces().split("test"))
    outcome: str = verdict.outcome
    forced = force and outcome != "PROMOTED" and verdict.is_sound
    if forced:
        outcome = "PROMOTED"
    if not dry_run:
        run_id = record(settings, version, verdict, forced, reason)
        if outcome == "PROMOTED":
            entry = Entry(
                action="promote" if to == CHAMPION else "challenge",
                version=number, before=now.champion, verdict=verdict.outcome, forced=forced, reason=reason,
                commit=version.tags.get("git.commit", ""), files=version.tags.get("saved_model.sha256", ""),
                run_id=run_id,
            )  # fmt: skip
            change(name, entries, entry)
        else:
            registry.tag_version(name, number, gate_tags(outcome, False, reason, run_id))
    return Decision(verdict, outcome, forced, now.champion)


def _check(reason: str) -> None:
    if len(reason) > LONGEST_REASON:
        raise UserError(f"a reason has at most {LONGEST_REASON} characters, got {len(reason)}.")


def rollback(name: str, reason: str = "") -> Entry:
    """Make the champion before the champion again.

    Raises:
        UserError: where there is none, or its files are no longer those that were registered.
        OvertakenError: where another change came first.
    """
    _check(reason)
    settle(name)
    entries = read(name)
    now = standing(entries, registry.versions(name))
    if now.previous is None:
        raise UserError(f"{name} has no champion before {now.champion or 'none'} to go back to. See `emotion history`.")
    version = registry.version(name, now.previous)
    with tempfile.TemporaryDirectory() as folder:
        files = _files_rule(version, registry.download(name, version.number, Path(folder)))
    if not files.passed:
        raise UserError(f"version {version.number} is not what was registered: {files.figure}. Promote another one.")
    entry = Entry(
        action="rollback", version=now.previous, before=now.champion, reason=reason,
        commit=version.tags.get("git.commit", ""), files=version.tags.get("saved_model.sha256", ""),
    )  # fmt: skip
    change(name, entries, entry)
    return entry


def current(name: str) -> Standing:
    """Who is champion, who was before, and who challenges."""
    return standing(read(name), registry.versions(name))


def read(name: str) -> list[Entry]:
    """A model's history."""
    entries: list[Entry] = []
    for text in registry.history(name):
        try:
            entries.append(Entry.model_validate_json(text))
        except ValidationError:
            raise UserError(
                f"entry {len(entries) + 1} of the history of {name} was not written by this program."
            ) from None
    return entries


def change(name: str, entries: list[Entry], entry: Entry) -> None:
    """Write the entry after those that a decision was made on, and let aliases and tags follow.

    Raises:
        OvertakenError: where another change came first.
    """
    if not registry.append_to_history(name, len(entries) + 1, entry.model_dump_json()):
        winner = read(name)[len(entries)]
        raise OvertakenError(
            f"nothing was changed: while this was decided, {winner.by} made another change first ({winner.action},"
            f" version {winner.version or 'none'}). See `emotion history`, then decide anew."
        )
    settle(name)


def settle(name: str) -> list[str]:
    """Let aliases and tags follow the history, and take note of what was changed outside of it.

    Returns:
        What was done, in words; nothing where all was well.
    """
    said: list[str] = []
    noted = None
    for _ in range(10):  # others may write meanwhile
        entries, shown = read(name), registry.applied(name)
        now, found = standing(entries, registry.versions(name)), registry.aliases(name)
        if shown < len(entries):
            if entries[-1] != noted and (shown or found):
                said.append(f"the last change, {entries[-1].action} of version {entries[-1].version}, was completed")
            for entry in entries[shown:]:
                _tag(name, entry)
            _follow(name, now, found)
            if registry.applied(name) < len(entries):
                registry.set_applied(name, len(entries))
        elif now.aliases() == {alias: found[alias] for alias in ALIASES if alias in found}:
            return said
        elif (now.champion, now.challenger) != (found.get(CHAMPION), found.get(CHALLENGER)):
            time.sleep(CERTAIN)
            if registry.aliases(name) != found or len(read(name)) != len(entries):
                continue  # another process is at it
            entry = Entry(
                action="outside", version=found.get(CHAMPION), challenger=found.get(CHALLENGER),
                before=now.champion, by="unknown",
            )  # fmt: skip
            if registry.append_to_history(name, len(entries) + 1, entry.model_dump_json()):
                noted = entry
                said.append(
                    "the aliases were changed outside of `emotion`: the champion is now"
                    f" {entry.version or 'none'}, which the history takes note of"
                )
        else:
            _follow(name, now, found)
            said.append(f"the alias previous was put back to {now.previous or 'none'}")
    return said


def _follow(name: str, now: Standing, found: dict[str, str]) -> None:
    """Previous first: at no moment is there a champion whose way back is lost."""
    wanted = now.aliases()
    for alias in reversed(ALIASES):
        if found.get(alias) != wanted.get(alias):
            registry.set_alias(name, alias, wanted.get(alias))


def _tag(name: str, entry: Entry) -> None:
    if entry.version in registry.versions(name) and entry.verdict:
        tags = gate_tags(entry.verdict, entry.forced, entry.reason, entry.run_id) | {"gate.by": entry.by}
        registry.tag_version(name, str(entry.version), tags)


def gate_tags(outcome: str, forced: bool, reason: str, run_id: str) -> dict[str, str]:
    """What a version says of the last decision about it."""
    return {
        "gate.verdict": outcome,
        "gate.forced": str(forced).lower(),
        "gate.reason": reason,
        "gate.run_id": run_id,
        "gate.by": person(),
    }


def record(settings: Params, version: Version, verdict: Verdict, forced: bool, reason: str) -> str:
    """A run with the verdict; its id."""
    bounds = flatten({"gate": settings.register_.gate.model_dump()})
    tags = {
        "stage": "promote",
        "version": version.number,
        "data.dvc_hash": provenance.data_hash(),
        "champion": verdict.champion or "",
        "verdict": verdict.outcome,
        "forced": str(forced).lower(),
        "reason": reason,
        "by": person(),
    }
    with tracking.run(f"promote {version.number}", tags, bounds) as run_id:
        tracking.log_metrics(verdict.figures)
        tracking.log_text(verdict.model_dump_json(indent=2), "verdict.json")
        tracking.log_text(as_markdown(verdict), "verdict.md")
        passed = len(verdict.rules) - len(verdict.failed)
        tracking.describe(f"{verdict.outcome}: {passed} of {len(verdict.rules)} rules passed.")
    return run_id


def as_markdown(verdict: Verdict) -> str:
    """The verdict, to read."""
    rules = [
        f"| {rule.name} | {rule.figure} | {rule.bound} | {'passed' if rule.passed else '**failed**'} |"
        for rule in verdict.rules
    ]
    against = f"against version {verdict.champion}" if verdict.champion else "there is no champion yet"
    lines = [
        f"# Version {verdict.version}: {verdict.outcome}, {against}",
        "| rule | figure | bound | outcome |\n|---|---|---|---|\n" + "\n".join(rules),
    ]
    if verdict.emotions:
        rows = [
            f"| {row['emotion']} | {row['images']} | {row['recall']:.4f} | {row['champion_recall']:.4f} |"
            f" {row['p_value']:.3g} |"
            for row in verdict.emotions
        ]
        lines.append(
            "| emotion | images | recall | champion's recall | p (McNemar) |\n|---|---|---|---|---|\n" + "\n".join(rows)
        )
    return "\n\n".join(lines) + "\n"


def examine(settings: Params, version: Version, champion: Version | None, test: Split) -> Verdict:
    """Every rule about a version's files as the registry has them, and their answers.

    Args:
        settings: register and evaluate are used.
        version: the candidate.
        champion: what it is compared with, or None.
        test: the images that both are asked about, in one go.

    Raises:
        UserError: where there are no test images.
    """
    if not len(test):
        raise UserError("data/faces has no test images to score versions on. `dvc repro preprocess` makes some.")
    bounds, bins = settings.register_.gate, settings.evaluate.calibration_bins
    name = settings.register_.name
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            v.number: registry.download(name, v.number, Path(scratch) / v.number) for v in (version, champion) if v
        }
        rules = sound(version, folders[version.number])
        against = champion.number if champion else None
        if not all(rule.passed for rule in rules):
            return Verdict(version=version.number, champion=against, rules=tuple(rules), figures={})
        can_compare = champion is not None and all(r.passed for r in sound(champion, folders[champion.number]))
        asked = [version.number, *([champion.number] if champion and can_compare else [])]
        answers = _answers([registry.saved_model_of(folders[number]) for number in asked], test, settings)
    if not _are_distributions(answers[0].probabilities):
        rules.append(_sound_rule("answers", "not all are distributions", "distributions", False))
        return Verdict(version=version.number, champion=against, rules=tuple(rules), figures={})
    rules += gate.absolute(bounds, test.labels, answers[0], bins)
    figures = gate.figures(test.labels, "candidate", answers[0], bins)
    emotions: gate.Emotions = ()
    rules += _data_rules(version)
    if can_compare:
        figures |= gate.figures(test.labels, "champion", answers[1], bins)
        emotions = gate.per_emotion(test.labels, answers[0], answers[1])
        rules += gate.comparison(bounds, test.labels, answers[0], answers[1], emotions)
    elif champion:
        rules.append(
            Rule(
                name="the champion can be asked", kind="comparison", figure="its files are not as registered",
                bound="sound", passed=False,
            )
        )  # fmt: skip
    return Verdict(
        version=version.number, champion=against, rules=tuple(rules), figures=figures, emotions=emotions
    )  # fmt: skip


def sound(version: Version, folder: Path) -> list[Rule]:
    """Whether the files are those that were registered, and safe to ask. Stops at the first that is not."""
    rules: list[Rule] = []
    for name, check in CHECKS.items():
        try:
            rules.append(check(version, folder))
        except Exception as error:  # noqa: BLE001  what cannot even be read or asked is not sound
            what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            rules.append(_sound_rule(name, what, "can be read and asked", False))
        if not rules[-1].passed:
            break
    return rules


def _sound_rule(name: str, figure: str, bound: str, passed: bool) -> Rule:
    return Rule(name=name, kind="sound", figure=figure, bound=bound, passed=passed)


def _files_rule(version: Version, folder: Path) -> Rule:
    registered, found = version.files, registry.file_digests(folder)
    changed = sorted(path for path in {*registered, *found} if registered.get(path) != found.get(path))
    figure = f"{len(found)} files"
    if not registered:
        figure = "no digests on record"
    elif changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        figure = f"changed: {changed[0]}{more}"
    return _sound_rule("files", figure, "as registered", not changed and bool(registered))


def _operations_rule(version: Version, folder: Path) -> Rule:
    forbidden = forbidden_operations(registry.saved_model_of(folder))
    named = ", ".join(f"{operation} in {place}" for operation, place in sorted(forbidden.items())[:3])
    return _sound_rule("operations", named or "all pure", "no files, no chance, no Python", not forbidden)


def _signature_rule(version: Version, folder: Path) -> Rule:
    fits = registry.has_the_signature(folder)
    bound = f"({SIZE}, {SIZE}, 1) float32 to {len(EMOTIONS)}"
    return _sound_rule("signature", bound if fits else "another", bound, fits)


def _flavor_rule(version: Version, folder: Path) -> Rule:
    well = registry.serves_its_saved_model(folder)
    figure = "only the SavedModel" if well else "other code or files, see MLmodel"
    return _sound_rule("what MLflow would run", figure, "only the SavedModel", well)


def _answer_rule(version: Version, folder: Path) -> Rule:
    from emotion.serving.predict import load_saved_model, predict

    face = registry.input_example()[..., 0].astype(np.uint8)
    model = load_saved_model(registry.saved_model_of(folder))
    once, again = predict(model, face, 1), predict(model, face, 1)
    well = once.shape == (1, len(EMOTIONS)) and _are_distributions(once)
    figure = "a distribution" if well else f"shape {once.shape}, sum {once.sum():.3g}"
    if well and not np.array_equal(once, again):
        figure, well = "another one each time", False
    return _sound_rule("answer", figure, "a distribution", well)


def _are_distributions(probabilities: NDArray[np.float32]) -> bool:
    return bool((probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) < 1e-3).all())


CHECKS: dict[str, Callable[[Version, Path], Rule]] = {
    "files": _files_rule,
    "operations": _operations_rule,
    "what MLflow would run": _flavor_rule,
    "signature": _signature_rule,
    "answer": _answer_rule,
}


def _data_rules(version: Version) -> list[Rule]:
    """Today's test images may have been in the training of a version of other data."""
    here, there = provenance.data_hash(), version.tags.get("data.dvc_hash", "unknown")
    if "unknown" in (here, there):
        return []
    figure = "these faces" if here == there else f"others: {there[:8]}, here are {here[:8]}"
    return [Rule(name="trained on", kind="comparison", figure=figure, bound="these faces", passed=here == there)]


def _answers(folders: list[Path], test: Split, settings: Params) -> list[Answers]:
    """Of every model to the same images; latencies in turn, so that noise hits all alike."""
    from emotion.serving.predict import load_saved_model, predict, seconds

    models = [load_saved_model(folder) for folder in folders]
    latencies: list[list[float]] = [[] for _ in models]
    for _ in range(QUERIES):
        for model, taken in zip(models, latencies, strict=True):
            taken.append(seconds(partial(predict, model, test.images[:1], 1)))
    return [
        Answers(
            predict(model, test.images, settings.evaluate.batch_size),
            1000 * float(np.median(taken[1:])),  # the first query prepares
            size(folder) / 2**20,
        )
        for model, taken, folder in zip(models, latencies, folders, strict=True)
    ]
