"""Menus by chance: (number of blocks, how many masks) -> masks of all densities."""

import torch

from ccenv.base.masks import random_mask


def drawn_menu(num_blocks: int, count: int, generator: torch.Generator) -> tuple[str, ...] | None:
    """A menu of about so many masks: nothing, everything, and masks drawn at all densities.

    Args:
        num_blocks: of the gate.
        count: most masks, at least 2; None is answered where all masks are no more.
        generator: of the draws; masks that are drawn twice are kept once.
    """
    if count < 2:
        raise ValueError(f"expected a menu of at least 2 masks a gate, got {count}")
    if num_blocks < 63 and 1 << num_blocks <= count:
        return None
    rows = [torch.zeros(num_blocks, dtype=torch.bool), torch.ones(num_blocks, dtype=torch.bool)]
    for place in range(count - 2):
        rows.append(random_mask(1, num_blocks, (place + 0.5) / (count - 2), generator)[0])
    return tuple(sorted({"".join("01"[int(bit)] for bit in row) for row in rows}))
