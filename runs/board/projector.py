"""Masks of some hundred images -> points of TensorBoard's projector, with metadata and pictures."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.costs import layer_macs
from ccenv.networks import forward
from ccenv.rollout import Evaluation
from ccenv.simulator import Simulator

NUM_IMAGES = 300
"""So many points: t-SNE in a browser takes seconds, and a run's files stay below some 200 kB."""
SPRITE = 32
"""Larger images are averaged down to at most so many pixels a side."""
CONFIG = "projector_config.pbtxt"
COLUMNS = ("label", "prediction", "correct", "compute_cost", "kept")


@dataclass(frozen=True)
class Points:
    """Validation images and what an agent computed for them; rows are images."""

    spaces: Mapping[str, NDArray[Any]]
    """name -> [num_images, blocks of all layers]: masks, and keep probabilities where they vary."""
    metadata: list[tuple[str, ...]]
    """for each image the COLUMNS."""
    pictures: Tensor
    """[num_images, 3, side, side] float32 in [0, 1]."""


def make_points(simulator: Simulator, evaluation: Evaluation) -> Points:
    """Looks at evenly spread images of a verdict once more, for what the verdict does not keep.

    Args:
        simulator: whose network classified them; nothing of it changes.
        evaluation: of the whole split, in its order.
    """
    data = simulator.on_split(evaluation.split, 1).data
    chosen = torch.linspace(0, len(data) - 1, min(NUM_IMAGES, len(data))).long()
    images, labels = data.batch(chosen.to(data.images.device))
    masks = [mask[chosen.to(mask.device)] for mask in evaluation.masks]
    keep = [p[chosen.to(p.device)] for p in evaluation.keep_probability]
    with torch.no_grad():
        prediction = forward(simulator.network, images, masks).argmax(dim=1)
    cost = macs_of(simulator, masks) / simulator.dense_macs
    kept = torch.cat(masks, dim=1).float().mean(dim=1)
    columns = (labels, prediction, (labels == prediction).long(), cost, kept)
    lines = zip(*(in_words(column) for column in columns), strict=True)
    bits = torch.cat(masks, dim=1).to(torch.uint8).cpu().numpy()
    chances = torch.cat(keep, dim=1).double().cpu().numpy().round(3)
    spaces = {"masks": bits}
    if not np.array_equal(bits, chances):
        spaces["keep_probability"] = chances
    return Points(spaces, list(lines), pictures_of(images))


def macs_of(simulator: Simulator, masks: list[Tensor]) -> Tensor:
    """MACs of images under masks of all layers: int64 [batch]."""
    before = [None, *masks[:-1]]
    layers = [
        layer_macs(simulator.network, index, in_mask, mask)
        for index, (in_mask, mask) in enumerate(zip(before, masks, strict=True))
    ]
    return torch.stack(layers).sum(dim=0)


def in_words(column: Tensor) -> list[str]:
    """Numbers of a column of the metadata."""
    form = "{:.3f}" if column.is_floating_point() else "{}"
    return [form.format(value) for value in column.tolist()]


def pictures_of(images: Tensor) -> Tensor:
    """Images [n, channels, height, width] -> [n, 3, side, side] in [0, 1], averaged down."""
    small = images.cpu()
    if max(small.shape[2:]) > SPRITE:
        small = functional.adaptive_avg_pool2d(small, SPRITE)
    small = small[:, :3] if small.shape[1] >= 3 else small[:, :1].expand(-1, 3, -1, -1)
    low, high = small.min(), small.max()
    height, width = small.shape[2:]
    # The projector cuts its sheet of pictures in squares.
    right, below = max(height - width, 0), max(width - height, 0)
    return functional.pad((small - low) / (high - low).clamp(min=1e-6), (0, right, 0, below))


def clear(folder: Path) -> None:
    """Removes points of an earlier attempt at the same run."""
    config = folder / CONFIG
    known = config.read_text() if config.exists() else ""
    for step in set(re.findall(r'tensor_path: "(\d+)/', known)):
        shutil.rmtree(folder / step, ignore_errors=True)
    config.unlink(missing_ok=True)


def write_points(writer: SummaryWriter, points: Points, images_seen: int) -> None:
    """Writes files beside the event file, and the configuration that the projector looks for.

    Nothing of rules that keep the same blocks for every image: their points would be one.
    """
    clear(Path(writer.log_dir))
    for name, rows in points.spaces.items():
        if (rows == rows[0]).all():
            continue
        writer.add_embedding(
            rows,
            metadata=points.metadata,
            metadata_header=list(COLUMNS),
            label_img=points.pictures,
            global_step=images_seen,
            tag=name,
        )
