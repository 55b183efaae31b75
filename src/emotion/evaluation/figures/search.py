"""Figures of a search: the scores of its trials, and what they depend on."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from emotion.evaluation.figures.base import save_figure
from emotion.params.objective import Objective
from emotion.params.space import Choice, Range, Space, Tune
from emotion.runtime.files import atomic_write

FIGURES = ("best_so_far.png", "by_hyperparameter.png", "importance.png", "parallel_coordinates.png", "pareto.png")
MAX_NAMES, NAME_HEIGHT = 10, 0.04  # of the trials that are named among the parallel coordinates
MIN_TRIALS = 5  # for hyperparameter importance
COLORS = {"completed": "tab:blue", "pruned": "tab:orange", "timed_out": "tab:gray"}


def draw_search(trials: pd.DataFrame, settings: Tune, caption: str, folder: Path) -> None:
    """Draw all figures of the trials that have a score.

    Args:
        trials: a row per trial, as in reports/trials.csv.
        settings: the settings of the search.
        caption: the description of the data.
        folder: the folder to write.
    """
    title = f"{len(trials)} trials on {caption}"
    scored = trials[trials["score"].notna()]
    with atomic_write(folder) as tmp:
        tmp.mkdir()
        if scored.empty or not settings.space:
            for name in FIGURES:
                _note(title, "No hyperparameters were searched.", tmp / name)
            return
        draw_best_so_far(scored, settings.objective, title, tmp / FIGURES[0])
        draw_by_hyperparameter(scored, settings, title, tmp / FIGURES[1])
        draw_importance(scored, settings, title, tmp / FIGURES[2])
        draw_parallel_coordinates(scored, settings, title, tmp / FIGURES[3])
        draw_pareto_set(scored, settings.objective, title, tmp / FIGURES[4])


def draw_best_so_far(trials: pd.DataFrame, objective: Objective, title: str, path: Path) -> None:
    """Draw the scores over the time of the search, and the best score so far."""
    ordered = trials.sort_values("ended_after")
    minutes = ordered["ended_after"] / 60
    best = ordered["score"].cummax() if objective.direction == "max" else ordered["score"].cummin()
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.step(minutes, best, where="post", color="tab:green", label="best so far")
    _scatter(axis, ordered, minutes)
    axis.set(xlabel="minutes since the search began", ylabel=objective, title=title)
    axis.legend()
    save_figure(figure, path)


def draw_by_hyperparameter(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """Draw the scores by the values of every hyperparameter."""
    columns = min(4, len(settings.space))
    rows = -(-len(settings.space) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for (name, dimension), axis in zip(settings.space.items(), axes, strict=False):
        known = trials[trials[f"train.{name}"].notna()]
        values = known[f"train.{name}"]
        if isinstance(dimension, Choice):
            places = [dimension.choice.index(value) for value in values]
            # Jitter makes equal values distinguishable.
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


def draw_importance(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """Draw how much worse a model of the scores becomes when a hyperparameter's values are shuffled.

    Permutation importance of a random forest (Breiman, 2001), in units of the objective's variance. It says
    little about few trials, and nothing about values that were not searched. Trials that were stopped early
    are left out: their scores come from fewer epochs.
    """
    trials = trials[trials["outcome"] == "completed"]
    if len(trials) < MIN_TRIALS:
        _note(title, f"Importance needs at least {MIN_TRIALS} completed trials.", path)
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


def draw_parallel_coordinates(trials: pd.DataFrame, settings: Tune, title: str, path: Path) -> None:
    """Draw a line per trial through its values and its score; the best MAX_NAMES trials are named.

    In MLflow, the view *Trials of the newest search* shows the same, and an interval of an axis can be selected.
    """
    best_first = trials.sort_values("score", ascending=settings.objective.direction == "min")
    columns = {name: _positions(trials, settings.space, name) for name in settings.space} | {"": trials["score"]}
    scaled = pd.DataFrame({name: _scale(values) for name, values in columns.items()})
    shades = colormaps["viridis"](
        _scale(trials["score"] if settings.objective.direction == "max" else -trials["score"])
    )
    colors = dict(zip(trials.index, shades, strict=True))
    figure = Figure(figsize=(2.2 * len(columns) + 2, 4.5), layout="constrained")
    axis = figure.subplots()
    for row in best_first.index[::-1]:  # the best on top
        axis.plot(range(len(columns)), scaled.loc[row], color=colors[row], alpha=0.8)
    for place, name in enumerate(settings.space):
        axis.axvline(place, color="gray", linewidth=0.8)
        for text, position in _axis_labels(trials, settings.space, name):
            axis.text(place, position, f" {text}", fontsize=8, va="center")
    axis.axvline(len(columns) - 1, color="gray", linewidth=0.8)
    heights: list[float] = []  # of names, which may not overlap
    for row in best_first.index[:MAX_NAMES]:
        height = float(scaled[""][row])
        if all(abs(height - other) > NAME_HEIGHT for other in heights):
            heights.append(height)
            named = f" {trials['trial'][row]}: {trials['score'][row]:.4g}"
            axis.text(len(columns) - 1, height, named, fontsize=8, va="center")
    axis.set_xticks(range(len(columns)), [*settings.space, str(settings.objective)])
    axis.set(yticks=[], xlim=(-0.2, len(columns) - 0.2), title=title)
    axis.spines[:].set_visible(False)
    save_figure(figure, path)


def draw_pareto_set(trials: pd.DataFrame, objective: Objective, title: str, path: Path) -> None:
    """Draw the objective over the number of parameters, and name the trials that no other surpasses in both.

    If the latency counts, a trial may be in the set because of it.
    """
    if "parameters" not in trials or objective not in trials:
        _note(title, "The sizes of the networks are not known.", path)
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.scatter(trials["parameters"], trials[objective], color="lightgray", label="surpassed by another trial")
    chosen = trials[trials["pareto"]].sort_values("parameters")
    axis.plot(chosen["parameters"], chosen[objective], "o--", color="tab:green", label="Pareto set")
    for name, size, value in chosen[["trial", "parameters", objective]].itertuples(index=False):
        axis.annotate(name, (size, value), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axis.set(xscale="log", xlabel="parameters", ylabel=objective, title=title)
    axis.legend()
    axis.grid(alpha=0.3)
    save_figure(figure, path)


def _scale(values: pd.Series) -> pd.Series:
    """Positions from 0 to 1; 0.5 if all are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0 + 0.5


