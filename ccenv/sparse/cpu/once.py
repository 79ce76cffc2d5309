"""Backward passes that have no own gradient: a function -> one that says so when it is asked."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Backward = Callable[[Any, Tensor], Any]


def once(backward: Backward) -> Backward:
    """Torch's `once_differentiable`, without the microseconds that it takes of every pass.

    Only where the gradient is to have a gradient itself does it do anything.
    """
    careful: Backward = once_differentiable(backward)

    @functools.wraps(backward)
    def chosen(ctx: Any, grad: Tensor) -> Any:
        return careful(ctx, grad) if torch.is_grad_enabled() else backward(ctx, grad)

    return chosen
