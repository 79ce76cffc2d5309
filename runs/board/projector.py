"""Masks of some hundred images for TensorBoard's projector: a verdict -> points with labels."""

import shutil
from pathlib import Path

import torch
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.simulator import Simulator

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
    """Places evenly spread images of a verdict by their masks, beside the event file.

    Nothing is written for rules that keep the same blocks for every image.

    Args:
        writer: of the run.
        simulator: whose split was judged.
        evaluation: of the whole split, in its order.
        images_seen: in training.
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
