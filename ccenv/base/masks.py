"""Block masks: which blocks of a layer are computed, bool [batch, num_blocks], True = computed."""

import functools

import torch
from torch import Tensor

from ccenv.base.checks import AT_ONCE, Checks
from ccenv.base.seeding import uniform
from ccenv.base.values import shown


def pad_mask(mask: Tensor, num_blocks: int) -> Tensor:
    """Adds skipped blocks on the right: [batch, n] -> [batch, num_blocks]."""
    return torch.nn.functional.pad(mask, (0, num_blocks - mask.shape[-1]))


def mask_of_indices(indices: Tensor, num_blocks: int, checks: Checks = AT_ONCE) -> Tensor:
    """Turns the kept blocks' numbers into a mask: int64 [batch, k] -> bool [batch, num_blocks].

    -1 stands for no block.

    Raises:
        TypeError: if the numbers are not int64.
        ValueError: if a number is out of range or occurs twice in a row; where `checks` say.

    >>> mask_of_indices(torch.tensor([[2, 0], [1, -1]]), num_blocks=3)
    tensor([[ True, False,  True],
            [False,  True, False]])
    """
    if indices.dtype != torch.int64:
        raise TypeError(
            "expected a bool mask, or the kept blocks' numbers as int64, "
            f"got {indices.dtype}; use .bool() for bits"
        )
    inside = indices.clamp(0, num_blocks - 1)
    is_block = inside == indices
    mask = torch.zeros(
        (*indices.shape[:-1], num_blocks), dtype=torch.bool, device=indices.device
    ).scatter_add_(-1, inside, is_block)
    # Every number names a block that no other one of its row does, or is -1.
    fits = mask.sum() + (indices == -1).sum() == indices.numel()
    checks.expect(fits, functools.partial(unfit_numbers, indices, num_blocks))
    return mask


def unfit_numbers(indices: Tensor, num_blocks: int) -> ValueError:
    """The error of numbers of which one is no block, or is named twice."""
    low, high = (int(number) for number in indices.aminmax())
    if low < -1 or high >= num_blocks:
        return ValueError(
            f"expected numbers of blocks in 0..{num_blocks - 1}, or -1 for none, got {low}..{high}"
        )
    return ValueError(
        "expected different blocks in each row of numbers, got one twice; "
        "a mask of 0 and 1 must be bool: use .bool()"
    )


def as_mask(action: Tensor, num_blocks: int, checks: Checks = AT_ONCE) -> Tensor:
    """Reads an action as a mask: bool stays, int64 is the list of kept blocks in drawn order.

    A float action holds gate values, see `gate_values_of`: what is not zero is computed.

    An agent that draws k of n blocks one after the other acts with the ordered list, because the
    log-probability of its draw depends on the order; the network only sees the set. Where rows keep
    different numbers of blocks, -1 fills the shorter lists.

    >>> as_mask(torch.tensor([[0.5, 0.0]]), num_blocks=2)
    tensor([[ True, False]])
    """
    if not isinstance(action, Tensor):
        raise TypeError(
            f"expected a mask as a tensor [rows, {num_blocks}], got {shown(action)}; return it "
            "from act"
        )
    if action.dtype == torch.bool:
        return action
    if action.is_floating_point():
        return action > 0
    return mask_of_indices(action, num_blocks, checks)


def bits_of(action: Tensor) -> Tensor:
    """Bits as other libraries give them, 0 and 1 of any type, as bool; ValueError of others."""
    if action.dtype == torch.bool or bool(((action == 0) | (action == 1)).all()):
        return action.bool()
    got = "NaN, as torch's Bernoulli has for its mode at 0.5" if action.isnan().any() else "others"
    raise ValueError(
        f"expected actions of 0 and 1, or bool, got {got}; sample bits, or take scores > 0"
    )


def gate_values_of(action: Tensor, checks: Checks = AT_ONCE) -> Tensor | None:
    """What an action multiplies kept blocks' outputs with; None of masks and of lists of blocks.

    Returns:
        float [batch, num_blocks] in [0, 1], 0 where a block is not computed.

    Raises:
        ValueError: if a value is outside of [0, 1] or NaN; where `checks` say.

    >>> gate_values_of(torch.tensor([[0.25, 0.0]])), gate_values_of(torch.tensor([[True]]))
    (tensor([[0.2500, 0.0000]]), None)
    """
    if not action.is_floating_point():
        return None

    def value_outside() -> ValueError:
        low, high = float(action.min()), float(action.max())
        return ValueError(
            f"expected gate values in [0, 1], got {low}..{high}; a mask is bool: use .bool()"
        )

    checks.expect(((action >= 0) & (action <= 1)).all(), value_outside)
    return action


def full_mask(batch_size: int, num_blocks: int, device: str | torch.device = "cpu") -> Tensor:
    """Keeps every block: bool [batch_size, num_blocks]."""
    return torch.ones(batch_size, num_blocks, dtype=torch.bool, device=device)


def random_mask(
    batch_size: int, num_blocks: int, density: float | Tensor, generator: torch.Generator
) -> Tensor:
    """Keeps each block with probability `density` ([batch_size, 1], or one for all): bool."""
    return uniform((batch_size, num_blocks), generator, generator.device) < density


def density(mask: Tensor) -> Tensor:
    """Share of blocks kept in each row: bool [..., num_blocks] -> float32 [...] in [0, 1]."""
    return mask.float().mean(dim=-1)


def check_mask(mask: Tensor, batch_size: int, name: str) -> None:
    """Refuses what is no bool tensor (TypeError) [batch_size, at least one block] (ValueError)."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = f"dtype {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"expected {name} to be a bool tensor (True = computed), got {got}; use {name}.bool()"
        )
    shape = mask.shape
    if len(shape) != 2 or shape[0] != batch_size or shape[1] == 0:
        raise ValueError(
            f"expected {name} of shape [{batch_size}, num_blocks], got {list(mask.shape)}; "
            "give one row of bits for each row of x"
        )


def spread_to_units(off: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Entries of a weight in whose dimension blocks lie side by side: bool [blocks] -> its shape.

    >>> spread_to_units(torch.tensor([True, False]), torch.zeros(4, 1), 0).flatten().tolist()
    [True, True, False, False]
    """
    if len(off) == 1:
        return off.reshape(()).expand(weight.shape)
    units = off.repeat_interleave(weight.shape[dim] // len(off))
    return units.view(-1, *[1] * (weight.ndim - dim - 1)).expand(weight.shape)
