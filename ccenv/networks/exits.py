"""Early answers trained together: (network with exits, inputs, labels) -> one loss.

Teerapittayanon et al. 2016, "BranchyNet: fast inference via early exiting from deep neural
networks" (arXiv 1709.01686): the weighted sum of the exits' losses.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy


def has_exits(network: Any) -> bool:
    """Whether a network answers more than once: has exits, or a loss of its own."""
    if hasattr(network, "own_loss"):
        return True
    return hasattr(network, "early_answer") and any(g.skipped == "stop" for g in network.gates)


def exit_losses(
    network: Any,
    inputs: Tensor,
    labels: Tensor,
    masks: Sequence[Tensor] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The last answer's cross-entropy, and each exit's times its `loss_weight`, in nats.

    No input stops, so that every exit learns from all of them. Without exits it is the loss of the
    network's answers; a network that has an `own_loss` learns by that.

    Args:
        network: a `GatedNetwork`; one with exits has the method `early_answer`.
        inputs: [batch, ...].
        labels: int64 [rows].
        masks: bool [rows, num_blocks] for each gate, those of exits ignored; None keeps everything.
        label_smoothing: share of the target that all classes have alike.

    Returns:
        A number to be differentiated: means over the rows, summed over the answers.
    """
    backend = "reference" if masks is None else "auto"
    hidden, losses = network.start(inputs), []
    for gate, found in enumerate(network.gates):
        mask = None if masks is None else masks[gate]
        if found.skipped == "stop":
            logits, weight = network.early_answer(gate, hidden)
            # Before the first mask there is one row an input, which may have several masks.
            of_rows = labels[:: len(labels) // len(logits)] if gate == 0 else labels
            losses.append(weight * loss_of(logits, of_rows, label_smoothing))
            mask = None if mask is None else mask.new_ones(mask.shape)
        hidden = network.step(gate, hidden, mask, None, backend)
    if hasattr(network, "own_loss"):
        own: Tensor = network.own_loss(hidden, labels, label_smoothing)
        return own
    logits = network.logits(hidden, backend)
    return sum(losses, start=loss_of(logits, labels, label_smoothing))


def loss_of(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in float32, whatever the products were computed in."""
    return cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
