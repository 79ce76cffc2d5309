"""What TensorBoard shows next to curves: custom charts.

TensorBoard merges the layouts of all runs and leaves out what is there twice. Tags of lines are
regular expressions; those of bands are names: mean, lower and upper end.
"""

from collections.abc import Collection

MEASURES = {
    "error": "validation error",
    "total_cost": "total cost, policy included",
    "reward": "mean reward of an episode",
    "density": "share of blocks kept",
}
"""What is averaged over seeds, with its title."""

Charts = dict[str, dict[str, list[str | list[str]]]]


def multiline(*tags: str) -> list[str | list[str]]:
    """A chart with a line for each tag that a pattern fits, in each run."""
    return ["Multiline", [f"{tag}$" for tag in tags]]


def tags_over_seeds(name: str) -> tuple[str, str, str]:
    """Where the mean over seeds and the ends of its interval are written."""
    interval = f"over_seeds_interval/{name}"
    return f"over_seeds/{name}", f"{interval}_low", f"{interval}_high"


def of_a_sweep(measures: Collection[str]) -> Charts:
    """Charts of `ccenv.runs.report.over_seeds`: those of `MEASURES` that some row has."""
    # TensorBoard 2.21 shows charts with bands from the last to the first.
    shown = [name for name in reversed(MEASURES) if name in measures]
    bands: dict[str, list[str | list[str]]] = {
        MEASURES[name]: ["Margin", [*tags_over_seeds(name)]] for name in shown
    }
    return {"Over seeds: mean and 95 % interval": bands}


OF_A_RUN: Charts = {
    "Single runs": {
        "error: training, validation, test": multiline("(training|eval|test)/error"),
        "cost: compute, total": multiline("eval/(compute|total)_cost"),
        "reward and its terms": multiline("training/return", "reward/.*"),
        "density of each layer": multiline(r"use/density_\d+"),
    }
}
"""Charts of every run."""
