"""A policy shared by ranks: (modules, optimisers) -> each computes its rows, all learn alike."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.ranks import Ranks


class _Gathered(torch.autograd.Function):
    """Rows of all ranks, whose gradient goes back to each rank's own rows."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gathered(own)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Every rank has the gradient of the whole batch's loss. Gradients of parameters are
        # averaged over the ranks later: times their number, the mean is the sum over all rows.
        return ctx.ranks.share(gradients[0]) * ctx.ranks.size, None


@contextlib.contextmanager
def rows_shared(modules: Iterable[nn.Module], ranks: Ranks) -> Iterator[None]:
    """Lets each rank run modules for its own rows; what goes in and comes out is of all rows.

    Args:
        modules: their first argument and their result are [..., rows, columns], row by row.
        ranks: all call the modules at the same moments, but for what they do `apart`.
    """

    def take(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if ranks.is_apart:
            return given
        return (ranks.share(given[0].movedim(-2, 0)).movedim(0, -2), *given[1:])

    def give(module: nn.Module, given: tuple[Any, ...], own: Tensor) -> Tensor:
        if ranks.is_apart:
            return own
        found: Tensor = _Gathered.apply(own.movedim(-2, 0), ranks)
        return found.movedim(0, -2)

    hooks = []
    for module in modules:
        hooks += [module.register_forward_pre_hook(take), module.register_forward_hook(give)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def gradients_averaged(optimizers: Iterable[torch.optim.Optimizer], ranks: Ranks) -> Iterator[None]:
    """Lets each step of an optimiser go down the mean of all ranks' gradients."""

    def average(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        ranks.average_gradients(p for group in optimizer.param_groups for p in group["params"])

    hooks = [optimizer.register_step_pre_hook(average) for optimizer in optimizers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