def _axis_labels(trials: pd.DataFrame, space: Space, name: str) -> list[tuple[str, float]]:
    """The labels of an axis, and their positions: the values that occur, or the smallest and the largest."""
    values = trials[f"train.{name}"]
    positions = _scale(_positions(trials, space, name))
    if isinstance(space[name], Choice):
        texts = values.map(lambda value: "not searched" if pd.isna(value) else str(value))
        return list(dict.fromkeys(zip(texts, positions, strict=True)))
    ends = dict.fromkeys(values.dropna().sort_values().index[[0, -1]]) if values.notna().any() else {}
    return [(f"{float(values[row]):.3g}", float(positions[row])) for row in ends]


def _scatter(axis: Axes, trials: pd.DataFrame, places: "np.ndarray | pd.Series") -> None:
    for outcome, color in COLORS.items():
        chosen = (trials["outcome"] == outcome).to_numpy()
        if chosen.any():
            axis.scatter(np.asarray(places)[chosen], trials["score"][chosen], color=color, label=outcome)


def _ticks(dimension: Range) -> NDArray[np.float64]:
    """Five values, evenly spaced on a logarithmic axis."""
    return np.geomspace(dimension.min, dimension.max, 5)


def _texts(dimension: Choice) -> list[str]:
    return [str(value) for value in dimension.choice]


def _positions(trials: pd.DataFrame, space: Space, name: str) -> pd.Series:
    """Each trial's position on the axis of a hyperparameter: choices by index, -1 if not searched."""
    dimension, values = space[name], trials[f"train.{name}"]
    if isinstance(dimension, Choice):
        return pd.Series([-1 if pd.isna(value) else dimension.choice.index(value) for value in values], trials.index)
    numbers = values.astype(float)
    positions = numbers.map(np.log10) if dimension.sampling == "log" else numbers
    return positions.fillna(positions.min())
