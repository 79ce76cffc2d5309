"""The charts of TensorBoard's Custom Scalars tab, the same in every event file that holds them.

TensorBoard merges the layouts of all runs and leaves out what is there twice. Tags of lines are
regular expressions; those of bands are names: mean, lower and upper end.
"""

MEASURES = {
    "error": "validation error",
    "total_cost": "total cost, policy included",
    "reward": "mean reward of an episode",
    "density": "share of blocks kept",
}
"""What is averaged over seeds, with its title."""

Charts = dict[str, dict[str, list[str | list[str]]]]


def lines(*tags: str) -> list[str | list[str]]:
    """A chart with a line for each tag that a pattern fits, in each run."""
    return ["Multiline", [f"{tag}$" for tag in tags]]


def band(name: str) -> list[str | list[str]]:
    """A chart with a line and its interval for each agent of a sweep."""
    return ["Margin", [mean_tag(name), *interval_tags(name)]]


def mean_tag(name: str) -> str:
    """Where the mean over seeds is written."""
    return f"over_seeds/{name}"


def interval_tags(name: str) -> tuple[str, str]:
    """Where the ends of its interval are written."""
    return f"over_seeds_interval/{name}_low", f"over_seeds_interval/{name}_high"


OF_A_SWEEP: Charts = {
    # TensorBoard 2.21 shows charts with bands from the last to the first.
    "Over seeds: mean and 95 % interval": {
        title: band(name) for name, title in reversed(MEASURES.items())
    }
}
"""Charts of `ccenv.runs.report.over_seeds`."""
OF_A_RUN: Charts = {
    "Single runs": {
        "error: training, validation, test": lines("(episode|eval|test)/error"),
        "cost: compute, total": lines("eval/(compute|total)_cost"),
        "reward and its terms": lines("episode/return", "reward/.*"),
        "density of each layer": lines(r"eval/density_\d+"),
    }
}
"""Charts of every run."""
