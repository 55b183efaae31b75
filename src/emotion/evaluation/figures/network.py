"""A diagram of a network."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from emotion.evaluation.figures.base import save_figure

INCHES = 1.7  # per stage
DEPTH = 0.2  # width of a box for each factor of two in channels


def draw_network(stages: pd.DataFrame, name: str, path: Path) -> None:
    """Draw the stages from left to right: tall boxes are large feature maps, wide ones have many channels.

    Args:
        stages: from `emotion.evaluation.network_layers.stage_table`.
        name: the name of the network.
        path: the PNG file to write.
    """
    largest = stages["side"].max()
    total, mflops = stages["parameters"].sum(), stages["mflops"].sum()
    title = f"{name}: {total:,} parameters, {mflops:,.0f} million floating-point operations per image"
    figure = Figure(figsize=(max(6.0, INCHES * len(stages)), 4.6), layout="constrained")
    axis = figure.subplots()
    for position, stage in enumerate(stages.to_dict("records")):
        height = max(0.06, stage["side"] / largest)
        width = min(0.75, 0.1 + DEPTH * max(0, len(f"{stage['channels']:b}") - 3) / 2)
        axis.add_patch(Rectangle((position - width / 2, 0.5 - height / 2), width, height, fc="tab:blue", alpha=0.6))
        shape = (
            f"{stage['side']} x {stage['side']} x {stage['channels']}"
            if stage["side"]
            else f"{stage['channels']} values"
        )
        axis.text(position, 1.06, shape, ha="center", va="bottom", fontsize=9, weight="bold")
        facts = [*stage["layers"].split(", "), f"{stage['parameters']:,} parameters", f"{stage['mflops']:,.1f} MFLOP"]
        axis.text(position, -0.06, "\n".join(facts), ha="center", va="top", fontsize=7.5)
        if position:
            arrow = {"arrowstyle": "->", "color": "gray"}
            axis.annotate("", (position - 0.42, 0.5), (position - 0.58, 0.5), arrowprops=arrow)
    axis.set(xlim=(-0.6, len(stages) - 0.4), ylim=(-0.55, 1.2), title=title)
    axis.axis("off")
    save_figure(figure, path)
