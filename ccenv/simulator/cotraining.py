"""Co-training: (a simulator, a finished batch's images and masks) -> one update of its network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ccenv.networks.learning.training import weighted

MAX_PENDING = 256
"""Finished batches that wait for `update_network` at most; the newest stay."""


def update_from(simulator: Any, indices: Tensor, *parts: Sequence[Tensor]) -> float:
    """Updates the network under the masks that an agent chose.

    Args:
        simulator: with a trainer; its episode under way may be that of the batch.
        indices: int64 [batch], the images, in groups.
        *parts: masks, bool [batch, num_blocks] of each gate; where an agent gives gate values,
            those too.

    Returns:
        Mean negative log-likelihood in nats.
    """
    masks, *values = ([simulator.ranks.share(rows) for rows in part] for part in parts)
    if simulator.state is not None and indices is simulator.indices:
        # The batch that has just been walked through lies there still.
        images, labels = simulator.state.images, simulator.state.labels
    else:
        own = simulator.ranks.share(indices)
        images, _ = simulator.data.batch(own[:: simulator.group_size])
        labels = simulator.data.labels.index_select(0, own).long()
    with weighted(simulator.trainer, *values):
        return simulator.trainer.update(images, labels, masks)
