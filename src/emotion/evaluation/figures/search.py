"""Pictures of a search: what its trials scored, and what that depended on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as plotly
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from emotion.evaluation.figures.base import save_figure
from emotion.params import Choice, Range, Space, Tune
from emotion.runtime.paths import whole

PICTURES = ("best_so_far.png", "by_hyperparameter.png", "importance.png")
FEWEST = 5  # trials whose importance is looked at
COLOURS = {"completed": "tab:blue", "pruned": "tab:orange", "out of time": "tab:gray"}


def draw(trials: pd.DataFrame, settings: Tune, caption: str, folder: Path) -> None:
    """Every picture of the trials that have a score.

    Args:
        trials: a row per trial, from `tune.table`.
        settings: of the search.
        caption: what the faces are.
        folder: where to.
    """
    title = f"{len(trials)} trials on {caption}"
    scored = trials[trials["score"].notna()]
    with whole(folder) as part:
        part.mkdir()
        if scored.empty or not settings.space:
            for name in PICTURES:
                _note(title, "Nothing was searched.", part / name)
            return
        best_so_far(scored, settings.objective, title, part / PICTURES[0])
        by_hyperparameter(scored, settings, title, part / PICTURES[1])
        importance(scored, settings, title, part / PICTURES[2])
        parallel_coordinates(scored, settings, title, part / "parallel_coordinates.html")


def best_so_far(trials: pd.DataFrame, objective: str, title: str, path: Path) -> None:
    """Scores over the time of the search, and the best until then."""
    ordered = trials.sort_values("ended_after")
    minutes = ordered["ended_after"] / 60
    best = ordered["score"].cummax() if objective == "val_accuracy" else ordered["score"].cummin()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.step(minutes, best, where="post", color="tab:green", label="best so far")
    _scatter(axis, ordered, minutes)
    axis.set(xlabel="minutes since the search began", ylabel=objective, title=title)
    axis.legend()
    save_figure(figure, path)


def by_hyperparameter(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """Scores against the values of every hyperparameter."""
    columns = min(4, len(settings.space))
    rows = -(-len(settings.space) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for (name, dimension), axis in zip(settings.space.items(), axes, strict=False):
        known = trials[trials[f"train.{name}"].notna()]
        values = known[f"train.{name}"]
        if isinstance(dimension, Choice):
            places = [dimension.choice.index(value) for value in values]
            # Beside each other, so that equal ones are seen.
            _scatter(axis, known, np.asarray(places) + np.random.default_rng(0).uniform(-0.15, 0.15, len(places)))
            axis.set_xticks(range(len(dimension.choice)), _texts(dimension))
        else:
            _scatter(axis, known, values)
            if dimension.sampling == "log":
                axis.set_xscale("log")
                axis.set_xticks(_ticks(dimension), [f"{tick:.2g}" for tick in _ticks(dimension)])
                axis.minorticks_off()
        axis.set(xlabel=name, ylabel=settings.objective)
        axis.grid(alpha=0.3)
    for axis in list(axes):
        axis.axis("off")
    figure.axes[0].legend()
    figure.suptitle(title)
    save_figure(figure, path)


def importance(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """How much worse a model of the scores becomes where a hyperparameter's values are shuffled.

    Permutation importance of a random forest (Breiman, 2001), in units of the objective's
    variance; of few trials it says little, and it sees what was searched and nothing else.
    Trials that were ended early are left out: their scores are those of fewer epochs.
    """
    trials = trials[trials["outcome"] == "completed"]
    if len(trials) < FEWEST:
        _note(title, f"Of fewer than {FEWEST} completed trials nothing can be said of importance.", path)
        return
    values = pd.DataFrame({name: _positions(trials, settings.space, name) for name in settings.space})
    forest = RandomForestRegressor(300, min_samples_leaf=2, random_state=0).fit(values, trials["score"])
    found = permutation_importance(forest, values, trials["score"], n_repeats=20, random_state=0)
    order = np.argsort(found.importances_mean)
    figure = Figure(figsize=(8, 1.5 + 0.4 * len(settings.space)), layout="constrained")
    axis = figure.subplots()
    axis.barh(values.columns.to_numpy()[order], found.importances_mean[order], xerr=found.importances_std[order])
    axis.set(xlabel=f"importance for {settings.objective}", title=title)
    save_figure(figure, path)


def _note(title: str, text: str, path: Path) -> None:
    figure = Figure(figsize=(8, 1.5), layout="constrained")
    figure.suptitle(title)
    figure.text(0.5, 0.3, text, ha="center")
    save_figure(figure, path)


def parallel_coordinates(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """A line per trial through its values and its score; drag along an axis to select."""
    axes = []
    for name, dimension in settings.space.items():
        positions = _positions(trials, settings.space, name)
        axis: dict[str, Any] = {"label": name, "values": positions}
        if isinstance(dimension, Choice):
            offered = _texts(dimension)
            ticks, texts = np.arange(-1, len(offered)), ["(not searched)", *offered]
            if positions.min() >= 0:
                ticks, texts = ticks[1:], texts[1:]
            axis |= {"tickvals": ticks, "ticktext": texts, "range": [ticks[0], max(ticks[-1], ticks[0] + 1)]}
        elif dimension.sampling == "log":
            ticks = np.log10(_ticks(dimension))
            axis |= {
                "tickvals": ticks,
                "ticktext": [f"{10**tick:.2g}" for tick in ticks],
                "range": [ticks[0], ticks[-1]],
            }
        else:
            axis |= {"range": [dimension.min, dimension.max]}
        axes.append(axis)
    axes.append({"label": settings.objective, "values": trials["score"]})
    colours = {
        "color": trials["score"],
        "colorscale": "Viridis",
        "reversescale": settings.objective == "val_loss",
        "showscale": True,
    }
    figure = plotly.Figure(plotly.Parcoords(dimensions=axes, line=colours), {"title": {"text": title}})
    with whole(path) as part:
        figure.write_html(part, include_plotlyjs=True)  # it must open without a network


def _scatter(axis: Axes, trials: pd.DataFrame, places: "np.ndarray | pd.Series") -> None:
    for outcome, colour in COLOURS.items():
        chosen = (trials["outcome"] == outcome).to_numpy()
        if chosen.any():
            axis.scatter(np.asarray(places)[chosen], trials["score"][chosen], color=colour, label=outcome)


def _ticks(dimension: Range) -> NDArray[np.float64]:
    """Five values, evenly spaced where the axis is logarithmic."""
    return np.geomspace(dimension.min, dimension.max, 5)


def _texts(dimension: Choice) -> list[str]:
    return [str(value) for value in dimension.choice]


def _positions(trials: pd.DataFrame, space: Space, name: str) -> pd.Series:
    """Where each trial is on the axis of a hyperparameter; choices by number, -1 where not searched."""
    dimension, values = space[name], trials[f"train.{name}"]
    if isinstance(dimension, Choice):
        return pd.Series([-1 if pd.isna(value) else dimension.choice.index(value) for value in values], trials.index)
    numbers = values.astype(float)
    positions = numbers.map(np.log10) if dimension.sampling == "log" else numbers
    return positions.fillna(positions.min())
