"""Operands of a layer: x, weight, bias and masks -> nothing, or an error that says what to do."""

import torch
from torch import Tensor

from ccenv.base.masks import check_mask
from ccenv.sparse.buffers import kept_in_dtype

FLOAT32, BOOL = torch.float32, torch.bool
Operands = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]
"""Of a layer: x, weight, bias and the masks of both sides, as `block_sparse_linear` takes them."""
Sizes = tuple[int, int, int, int, int]
"""Rows, input blocks, units of one, output blocks, units of one; a side without a mask is one."""


def is_readable(tensor: Tensor) -> bool:
    """Whether compiled code can read a tensor: on the CPU, and neither traced nor imagined."""
    return tensor.is_cpu and type(tensor) is Tensor and not torch.compiler.is_compiling()


def as_autocast(operands: Operands) -> Operands:
    """Operands in the dtype that `torch.autocast` gives to products, where it is on.

    As torch's own layers take them: float64 stays. Weights that stay (see `keep_panels`) are
    rounded once.
    """
    x = operands[0]
    if not isinstance(x, Tensor):
        return operands
    place = "cuda" if x.is_cuda else "cpu"
    if not torch.is_autocast_enabled(place):
        return operands
    dtype, weight, bias = torch.get_autocast_dtype(place), operands[1], operands[2]
    bias = None if bias is None else cast_to(bias, dtype)
    return cast_to(x, dtype), cast_to(weight, dtype), bias, *operands[3:]


def cast_to(operand: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a dtype, float64 and whole numbers as they are."""
    if operand.dtype is dtype or operand.dtype is torch.float64 or not operand.is_floating_point():
        return operand
    kept = kept_in_dtype(operand, dtype)
    return operand.to(dtype) if kept is None else kept


def side_sizes(width: int, mask: Tensor | None) -> tuple[int, int]:
    """Number of blocks and units of a block; a side without a mask is one block."""
    blocks = 1 if mask is None else mask.shape[1]
    return blocks, width // blocks


def without_gaps(tensor: Tensor | None) -> Tensor | None:
    """A tensor whose numbers lie side by side, itself or a copy."""
    return None if tensor is None else tensor.contiguous()


def layer_sizes(operands: Operands) -> Sizes:
    """Sizes of operands that fit."""
    x, weight, _, in_mask, out_mask = operands
    return len(x), *side_sizes(x.shape[1], in_mask), *side_sizes(len(weight), out_mask)


def plainly_fit(operands: Operands) -> Sizes | None:
    """Sizes of operands that are float32 on the CPU and fit: a fast check of the usual case.

    For one row the checks take longer than the layer. None only means that `check_operands` must
    be called.
    """
    x, weight, bias, in_mask, out_mask = operands
    try:
        rows, features = x.shape
        units, inner = weight.shape
        if not (
            x.dtype is FLOAT32
            and weight.dtype is FLOAT32
            and features == inner
            and x.is_cpu
            and weight.is_cpu
            and (bias is None or (bias.dtype is FLOAT32 and bias.is_cpu and bias.shape == (units,)))
        ):
            return None
        ins = 1 if in_mask is None else fitting_blocks(in_mask, rows, features)
        outs = 1 if out_mask is None else fitting_blocks(out_mask, rows, units)
        return (rows, ins, features // ins, outs, units // outs) if ins and outs else None
    except (AttributeError, TypeError, ValueError):
        return None


def fitting_blocks(mask: Tensor, rows: int, width: int) -> int:
    """Blocks of a mask that is bool on the CPU, with a bit for each row and block; 0 for others."""
    mask_rows, blocks = mask.shape
    fits = mask.dtype is BOOL and mask.is_cpu and mask_rows == rows and blocks
    return blocks if fits and not width % blocks else 0


def check_operands(operands: Operands) -> None:
    """Refuses operands that do not fit together; see `block_sparse_linear`."""
    x, weight, bias, *_ = operands
    for name, operand in (("x", x), ("weight", weight), ("bias", bias)):
        if not isinstance(operand, Tensor) and not (name == "bias" and operand is None):
            raise TypeError(f"expected {name} to be a tensor, got {type(operand).__name__}")
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            "expected x [batch, in_features] and weight [out_features, in_features], "
            f"got {list(x.shape)} and {list(weight.shape)}"
        )
    check_sides(operands)


def check_sides(operands: Operands) -> None:
    """Refuses a bias, masks, devices or dtypes that do not fit x and weight, whose shapes do."""
    x, weight, bias, in_mask, out_mask = operands
    rows, sizes = x.shape[0], weight.shape
    if bias is not None and bias.shape != sizes[:1]:
        raise ValueError(f"expected bias [{sizes[0]}], got {list(bias.shape)}")
    if in_mask is not None:
        check_mask(in_mask, rows, "in_mask")
        check_multiple(sizes[1], in_mask.shape[1], "in_mask")
    if out_mask is not None:
        check_mask(out_mask, rows, "out_mask")
        check_multiple(sizes[0], out_mask.shape[1], "out_mask")
    tensors = [t for t in (weight, bias, in_mask, out_mask) if t is not None]
    device = x.device
    if any(t.device != device for t in tensors):
        devices = sorted({str(t.device) for t in [x, *tensors]})
        raise ValueError(f"expected all tensors on one device, got {', '.join(devices)}")
    are_alike = weight.dtype is x.dtype and (bias is None or bias.dtype is x.dtype)
    if not are_alike or not x.is_floating_point():
        dtypes = sorted({str(t.dtype) for t in (x, weight, bias) if t is not None})
        raise TypeError(
            f"expected x, weight and bias of one floating dtype, got {', '.join(dtypes)}"
        )


def check_multiple(width: int, num_blocks: int, name: str) -> None:
    """Refuses a number of blocks that does not divide the layer's width."""
    if width % num_blocks:
        raise ValueError(
            f"expected the layer width to be a multiple of the {num_blocks} blocks of {name}, "
            f"got {width} units; change block_size or num_blocks"
        )
