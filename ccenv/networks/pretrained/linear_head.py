"""A new last layer on frozen features: (network, labelled images) -> logistic regression in it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ccenv.data.split import Split
from ccenv.networks.core.protocol import through
from ccenv.networks.core.sequential import GatedSequential

BATCH = 32
"""Images at a time: more would not stay in a processor's cache, and take twice the time."""


def pooled_features(
    network: GatedSequential, images: Tensor, masks: list[Tensor] | None = None
) -> Tensor:
    """What the layer `fc` of a head with `pooled` sees: images -> [batch, width]."""
    hidden = through(network, images, lambda gate, _: None if masks is None else masks[gate])
    found: Tensor = network.head.pooled(hidden.x)  # type: ignore[operator]
    return found


def fit_head(
    network: GatedSequential,
    split: Split,
    *,
    l2: float = 3e-3,
    num_iterations: int = 100,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Learns the last linear layer; everything else stays as it is, and features are computed once.

    Deterministic: starts at zero and looks at all images at once.

    Args:
        network: whose head has `pooled` and `fc`; changed.
        split: labelled images; their features take 4 bytes x width each.
        l2: penalty on squared weights, of features scaled to variance 1.
        num_iterations: of L-BFGS at most.
        progress: called with the number of images done.

    Returns:
        Mean loss in nats without the penalty.

    Raises:
        ValueError: if the head has no linear layer of the split's classes.
    """
    fc = dict(network.head.named_children()).get("fc")
    if not isinstance(fc, nn.Linear) or fc.out_features != split.num_classes:
        raise ValueError(
            f"expected a head whose layer `fc` answers for {split.num_classes} classes, got {fc}; "
            'build the network with num_classes of the data set and head="linear"'
        )
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(split)).split(BATCH):
            images, _ = split.batch(rows)
            parts.append(pooled_features(network, images.to(fc.weight.device)))
            if progress is not None:
                progress(int(rows[-1]) + 1)
    weight, bias, loss = logistic_regression(
        torch.cat(parts), split.labels.to(fc.weight.device), split.num_classes, l2, num_iterations
    )
    with torch.no_grad():
        fc.weight.copy_(weight)
        fc.bias.copy_(bias)
    return loss


def logistic_regression(
    features: Tensor, labels: Tensor, num_classes: int, l2: float = 3e-3, num_iterations: int = 100
) -> tuple[Tensor, Tensor, float]:
    """Multinomial logistic regression by L-BFGS, of features float [rows, width]; see `fit_head`.

    Returns:
        Weights [num_classes, width] and bias [num_classes] for features as they are, and the mean
        loss in nats without the penalty.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    scaled = (features - mean) / deviation
    weight = torch.zeros(num_classes, features.shape[1], device=features.device)
    weight, bias = weight.requires_grad_(), weight.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=num_iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss_now() -> Tensor:
        logits = nn.functional.linear(scaled, weight, bias)
        return nn.functional.cross_entropy(logits, labels)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_now() + l2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        loss = float(loss_now())
        plain = weight / deviation
        return plain, bias - plain @ mean, loss
