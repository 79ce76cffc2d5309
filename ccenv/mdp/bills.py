"""What a mask costs: (network, state, mask) -> MACs so far, and shares of the dense network's."""

import functools
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import has_mark
from ccenv.networks.core.mlp import dense_tail_macs
from ccenv.networks.core.protocol import GatedNetwork


def bill(
    network: GatedNetwork, gate: int, hidden: Any, mask: Tensor, spent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Adds what a mask, bool [batch, num_blocks] as executed, costs at a gate to what was spent.

    Returns:
        MACs so far int64 [batch], and as shares of the dense network's this gate's and those so
        far, float32 [batch] each.
    """
    counts_layers = has_mark(type(network).macs, "counts_layers")
    if counts_layers and is_plain(mask) and is_plain(spent):
        return compiled_bill(network, gate, hidden.mask, mask, spent)
    step_macs = network.macs(gate, hidden, mask)
    macs, total = spent + step_macs, network.dense_macs
    return macs, (step_macs / total).float(), (macs / total).float()


def is_plain(tensor: Tensor) -> bool:
    """Whether compiled code can read a tensor: on the CPU, and neither traced nor imagined."""
    return tensor.is_cpu and type(tensor) is Tensor and not torch.compiler.is_compiling()


def compiled_bill(
    network: Any, gate: int, before: Tensor | None, mask: Tensor, spent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of gated layers in one call, bit for bit."""
    rows = mask.shape[0]
    macs = torch.empty(rows, dtype=torch.int64)
    layer_cost, compute_cost = torch.empty(rows), torch.empty(rows)
    is_last = gate == len(network.gates) - 1
    mask = mask if mask.stride(1) == 1 else mask.contiguous()
    spent = spent.contiguous()
    if before is None:
        source = 0, 0, 0, network.widths[gate]
    else:
        before = before if before.stride(1) == 1 else before.contiguous()
        source = before.data_ptr(), before.shape[1], before.stride(0), network.block_sizes[gate - 1]
    step_kernels().bill(
        mask.data_ptr(),
        mask.shape[1],
        mask.stride(0),
        network.block_sizes[gate],
        *source,
        network.head_sizes[0] if is_last else 0,
        dense_tail_macs(network) if is_last else 0,
        network.dense_macs,
        spent.data_ptr(),
        rows,
        macs.data_ptr(),
        layer_cost.data_ptr(),
        compute_cost.data_ptr(),
    )
    return macs, layer_cost, compute_cost


@functools.cache
def step_kernels() -> Any:
    """Loaded on use, because numba takes half a second to import."""
    from ccenv.mdp import step_kernels as found

    return found
