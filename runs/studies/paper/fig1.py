"""The paper's Fig. 1: how often a condnet keeps each block, by class -> a figure and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.runs.show.drawing import COLORS, INK, Drawn, new_figure
from ccenv.runs.show.tables import Table
from ccenv.runs.stats.results import Result

Use = NDArray[np.float64]


def fig1_of(results: Mapping[str, Sequence[Result]]) -> tuple[str, dict[int, Use]] | None:
    """Label and seed -> block use [classes, blocks] of the first condnet; None where there is none.

    Blocks of different seeds mean different things: they are never averaged.
    """
    for label, found in results.items():
        if found and found[0]["agent"] == "condnet":
            uses = {r["seed"]: np.asarray(r["block_use"][0]) / 100 for r in found if use_known(r)}
            if uses:
                return label, uses
    return None


def use_known(result: Result) -> bool:
    """Whether a result says which blocks each class keeps."""
    return bool(result.get("block_use"))


def fig1_figure(label: str, uses: Mapping[int, Use]) -> Drawn:
    """Activation of each block for class 0, class 1 and all classes, and a map of all; first seed.

    The paper draws a dot for each image and the mean; these are the means.
    """
    seed, use = next(iter(uses.items()))
    figure = new_figure(5.6)
    panels = figure.subplots(4, gridspec_kw={"height_ratios": [1, 1, 1, 1.6]})
    shown = {"class 0": use[0], "class 1": use[1], "all classes": use.mean(axis=0)}
    for axes, (name, means) in zip(panels, shown.items(), strict=False):
        axes.plot(range(len(means)), means, ls="", marker="o", markersize=4, color=COLORS[0])
        axes.vlines(range(len(means)), 0, means, color=COLORS[0], lw=0.8)
        axes.axhline(float(means.mean()), color=INK, lw=0.6, ls=":")
        axes.set(ylabel=name, ylim=(0, 1.05), xlim=(-0.5, len(means) - 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True)
    draw_map(figure, panels[-1], use)
    density = "; ".join(f"{name} {means.mean():.2f}" for name, means in shown.items())
    caption = f"Fig. 1: share of images that keep each block, {label}, seed {seed}."
    alt = f"Activation of blocks by class; mean (dotted): {density}"
    return Drawn(figure, "fig1", caption, alt)


def draw_map(figure: Any, axes: Any, use: Use) -> None:
    """Classes down, blocks across."""
    axes.grid(False)
    drawn = axes.imshow(use, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="none")
    axes.set(xlabel="block", ylabel="class")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(drawn, ax=axes, label="kept")


def fig1_table(label: str, uses: Mapping[int, Use]) -> Table:
    """The figure's numbers for all seeds."""
    blocks = len(next(iter(uses.values()))[0])
    columns = {"seed": "right", "class": "right"}
    columns |= {f"block {i}": "right .2f" for i in range(blocks)}
    lines = [
        [seed, number, *shares] for seed, use in uses.items() for number, shares in enumerate(use)
    ]
    note = "Share of test images of a class that keep each block. Blocks of two seeds are no pairs."
    return Table("fig1", f"Fig. 1: block use by class, {label}", columns, lines, note, shaded=True)
