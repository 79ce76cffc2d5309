"""What can have a table: (network, menus, number of inputs) -> nothing, or a refusal."""

from typing import Any

from ccenv.base.memory import check_fits
from ccenv.data import Split
from ccenv.mask_table.menus import Menus, num_masks_of

MOST_BYTES = 2**29
"""Of a table, unless more is asked for: half a GiB are 25,000 masks of 10,000 inputs."""


def check_frozen(network: Any) -> None:
    """Refuses a network that learns: its table would be wrong after the next update.

    Raises:
        ValueError: saying what to do.
    """
    if hasattr(network, "every_answer"):
        raise ValueError(
            "expected a network that answers once, got a stream: a table would hold its last answer"
        )
    if getattr(network, "training", False):
        raise ValueError("expected a frozen network, got one in training mode; call eval() first")
    learning = [name for name, one in network.named_parameters() if one.requires_grad]
    if learning:
        raise ValueError(
            f"expected a frozen network, got one that learns ({learning[0]} has gradients); "
            "use weights='frozen' or 'shipped', or requires_grad_(False)"
        )


def rows_of(split: Split, limit: int | None) -> int:
    """How many inputs a table has.

    Raises:
        ValueError: if there are not so many.
    """
    rows = len(split) if limit is None else limit
    if not 1 <= rows <= len(split):
        raise ValueError(f"expected a limit of 1..{len(split):,} inputs, got {rows:,}")
    return rows


def table_bytes(menus: Menus, num_images: int) -> int:
    """Size of a table's arrays in bytes: bits, float16 and the bill."""
    masks = num_masks_of(menus)
    return num_images * (-(-masks // 8) + 2 * masks) + 8 * masks


def check_size(menus: Menus, num_images: int, most_bytes: int) -> None:
    """Refuses a table that is too large, and says how large it would be.

    Raises:
        ValueError: with what to do.
    """
    size = table_bytes(menus, num_images)
    masks, units = num_masks_of(menus), sum(menu.num_blocks for menu in menus)
    what = f"a table of {masks:,} masks ({units} blocks) of {num_images:,} inputs"
    advice = "limit the inputs, or give menus of fewer masks a gate"
    if size > most_bytes:
        raise ValueError(
            f"expected at most {most_bytes / 1e6:,.1f} MB, got {what}, {size / 1e6:,.1f} MB; "
            f"{advice}, or allow more bytes"
        )
    check_fits(size, what, advice)
