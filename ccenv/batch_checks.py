"""What a batch may be: rows, device, numbers of images, answers -> checked, or refused."""

import math

import torch
from torch import Tensor

from ccenv.networks import positive_ints


def check_rows(num_images: int, group_size: int) -> tuple[int, int]:
    """Refuses a batch that groups do not fill."""
    (rows,), (group,) = (
        positive_ints(value, name)
        for value, name in ((num_images, "num_envs"), (group_size, "group_size"))
    )
    if rows % group:
        raise ValueError(
            f"expected num_envs to be a multiple of group_size={group}, got {rows}; change one"
        )
    return rows, group


def check_device(device: str | torch.device) -> torch.device:
    """Refuses a device that torch does not know or this machine does not have."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"expected device to be 'cpu' or a CUDA device that is here, got {device!r}: {error}"
        ) from error
    return found


def check_indices(indices: Tensor, num_images: int) -> None:
    """Refuses numbers that are no images of the split."""
    if indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
        raise ValueError(
            f"expected indices int64 [n], n > 0, got {indices.dtype} {list(indices.shape)}"
        )
    if int(indices.min()) < 0 or int(indices.max()) >= num_images:
        raise ValueError(
            f"expected indices in 0..{num_images - 1}, "
            f"got {int(indices.min())}..{int(indices.max())}"
        )


def check_answers(logits: Tensor | None) -> None:
    """Refuses answers that are no numbers: the largest of them would still be paid as right.

    Args:
        logits: [batch, num_classes], None before the last layer.

    Raises:
        ValueError: if one is infinite or not a number.
    """
    # A sum is the fastest look at all of them; only where it is odd they are looked at one by one.
    if logits is None or math.isfinite(float(logits.sum())):
        return
    if not bool(logits.isfinite().all()):
        rows = int((~logits.isfinite()).any(dim=1).sum())
        raise ValueError(
            f"expected finite logits of the network, got others for {rows} of {len(logits)} rows; "
            "its weights or the images are too large or no numbers; where it learns, lower its "
            "learning_rate"
        )
