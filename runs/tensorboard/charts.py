"""What TensorBoard shows next to curves: custom charts, and masks in the projector.

TensorBoard merges the layouts of all runs and leaves out what is there twice. Tags of lines are
regular expressions; those of bands are names: mean, lower and upper end.
"""

import shutil
from pathlib import Path

import torch
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.simulator import Simulator

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
        "error: training, validation, test": multiline("(episode|eval|test)/error"),
        "cost: compute, total": multiline("eval/(compute|total)_cost"),
        "reward and its terms": multiline("episode/return", "reward/.*"),
        "density of each layer": multiline(r"eval/density_\d+"),
    }
}
"""Charts of every run."""


NUM_IMAGES = 300
"""So many points: t-SNE in a browser takes seconds, and a run's files stay small."""
CONFIG, SPACE = "projector_config.pbtxt", "masks"
COLUMNS = ("label", "kept")


def clear(folder: Path) -> None:
    """Removes points of an earlier attempt at the same run."""
    (folder / CONFIG).unlink(missing_ok=True)
    for space in folder.glob(f"*/{SPACE}/tensors.tsv"):
        shutil.rmtree(space.parent.parent)


def write_points(
    writer: SummaryWriter, simulator: Simulator, evaluation: Evaluation, images_seen: int
) -> None:
    """Places evenly spread images of a verdict by their masks, next to the event file.

    Nothing is written for rules that keep the same blocks for every image.
    """
    clear(Path(writer.log_dir))
    masks = torch.cat([mask.cpu() for mask in evaluation.masks], dim=1)
    chosen = torch.linspace(0, len(masks) - 1, min(NUM_IMAGES, len(masks))).long()
    rows = masks[chosen]
    if (rows == rows[0]).all():
        return
    data = simulator.on_split(evaluation.split, 1).data
    labels = data.labels[chosen.to(data.labels.device)].tolist()
    metadata = [(str(label), str(int(row.sum()))) for label, row in zip(labels, rows, strict=True)]
    writer.add_embedding(
        rows.to(torch.uint8), metadata, None, images_seen, SPACE, metadata_header=list(COLUMNS)
    )
