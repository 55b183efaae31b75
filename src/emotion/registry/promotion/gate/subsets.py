"""The rules about emotions and groups: no part of the images may be predicted much worse than by the champion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.params.sections import Gate
from emotion.registry.promotion.gate.comparison import Comparison
from emotion.registry.promotion.gate.rules import Rule, Subset

POWER = 0.8  # with which the images of a subset should show a loss of the bound; otherwise it is not judged


def emotion_subsets(settings: Gate, compared: Comparison, emotions: Sequence[str]) -> list[Subset]:
    """The recall of each emotion that occurs."""
    masks = [("emotion", emotions[label], compared.labels == label) for label in np.unique(compared.labels)]
    return _subsets(masks, settings.max_recall_loss, settings, compared)


def group_subsets(settings: Gate, compared: Comparison, attributes: pd.DataFrame) -> list[Subset]:
    """The accuracy for each group.

    Args:
        settings: the thresholds.
        compared: the predictions of the n test images.
        attributes: (n, number of attributes).
    """
    from emotion.evaluation.report.groups import group_masks  # scikit-learn, which takes a second

    return _subsets(list(group_masks(attributes)), settings.max_group_loss, settings, compared)


def _subsets(
    masks: list[tuple[str, str, NDArray[np.bool_]]], bound: float, settings: Gate, compared: Comparison
) -> list[Subset]:
    from emotion.evaluation.significance import holm, images_needed, loss_p_value

    other, candidate = compared.is_correct
    p_values = holm([loss_p_value(other[mask], candidate[mask]) for _, _, mask in masks])
    needed = images_needed(compared.discordant, bound, settings.significance / len(masks), POWER) if masks else 0
    return [
        Subset(
            kind=kind, name=name, images=int(mask.sum()), recall=float(candidate[mask].mean()),
            champion_recall=float(other[mask].mean()), p_value=p_value, needed=needed,
        )
        for (kind, name, mask), p_value in zip(masks, p_values, strict=True)
    ]  # fmt: skip


def subsets_rule(name: str, subsets: list[Subset], bound: float, significance: float) -> Rule:
    """Fails for a subset with a loss above the bound that is significant, corrected for the number of subsets.

    A subset whose images are too few to show such a loss is not judged, unless they show one.

    Args:
        name: of the rule.
        subsets: at least one.
        bound: the largest loss that passes.
        significance: of a loss, one-sided.
    """
    failed = [subset for subset in subsets if subset.loss > bound and subset.p_value < significance]
    judged = [subset for subset in subsets if subset.images >= subset.needed]
    few = [subset for subset in subsets if subset not in judged and subset not in failed]
    worst = max(failed or judged, key=lambda subset: subset.loss, default=None)
    value = f"{max(0.0, worst.loss):.4f} ({_title(worst)})" if worst else ""
    if few:
        listed = ", ".join(_title(subset) for subset in few[:3]) + (f" and {len(few) - 3} more" if few[3:] else "")
        value += f"{'; ' if value else ''}not judged, below {few[0].needed} images: {listed}"
    return Rule(
        name=name, kind="comparison", value=value, threshold=f"<= {bound:g}", passed=not failed,
        judged=bool(failed or judged),
    )  # fmt: skip


def _title(subset: Subset) -> str:
    return subset.name if subset.kind == "emotion" else f"{subset.kind}: {subset.name}"
