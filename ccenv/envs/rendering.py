"""Pictures of an episode: the masks so far -> text, or an RGB image of one block map per layer."""

from collections.abc import Sequence

import numpy as np

KEPT, SKIPPED, WAITING = "■", "□", "·"
COLORS = {KEPT: (46, 125, 50), SKIPPED: (224, 224, 224), WAITING: (250, 250, 250)}
CELL = 16


def block_rows(masks: Sequence[np.ndarray], num_blocks: Sequence[int]) -> list[str]:
    """One string a gated layer, one character a block; layers not decided yet are dots."""
    rows = []
    for layer, count in enumerate(num_blocks):
        if layer < len(masks):
            rows.append("".join(KEPT if bit else SKIPPED for bit in masks[layer][:count]))
        else:
            rows.append(WAITING * count)
    return rows


def render_text(masks: Sequence[np.ndarray], num_blocks: Sequence[int], status: str) -> str:
    """Block map as text, with a line for the state of the episode."""
    rows = block_rows(masks, num_blocks)
    return "\n".join([*(f"layer {i}  {row}" for i, row in enumerate(rows)), status])


def render_image(masks: Sequence[np.ndarray], num_blocks: Sequence[int]) -> np.ndarray:
    """Block map as uint8 [num_layers * 16, max(num_blocks) * 16, 3]."""
    image = np.full((len(num_blocks) * CELL, max(num_blocks) * CELL, 3), 255, dtype=np.uint8)
    for i, row in enumerate(block_rows(masks, num_blocks)):
        for j, block in enumerate(row):
            top, left = i * CELL, j * CELL
            image[top + 1 : top + CELL - 1, left + 1 : left + CELL - 1] = COLORS[block]
    return image
